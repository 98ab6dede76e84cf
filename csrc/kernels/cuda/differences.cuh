// The elements of a point, seen from its center.
#pragma once

#include "parts.cuh"

namespace clever::cuda {

// x - center. The elements of a point of either layout lie without gaps, and a norm knows no
// order.
template <class T, bool kInFours_>
struct Difference {
  using Real = typename Arithmetic<T>::Real;
  static constexpr bool kInFours = kInFours_;
  const T *x, *center;

  __device__ void four(uint32_t element, Real* out) const {
    const Four<T> a = load_four(x + element), b = load_four(center + element);
#pragma unroll
    for (int i = 0; i < 4; ++i) out[i] = load(a.element + i) - load(b.element + i);
  }
  __device__ Difference from(uint32_t element) const { return {x + element, center + element}; }
  __device__ Real one(uint32_t element) const { return load(x + element) - load(center + element); }
};

}  // namespace clever::cuda
