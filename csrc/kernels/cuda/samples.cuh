// Draws of a sample and its points, sixteen elements a thread: four neighbouring blocks of draws.
#pragma once

#include "parts.cuh"

namespace clever::cuda {

// A BlockGrid and the layout of a point in 32 bits, without divisions.
struct Point {
  enum Access {
    kFours,    // draw i of a thread's four blocks is four elements that lie side by side
    kRuns,     // or that lie plane_stride apart
    kSingles,  // or that may be of two channels, or past the end
  };
  uint32_t numel, n_blocks, full;
  Divider plane;
  uint32_t channel_stride, plane_stride;
  Access access;

  Point(const PointLayout& layout, bool in_fours)
      : numel(static_cast<uint32_t>(layout.numel)),
        plane(static_cast<uint32_t>(layout.plane)),
        channel_stride(static_cast<uint32_t>(layout.channel_stride)),
        plane_stride(static_cast<uint32_t>(layout.plane_stride)),
        access(kSingles) {
    const BlockGrid grid(layout.numel);
    n_blocks = static_cast<uint32_t>(grid.n_blocks);
    full = static_cast<uint32_t>(grid.full);
    if (numel % 16 != 0 || plane.divisor % 4 != 0) return;
    access = in_fours && plane.divisor == numel && plane_stride == 1 ? kFours : kRuns;
  }
  CLEVER_HD uint32_t offset(uint32_t element) const {
    const uint32_t channel = plane.quotient(element);
    return channel * channel_stride + (element - channel * plane.divisor) * plane_stride;
  }
  CLEVER_HD BlockGrid grid() const { return BlockGrid(numel); }
};

// The first of the four blocks of draws of a thread.
__device__ inline uint32_t first_block(uint32_t part) {
  return 4 * (part * kPartThreads + threadIdx.x);
}

// The mass of a thread's four blocks.
template <class Norm>
__device__ uint32_t mass_of_four(const Stream& stream, const Point& point, uint32_t first,
                                 double p) {
  uint32_t mass = 0;
  if (first + 4 <= point.full) {
#pragma unroll
    for (uint32_t j = 0; j < 4; ++j) {
      mass += static_cast<uint32_t>(mass_units(Norm::Sampler::mass(stream, first + j, p)));
    }
    return mass;
  }
  const BlockGrid grid = point.grid();
#pragma unroll 1
  for (uint32_t block = first; block < first + 4 && block < point.n_blocks; ++block) {
    mass += static_cast<uint32_t>(block_mass<Norm>(stream, block, grid, p));
  }
  return mass;
}

// The mass of a sample, found by one block; whole numbers below 2^53 are added without rounding.
template <class Norm>
__device__ double mass_of_row(const Stream& stream, int64_t numel, double p) {
  const BlockGrid grid(numel);
  int64_t mass = 0;
  for (int64_t block = threadIdx.x; block < grid.n_blocks; block += blockDim.x) {
    mass += block_mass<Norm>(stream, block, grid, p);
  }
  return block_reduce<L1>(static_cast<double>(mass)) * kMassUnit;
}

// Draw i of block first + j of a sample.
struct Draws {
  float t[4][4];

  template <class Norm>
  __device__ static Draws of(const Stream& stream, uint32_t first, double p) {
    Draws draws;
#pragma unroll
    for (uint32_t j = 0; j < 4; ++j) {
      const Block block = Norm::Sampler::draw(stream, first + j, p);
#pragma unroll
      for (int i = 0; i < 4; ++i) draws.t[i][j] = block.t[i];
    }
    return draws;
  }
};

// Writes a thread's points.
template <class T>
__device__ void write_points(T* out, const T* center, const Point& point, uint32_t first,
                             const Draws& draws, const typename Arithmetic<T>::Writer& writer) {
  if (first >= point.n_blocks) return;
  if (point.access == Point::kFours) {
    // All are read before one is written: the compiler cannot know that out is apart from center.
    Four<T> fours[4];
    center += first;
#pragma unroll
    for (int i = 0; i < 4; ++i, center += point.n_blocks) fours[i] = load_four(center);
    out += first;
#pragma unroll
    for (int i = 0; i < 4; ++i, out += point.n_blocks) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        T* const element = fours[i].element + j;
        store(element, writer(load(element), draws.t[i][j]));
      }
      store_four(out, fours[i]);
    }
  } else if (point.access == Point::kRuns) {
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) {
      const uint32_t offset = point.offset(i * point.n_blocks + first);
      const T* from = center + offset;
      T before[4];
#pragma unroll
      for (int j = 0; j < 4; ++j, from += point.plane_stride) before[j] = *from;
      T* to = out + offset;
#pragma unroll
      for (int j = 0; j < 4; ++j, to += point.plane_stride) {
        store(to, writer(load(before + j), draws.t[i][j]));
      }
    }
  } else {
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) {
#pragma unroll
      for (uint32_t j = 0; j < 4; ++j) {
        const uint32_t element = i * point.n_blocks + first + j;
        if (first + j >= point.n_blocks || element >= point.numel) continue;
        const uint32_t offset = point.offset(element);
        store(out + offset, writer(load(center + offset), draws.t[i][j]));
      }
    }
  }
}

}  // namespace clever::cuda
