// The elements of one gradient.
#pragma once

#include "parts.cuh"

namespace clever::cuda {

// Elements that lie without gaps and can be taken four at a time.
template <class T_>
struct PackedRow {
  using T = T_;
  using Real = typename Arithmetic<T>::Real;
  static constexpr bool kInFours = true;
  const T* data;

  __device__ explicit PackedRow(const T* data_) : data(data_) {}
  __device__ PackedRow(const T* data_, const RowLayout&) : data(data_) {}
  __device__ void four(uint32_t element, Real* out) const {
    const Four<T> four = load_four(data + element);
#pragma unroll
    for (int i = 0; i < 4; ++i) out[i] = load(four.element + i);
  }
  __device__ PackedRow from(uint32_t element) const { return PackedRow(data + element); }
  __device__ Real one(uint32_t element) const { return load(data + element); }
};

// Elements that lie anyhow, taken in the order of their strides.
template <class T_>
struct StridedRow {
  using T = T_;
  using Real = typename Arithmetic<T>::Real;
  static constexpr bool kInFours = false;
  const T* data;
  const RowLayout* layout;

  __device__ StridedRow(const T* data_, const RowLayout& layout_) : data(data_), layout(&layout_) {}
  __device__ Real one(uint32_t element) const { return load(data + layout->offset(element)); }
};

template <class T>
bool in_fours(const NormArguments& args) {
  return args.row.contiguous() && args.group_stride % 4 == 0 &&
         in_fours<T>(args.grads, args.row.numel, args.batch_stride);
}

}  // namespace clever::cuda
