// The norms of rows.
#pragma once

#include "parts.cuh"

namespace clever::cuda {

constexpr int kStretch = 64;  // float32 terms of one thread before they go to float64

// Several norms of the same rows.
struct Norms {
  int n;
  int number[kMaxNorms];  // place in the list of norms
  bool is_sum[kMaxNorms];
  double q[kMaxNorms];

  Norms(int count, const double* exponents) : n(count), number{}, is_sum{}, q{} {
    for (int i = 0; i < n; ++i) {
      q[i] = exponents[i];
      number[i] = norm_number(q[i]);
      is_sum[i] = with_norm(q[i], [](auto norm) { return decltype(norm)::kIsSum; });
    }
  }
  __device__ double combined(int norm, double a, double b) const {
    return is_sum[norm] ? a + b : larger_magnitude(a, b);
  }
};

// Norms are not negative, and for such numbers the order of float64 is that of their bits, a
// positive NaN above infinity: an integer maximum is exact, and the same in whatever order.
__device__ inline void fold_max(double* maximum, double norm) {
  const double value = norm == norm ? norm : __builtin_bit_cast(double, 0x7ff8000000000000ull);
  atomicMax(reinterpret_cast<unsigned long long*>(maximum),
            __builtin_bit_cast(unsigned long long, value));
}

// The norm of a row whose plain sum under- or overflowed: of |x| / max |x|, in float64.
// sizes(add) calls add(|x|) for each of the elements of this thread.
template <class Sizes>
__device__ CLEVER_OUTLINED double rescaled_norm(double q, Sizes sizes) {
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

// One norm of the elements whose sizes `sizes` gives, as above, by one block; the same in each
// thread.
template <class Norm, class Real, class Sizes>
__device__ double norm_of(double q, Sizes sizes) {
  StretchedSum<Norm, Real> part;
  sizes([&](Real size) { part.add(size, q); });
  const double sum = block_reduce<Norm>(part.total());
  return needs_rescale<Norm, Real>(sum) ? rescaled_norm(q, sizes) : Norm::finish(sum, q);
}

// The elements of one part that one thread has, read at once; those past the row's end are zero.
template <class Real>
struct Held {
  Real value[kThreadElements];

  // From here on the compiler knows nothing of the values: it would add up for all norms before it
  // is known which are wanted.
  __device__ void forget() {
#if defined(__CUDA_ARCH__)
#pragma unroll
    for (Real& each : value) {
      if constexpr (sizeof(Real) == 4) {
        asm volatile("" : "+f"(each));
      } else {
        asm volatile("" : "+d"(each));
      }
    }
#endif
  }
  // f(value) for each of them, in their order. A long f is written out for four of them alone: the
  // compiler would work on all at once, and run out of registers.
  template <bool kIsLong, class F>
  __device__ void for_each(const F& f) const {
    if constexpr (kIsLong) {
      Held left = *this;
#pragma unroll 1
      for (uint32_t access = 0; access < kAccesses; ++access) {
#pragma unroll
        for (int i = 0; i < 4; ++i) f(left.value[i]);
#pragma unroll
        for (uint32_t i = 4; i < kThreadElements; ++i) left.value[i - 4] = left.value[i];
      }
    } else {
#pragma unroll
      for (uint32_t i = 0; i < kThreadElements; ++i) f(value[i]);
    }
  }
};

// The first element of one of a thread's accesses.
__device__ inline uint32_t element_of(uint32_t part, uint32_t access) {
  return part * uint32_t{kPartElements} + 4 * (access * blockDim.x + threadIdx.x);
}

// Of a row whose values are four(element, out).
template <class Row>
__device__ Held<typename Row::Real> hold(const Row& row, const Parts& parts, uint32_t part,
                                         uint32_t numel) {
  Held<typename Row::Real> held;
  if (part < parts.full) {
    const Row rest = row.from(part * uint32_t{kPartElements} + 4 * threadIdx.x);
#pragma unroll
    for (uint32_t access = 0; access < kAccesses; ++access) {
      rest.four(access * 4 * kPartThreads, held.value + 4 * access);
    }
    return held;
  }
#pragma unroll
  for (uint32_t access = 0; access < kAccesses; ++access) {
    const uint32_t element = element_of(part, access);
    if (element < numel) {
      row.four(element, held.value + 4 * access);
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) held.value[4 * access + i] = 0;
    }
  }
  return held;
}

// The same elements in the same order, one by one, of a row whose values are one(element).
template <class Row>
struct Single {
  Row row;
  uint32_t part, numel;

