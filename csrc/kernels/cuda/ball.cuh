// One row of samples, written by one block.
#pragma once

#include "../arguments.h"
#include "block.cuh"

namespace clever::cuda {

// The sum of |t|^p over all draws of a sample, found by drawing them.
template <class Norm>
__device__ double sample_mass(const Stream& stream, const BlockGrid& grid, double p) {
  double total = 0.0;
  int64_t block = threadIdx.x;
  while (block < grid.full) {
    float partial = 0.0f;
    for (int step = 0; step < kStretch && block < grid.full; ++step, block += kThreads) {
      partial += Norm::Sampler::mass(stream, static_cast<uint32_t>(block), p);
    }
    total += static_cast<double>(partial);
  }
  for (block = grid.full + threadIdx.x; block < grid.n_blocks; block += kThreads) {
    total += static_cast<double>(tail_mass<Norm>(stream, block, grid, p));
  }
  return block_reduce<Norm>(total);
}

template <class Norm, class T>
__device__ void write_sample(T* out, const T* center, const PointLayout& point, double p,
                             double radius, const Stream& stream, Clip clip) {
  const BlockGrid grid(point.numel);
  const double mass = Norm::kIsSum ? sample_mass<Norm>(stream, grid, p) : 0.0;
  const typename Arithmetic<T>::Writer writer(ball_scale<Norm>(radius, mass, stream, p), clip);
  for (int64_t block = threadIdx.x; block < grid.n_blocks; block += kThreads) {
    const Block drawn = Norm::Sampler::draw(stream, static_cast<uint32_t>(block), p);
    for (int i = 0; i < 4; ++i) {
      const int64_t element = grid.element(i, block);
      if (element >= grid.numel) break;
      const int64_t offset = point.offset(element);
      store(out + offset, writer(load(center + offset), drawn.t[i]));
    }
  }
}

}  // namespace clever::cuda
