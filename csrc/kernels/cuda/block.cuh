// Reductions over the threads of a block, in a fixed order.
#pragma once

#include "../../math/norms.h"
#include "platform.cuh"

namespace clever::cuda {

constexpr int kThreads = 512;  // of every block; each block works on one row
constexpr int kWarp = 32;
constexpr int kStretch = 64;  // float32 terms of one thread before they go to float64

// The combined value of all threads, the same bits in each of them.
template <class Norm>
__device__ double block_reduce(double value) {
  CLEVER_SHARED(double, partial, kThreads / kWarp);
  const int lane = threadIdx.x % kWarp;
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    value = combine<Norm>(value, __shfl_xor_sync(0xffffffffu, value, offset));
  }
  __syncthreads();  // the previous reduction's readers are done
  if (lane == 0) partial[threadIdx.x / kWarp] = value;
  __syncthreads();
  double total = partial[0];
  for (int warp = 1; warp < kThreads / kWarp; ++warp) {
    total = combine<Norm>(total, partial[warp]);
  }
  return total;
}

}  // namespace clever::cuda