  __device__ void forget() {}
  template <bool, class F>
  __device__ void for_each(const F& f) const {
#pragma unroll 1
    for (uint32_t access = 0; access < kAccesses; ++access) {
      const uint32_t first = element_of(part, access);
#pragma unroll 1
      for (uint32_t i = first; i < first + 4; ++i) f(i < numel ? row.one(i) : 0);
    }
  }
};

// What one thread of a block looks at when a block looks at all of a row.
template <class Row>
struct Whole {
  Row row;
  uint32_t numel;

  template <class F>
  __device__ void operator()(const F& f) const {
    for (uint32_t element = threadIdx.x; element < numel; element += blockDim.x) {
      f(magnitude(row.one(element)));
    }
  }
};

// Calls keep(n, sum) in thread n for the sum of norm n over one part; all threads must call it.
template <class Real, class Values, class Keep>
__device__ void part_sums(const Norms& norms, Values values, const Keep& keep) {
  constexpr int kSums = kMaxNorms * kPartWarps;
  CLEVER_SHARED(double, of_warp, kSums);
#pragma unroll 1
  for (int n = 0; n < norms.n; ++n) {
    values.forget();
    with_norm_number(norms.number[n], [&](auto tag) {
      using Norm = decltype(tag);
      constexpr bool kIsLong = Norm::kP != Norm::kP;  // of any other p: a logarithm and a power
      Real sum = 0;
      values.template for_each<kIsLong>(
          [&](Real value) { sum = Norm::update(sum, magnitude(value), norms.q[n]); });
      sum = warp_reduce<Norm>(sum);
      if (lane() == 0) of_warp[n * kPartWarps + warp()] = static_cast<double>(sum);
    });
  }
  __syncthreads();
  if (threadIdx.x >= static_cast<uint32_t>(norms.n)) return;
  const uint32_t n = threadIdx.x;
  double total = of_warp[n * kPartWarps];
  for (uint32_t number = 1; number < warps(); ++number) {
    total = norms.combined(n, total, of_warp[n * kPartWarps + number]);
  }
  keep(n, total);
}

// The sum of each norm over all parts of a row, in thread n for norm n: sums of norm n are at
// sums[n * stride]. All threads must call it.
__device__ inline double row_sums(const Norms& norms, const double* sums, int64_t stride,
                                  uint32_t parts) {
  CLEVER_SHARED(double, of_row, kMaxNorms);
#pragma unroll 1
  for (uint32_t n = warp(); n < static_cast<uint32_t>(norms.n); n += warps()) {
    double total = 0.0;
#pragma unroll 1
    for (uint32_t part = lane(); part < parts; part += kWarp) {
      total = norms.combined(n, total, sums[n * stride + part]);
    }
    for (uint32_t offset = kWarp / 2; offset > 0; offset /= 2) {
      total = norms.combined(n, total, __shfl_xor_sync(0xffffffffu, total, offset));
    }
    if (lane() == 0) of_row[n] = total;
  }
  __syncthreads();
  return threadIdx.x < static_cast<uint32_t>(norms.n) ? of_row[threadIdx.x] : 0.0;
}

// The norm that a sum gives, or -1 where the row has to be rescaled.
template <class Real>
__device__ CLEVER_OUTLINED double plain_norm(int number, double q, double sum) {
  return with_norm_number(number, [&](auto tag) {
    using Norm = decltype(tag);
    return needs_rescale<Norm, Real>(sum) ? -1.0 : Norm::finish(sum, q);
  });
}

// Calls store(n, norm) in thread 0 for each norm of a row, of whose sums thread n has that of norm
// n. All threads must call it.
template <class Row, class Store>
__device__ void finish_norms(const Norms& norms, double sum, Whole<Row> whole, const Store& store) {
  CLEVER_SHARED(double, plain, kMaxNorms);
  if (threadIdx.x < static_cast<uint32_t>(norms.n)) {
    const uint32_t n = threadIdx.x;
    plain[n] = plain_norm<typename Row::Real>(norms.number[n], norms.q[n], sum);
  }
  __syncthreads();
#pragma unroll 1
  for (int n = 0; n < norms.n; ++n) {
    const double found = plain[n];
    const double norm = found == -1.0 ? rescaled_norm(norms.q[n], whole) : found;
    if (threadIdx.x == 0) store(n, norm);
  }
}

}  // namespace clever::cuda
