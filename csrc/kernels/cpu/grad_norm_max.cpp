#include <algorithm>

#include "kernels.h"
#include "vectorised.h"

namespace clever::cpu {
namespace {

constexpr int kLanes = 32;    // partial results, so that their order is the same for every width
constexpr int kChunk = 2048;  // elements that are held while all the norms are taken of them

// Sizes |x| of elements first..first+count of a row, in the type that they are computed in.
template <class T, class Real>
CLEVER_VECTORISED void contiguous_sizes(const T* row, int64_t count, Real* sizes) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) sizes[i] = std::abs(load(row + i));
}

template <class T, class Real>
void strided_sizes(const T* row, const RowLayout& layout, int64_t first, int64_t count,
                   Real* sizes) {
  const int64_t inner = layout.size[layout.ndim - 1];
  const int64_t stride = layout.stride[layout.ndim - 1];
  while (count > 0) {
    const int64_t run = std::min(count, inner - first % inner);
    const T* start = row + layout.offset(first);
    for (int64_t i = 0; i < run; ++i) sizes[i] = std::abs(load(start + i * stride));
    first += run;
    count -= run;
    sizes += run;
  }
}

template <class Norm, class Real>
CLEVER_VECTORISED double reduce_chunk(const Real* sizes, int64_t count, double q) {
  Real lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
#pragma omp simd
    for (int lane = 0; lane < kLanes; ++lane) {
      lanes[lane] = Norm::update(lanes[lane], sizes[i + lane], q);
    }
  }
  for (int lane = 0; i < count; ++i, ++lane) {
    lanes[lane] = Norm::update(lanes[lane], sizes[i], q);
  }
  double total = 0.0;
  for (const Real lane : lanes) total = combine<Norm>(total, static_cast<double>(lane));
  return total;
}

// Calls f(sizes, count) for chunk after chunk of a row.
template <class T, class F>
void for_chunks(const T* row, const RowLayout& layout, const F& f) {
  typename Arithmetic<T>::Real sizes[kChunk];
  for (int64_t first = 0; first < layout.numel; first += kChunk) {
    const int64_t count = std::min<int64_t>(kChunk, layout.numel - first);
    if (layout.contiguous()) {
      contiguous_sizes(row + first, count, sizes);
    } else {
      strided_sizes(row, layout, first, count, sizes);
    }
    f(sizes, count);
  }
}

// The norm of a row whose plain sum under- or overflowed: of |x| / max |x|, in float64.
template <class Norm, class T>
double rescaled_norm(const T* row, const RowLayout& layout, double q) {
  double largest = 0.0;
  for_chunks(row, layout, [&](const auto* sizes, int64_t count) {
    largest = max_or_nan(largest, reduce_chunk<LInf>(sizes, count, q));
  });
  if (!(largest > 0.0 && largest <= DBL_MAX)) return largest;
  double sum = 0.0;
  for_chunks(row, layout, [&](const auto* sizes, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      sum = Norm::scaled_update(sum, static_cast<double>(sizes[i]) / largest, q);
    }
  });
  return largest * Norm::finish(sum, q);
}

template <class T>
void row_norms(const T* row, const NormArguments& args, double* norms, int64_t norm_stride) {
  double sums[kMaxNorms] = {};
  for_chunks(row, args.row, [&](const auto* sizes, int64_t count) {
    for (int n = 0; n < args.n_norms; ++n) {
      with_norm(args.q[n], [&](auto norm) {
        using Norm = decltype(norm);
        sums[n] = combine<Norm>(sums[n], reduce_chunk<Norm>(sizes, count, args.q[n]));
      });
    }
  });
  for (int n = 0; n < args.n_norms; ++n) {
    with_norm(args.q[n], [&](auto norm) {
      using Norm = decltype(norm);
      norms[n * norm_stride] = needs_rescale<Norm, typename Arithmetic<T>::Real>(sums[n])
                                   ? rescaled_norm<Norm>(row, args.row, args.q[n])
                                   : Norm::finish(sums[n], args.q[n]);
    });
  }
}

}  // namespace

void grad_norms(const NormArguments& args, int64_t begin, int64_t end, double* norms) {
  with_dtype(args.dtype, [&](auto tag) {
    const auto* grads = static_cast<const decltype(tag)*>(args.grads);
    for (int64_t row = begin; row < end; ++row) {
      if (args.slot(row) < 0) continue;
      row_norms(grads + args.offset(row), args, norms + row, args.rows());
    }
  });
}

bool fold_norms(const NormArguments& args, const double* norms) {
  for (int64_t row = 0; row < args.rows(); ++row) {
    const int64_t slot = args.slot(row);
    if (slot >= args.n_slots) return false;
    if (slot < 0) continue;
    for (int n = 0; n < args.n_norms; ++n) {
      double& maximum = args.maxima[n * args.n_slots + slot];
      maximum = max_or_nan(maximum, norms[n * args.rows() + row]);
    }
  }
  return true;
}

}  // namespace clever::cpu
