// Reductions over the threads of a warp and of a block, in a fixed order.
#pragma once

#include "../../math/norms.h"
#include "platform.cuh"

namespace clever::cuda {

constexpr uint32_t kWarp = 32;
constexpr uint32_t kThreads = 512;  // of a block that works on a whole row, and at most of any
constexpr uint32_t kWarps = kThreads / kWarp;

__device__ inline uint32_t lane() { return threadIdx.x % kWarp; }
__device__ inline uint32_t warp() { return threadIdx.x / kWarp; }
__device__ inline uint32_t warps() { return blockDim.x / kWarp; }

// The combined value of all lanes, the same bits in each of them.
template <class Norm, class A>
__device__ A warp_reduce(A value) {
#pragma unroll
  for (uint32_t offset = kWarp / 2; offset > 0; offset /= 2) {
    value = combine<Norm>(value, __shfl_xor_sync(0xffffffffu, value, offset));
  }
  return value;
}

// The sum of all lanes, the same in each of them: both halves of a number are added in 32 bits.
__device__ inline int64_t warp_sum(uint32_t value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  const uint32_t high = __reduce_add_sync(0xffffffffu, value >> 16);
  const uint32_t low = __reduce_add_sync(0xffffffffu, value & 0xffffu);
  return (int64_t{high} << 16) + low;
#else
  return warp_reduce<L1>(int64_t{value});
#endif
}

// The combined value of all threads, the same bits in each of them.
template <class Norm>
__device__ double block_reduce(double value) {
  CLEVER_SHARED(double, partial, kWarps);
  value = warp_reduce<Norm>(value);
  __syncthreads();  // the previous reduction's readers are done
  if (lane() == 0) partial[warp()] = value;
  __syncthreads();
  double total = partial[0];
  for (uint32_t number = 1; number < warps(); ++number) {
    total = combine<Norm>(total, partial[number]);
  }
  return total;
}

}  // namespace clever::cuda
