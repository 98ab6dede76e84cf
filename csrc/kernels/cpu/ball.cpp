#include "ball.h"

#include <algorithm>

#include "vectorised.h"

namespace clever::cpu {
namespace {

constexpr int kLanes = 32;    // partial sums, so that their order is the same for every width
constexpr int kTile = 256;    // blocks whose draws are held at a time
constexpr int kStretch = 64;  // float32 terms of one lane before they go to float64

// The sum of |t|^p over all draws of a sample, found by drawing them.
template <class Sampler>
CLEVER_VECTORISED double full_mass(const Stream& stream, int64_t full, double p) {
  double total = 0.0;
  int64_t block = 0;
  while (block + kLanes <= full) {
    float lanes[kLanes] = {};
    for (int step = 0; step < kStretch && block + kLanes <= full; ++step, block += kLanes) {
#pragma omp simd
      for (int lane = 0; lane < kLanes; ++lane) {
        lanes[lane] += Sampler::mass(stream, static_cast<uint32_t>(block + lane), p);
      }
    }
    for (const float lane : lanes) total += static_cast<double>(lane);
  }
  const int rest = static_cast<int>(full - block);
  float last[kLanes];
#pragma omp simd
  for (int lane = 0; lane < rest; ++lane) {
    last[lane] = Sampler::mass(stream, static_cast<uint32_t>(block + lane), p);
  }
  for (int lane = 0; lane < rest; ++lane) total += static_cast<double>(last[lane]);
  return total;
}

template <class Norm>
double sample_mass(const Stream& stream, const BlockGrid& grid, double p) {
  double total = full_mass<typename Norm::Sampler>(stream, grid.full, p);
  for (int64_t block = grid.full; block < grid.n_blocks; ++block) {
    total += static_cast<double>(tail_mass<Norm>(stream, block, grid, p));
  }
  return total;
}

template <class Sampler>
CLEVER_VECTORISED void draw_tile(const Stream& stream, int64_t first, int count, double p,
                                 float (*t)[kTile]) {
#pragma omp simd
  for (int j = 0; j < count; ++j) {
    const Block drawn = Sampler::draw(stream, static_cast<uint32_t>(first + j), p);
    CLEVER_UNROLL
    for (int i = 0; i < 4; ++i) t[i][j] = drawn.t[i];
  }
}

template <class T>
CLEVER_VECTORISED void write_run(T* out, const T* center, int64_t stride, const float* t,
                                 int64_t count, typename Arithmetic<T>::Writer writer) {
  if (stride == 1) {
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) store(out + j, writer(load(center + j), t[j]));
  } else {
    for (int64_t j = 0; j < count; ++j) {
      store(out + j * stride, writer(load(center + j * stride), t[j]));
    }
  }
}

// Elements first..first+count, cut where a channel ends.
template <class T>
void write_elements(T* out, const T* center, const PointLayout& point, int64_t first, int64_t count,
                    const float* t, typename Arithmetic<T>::Writer writer) {
  while (count > 0) {
    const int64_t run = std::min(count, point.plane - first % point.plane);
    const int64_t offset = point.offset(first);
    write_run(out + offset, center + offset, point.plane_stride, t, run, writer);
    first += run;
    count -= run;
    t += run;
  }
}

template <class Norm, class T>
void write_sample_as(T* out, const T* center, const PointLayout& point, double p, double radius,
                     const Stream& stream, Clip clip) {
  const BlockGrid grid(point.numel);
  const double mass = Norm::kIsSum ? sample_mass<Norm>(stream, grid, p) : 0.0;
  const typename Arithmetic<T>::Writer writer(ball_scale<Norm>(radius, mass, stream, p), clip);
  float t[4][kTile];
  for (int64_t block = 0; block < grid.n_blocks; block += kTile) {
    const int count = static_cast<int>(std::min<int64_t>(kTile, grid.n_blocks - block));
    draw_tile<typename Norm::Sampler>(stream, block, count, p, t);
    for (int i = 0; i < 4; ++i) {
      const int64_t first = grid.element(i, block);
      write_elements(out, center, point, first, std::min<int64_t>(count, grid.numel - first), t[i],
                     writer);
    }
  }
}

}  // namespace

void write_sample(void* out, const void* center, DType dtype, const PointLayout& point, double p,
                  double radius, const Stream& stream, Clip clip) {
  with_dtype(dtype, [&](auto tag) {
    using T = decltype(tag);
    with_norm(p, [&](auto norm) {
      write_sample_as<decltype(norm)>(static_cast<T*>(out), static_cast<const T*>(center), point, p,
                                      radius, stream, clip);
    });
  });
}

}  // namespace clever::cpu
