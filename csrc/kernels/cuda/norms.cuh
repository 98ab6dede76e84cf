// The norms of one row, found by one block.
#pragma once

#include "../arguments.h"
#include "block.cuh"

namespace clever::cuda {

constexpr int kStrip = 8;  // elements of one thread that are held while all the norms are taken

// Norms are not negative, and for such numbers the order of float64 is that of their bits, a
// positive NaN above infinity: an integer maximum is exact, and the same in whatever order.
__device__ inline void fold_max(double* maximum, double norm) {
  const double value = norm == norm ? norm : __builtin_bit_cast(double, 0x7ff8000000000000ull);
  atomicMax(reinterpret_cast<unsigned long long*>(maximum),
            __builtin_bit_cast(unsigned long long, value));
}

template <class T>
__device__ typename Arithmetic<T>::Real size_at(const T* row, const RowLayout& layout,
                                                int64_t element) {
  return magnitude(load(row + (layout.contiguous() ? element : layout.offset(element))));
}

// The norm of a row whose plain sum under- or overflowed: of |x| / max |x|, in float64.
// sizes(add) calls add(|x|) for each of the elements of this thread.
template <class Sizes>
__device__ CLEVER_OUTLINED double rescaled_norm(double q, const Sizes& sizes) {
  double largest = 0.0;
  sizes([&](auto size) { largest = larger_magnitude(largest, static_cast<double>(size)); });
  largest = block_reduce<LInf>(largest);
  if (!(largest > 0.0 && largest <= DBL_MAX)) return largest;
  return with_norm(q, [&](auto norm) {
    using Norm = decltype(norm);
    double sum = 0.0;
    sizes(
        [&](auto size) { sum = Norm::scaled_update(sum, static_cast<double>(size) / largest, q); });
    return largest * Norm::finish(block_reduce<Norm>(sum), q);
  });
}

// One thread's part of a sum, in float64 but for stretches of kStretch terms.
template <class Norm, class Real>
struct StretchedSum {
  double sum = 0.0;
  Real stretch = 0;
  int terms = 0;

  __device__ void add(Real size, double q) {
    stretch = Norm::update(stretch, size, q);
    if (++terms == kStretch) {
      sum = total();
      stretch = 0;
      terms = 0;
    }
  }
  __device__ double total() const { return combine<Norm>(sum, static_cast<double>(stretch)); }
};

// One norm of the elements whose sizes `sizes` gives, as above; the same in each thread.
template <class Norm, class Real, class Sizes>
__device__ double norm_of(double q, const Sizes& sizes) {
  StretchedSum<Norm, Real> part;
  sizes([&](Real size) { part.add(size, q); });
  const double sum = block_reduce<Norm>(part.total());
  return needs_rescale<Norm, Real>(sum) ? rescaled_norm(q, sizes) : Norm::finish(sum, q);
}

template <class T>
__device__ void row_norms(const NormArguments& args, int64_t row_number, int64_t slot) {
  using Real = typename Arithmetic<T>::Real;
  const RowLayout& layout = args.row;
  const T* row = static_cast<const T*>(args.grads) + args.offset(row_number);
  const auto sizes = [&](const auto& add) {
    for (int64_t i = threadIdx.x; i < layout.numel; i += kThreads) add(size_at(row, layout, i));
  };
  double sums[kMaxNorms] = {};
  int64_t first = threadIdx.x;
  while (first < layout.numel) {
    Real stretch[kMaxNorms] = {};
    for (int strip = 0; strip < kStretch / kStrip; ++strip, first += kStrip * kThreads) {
      Real sizes[kStrip];
#pragma unroll
      for (int i = 0; i < kStrip; ++i) {
        const int64_t element = first + i * kThreads;
        sizes[i] = element < layout.numel ? size_at(row, layout, element) : Real{0};
      }
#pragma unroll
      for (int n = 0; n < kMaxNorms; ++n) {
        if (n >= args.n_norms) break;
        with_norm(args.q[n], [&](auto norm) {
          for (int i = 0; i < kStrip; ++i) {
            stretch[n] = decltype(norm)::update(stretch[n], sizes[i], args.q[n]);
          }
        });
      }
    }
#pragma unroll
    for (int n = 0; n < kMaxNorms; ++n) {
      if (n >= args.n_norms) break;
      with_norm(args.q[n], [&](auto norm) {
        sums[n] = combine<decltype(norm)>(sums[n], static_cast<double>(stretch[n]));
      });
    }
  }
#pragma unroll
  for (int n = 0; n < kMaxNorms; ++n) {
    if (n >= args.n_norms) break;
    with_norm(args.q[n], [&](auto norm_tag) {
      using Norm = decltype(norm_tag);
      const double sum = block_reduce<Norm>(sums[n]);
      const double norm = needs_rescale<Norm, Real>(sum) ? rescaled_norm(args.q[n], sizes)
                                                         : Norm::finish(sum, args.q[n]);
      if (threadIdx.x == 0) fold_max(args.maxima + n * args.n_slots + slot, norm);
    });
  }
}

}  // namespace clever::cuda
