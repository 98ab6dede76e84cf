// From draws to points: x = clip(center + scale * t).
#pragma once

#include <cstdint>

#include "norms.h"

namespace clever {

// Element i * n_blocks + block of a sample is draw i of that block. Neighbouring blocks so write
// neighbouring elements, which suits both vector registers and the lanes of a warp.
struct BlockGrid {
  int64_t numel, n_blocks;
  // Blocks before `full` have all four of their elements; the rest lack the last ones.
  int64_t full;

  CLEVER_HD explicit BlockGrid(int64_t elements)
      : numel(elements), n_blocks((elements + 3) / 4), full(elements - 3 * n_blocks) {
    if (full < 0) full = 0;
  }
  CLEVER_HD int64_t element(int i, int64_t block) const { return i * n_blocks + block; }
};

// Masses are added up as integers, in units of 2^-22, the last place of a float32 between 2 and 4:
// the sum is the same in every order, and so CPU and GPU scale a sample by the same bits. A block's
// mass is below 150: four draws of the heaviest law, which is near p = 1, have at most 36 each.
constexpr double kMassUnit = 0x1p-22;
// Four blocks so have less than 2^32.
CLEVER_HD int32_t mass_units(float mass) { return to_nearest(mass * 0x1p22f); }

// The mass of one block; the last ones of a sample may lack elements.
template <class Norm>
CLEVER_HD int32_t block_mass(const Stream& stream, int64_t block, const BlockGrid& grid, double p) {
  if (block < grid.full) {
    return mass_units(Norm::Sampler::mass(stream, static_cast<uint32_t>(block), p));
  }
  const Block drawn = Norm::Sampler::draw(stream, static_cast<uint32_t>(block), p);
  float mass = 0.0f;
  for (int i = 0; i < 4; ++i) {
    if (grid.element(i, block) < grid.numel) mass += drawn.mass[i];
  }
  return mass_units(mass);
}

struct Clip {
  double low, high;  // -inf and inf where there is no clipping
};

// The move scale * t is within one ulp in float32: the scale is split into two float32 parts, for
// a rounded scale would shift every radius of the sample by the same relative error, and in 150,528
// dimensions radius^d multiplies that by 150,528.
struct PointWriter {
  float high, low, clip_low, clip_high;

  CLEVER_HD PointWriter(double scale, Clip clip)
      : high(static_cast<float>(scale)),
        low(static_cast<float>(scale - static_cast<double>(static_cast<float>(scale)))),
        clip_low(static_cast<float>(clip.low)),
        clip_high(static_cast<float>(clip.high)) {}
  CLEVER_HD float move(float t) const { return fmaf(t, high, t * low); }
  // A NaN stays one.
  CLEVER_HD float clipped(float x) const {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm("max.NaN.f32 %0, %0, %1;" : "+f"(x) : "f"(clip_low));
    asm("min.NaN.f32 %0, %0, %1;" : "+f"(x) : "f"(clip_high));
    return x;
#else
    return x < clip_low ? clip_low : (x > clip_high ? clip_high : x);
#endif
  }
  CLEVER_HD float operator()(float center, float t) const { return clipped(center + move(t)); }
};

struct PointWriterDouble {
  double scale;
  Clip clip;

  CLEVER_HD PointWriterDouble(double scale_, Clip clip_) : scale(scale_), clip(clip_) {}
  CLEVER_HD double move(float t) const { return scale * static_cast<double>(t); }
  CLEVER_HD double clipped(double x) const {
    return x < clip.low ? clip.low : (x > clip.high ? clip.high : x);
  }
  CLEVER_HD double operator()(double center, float t) const { return clipped(center + move(t)); }
};

}  // namespace clever
