// Logarithm, exponential, sine and cosine in float32, from integer steps, sums, products and fma.
//
// No library call and no branch: loops over them vectorise on the CPU, and since each step is
// correctly rounded everywhere (the build forbids contraction), the results are the same bits on
// every CPU and GPU. Each is within 3 ulp. tools/polynomials.py finds the coefficients.
#pragma once

#include <cmath>
#include <cstdint>

#include "platform.h"

namespace clever {

constexpr float kLn2 = 0.693147182464599609375f;
constexpr float kLn2Low = -1.904654323148236017e-9f;

CLEVER_HD float bits_to_float(int32_t bits) { return __builtin_bit_cast(float, bits); }
CLEVER_HD int32_t float_to_bits(float x) { return __builtin_bit_cast(int32_t, x); }

// -x where the lowest bit is set, else x.
CLEVER_HD float flip_sign(float x, uint32_t bit) {
  return bits_to_float(float_to_bits(x) ^ static_cast<int32_t>(bit << 31));
}

// The nearest integer, of two the even one; within int32's range.
CLEVER_HD int32_t to_nearest(float x) {
#if defined(__CUDA_ARCH__)
  return __float2int_rn(x);
#else
  return static_cast<int32_t>(rintf(x));
#endif
}

// log(x) for normal x > 0. For zero, infinities and NaN the result is finite and means nothing.
CLEVER_HD float log_positive(float x) {
  constexpr int32_t kSqrtHalf = 0x3f3504f3;
  const int32_t shifted = float_to_bits(x) - kSqrtHalf;
  const float exponent = static_cast<float>(shifted >> 23);
  const float f = bits_to_float((shifted & 0x007fffff) + kSqrtHalf) - 1.0f;
  float poly = -7.634492964e-02f;
  poly = fmaf(poly, f, 1.276157498e-01f);
  poly = fmaf(poly, f, -1.316018254e-01f);
  poly = fmaf(poly, f, 1.420175880e-01f);
  poly = fmaf(poly, f, -1.662335694e-01f);
  poly = fmaf(poly, f, 2.000122666e-01f);
  poly = fmaf(poly, f, -2.500081956e-01f);
  poly = fmaf(poly, f, 3.333333135e-01f);
  return fmaf(exponent, kLn2, fmaf(fmaf(poly, f, -0.5f), f * f, f));
}

// exp(x); below -87 it is held at exp(-87), about 1.6e-38, and above 88.3 it is infinite.
CLEVER_HD float exp_bounded(float x) {
  x = x < -87.0f ? -87.0f : (x > 89.0f ? 89.0f : x);
  constexpr float kRoundToInteger = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float n = fmaf(x, 1.44269504088896341f, kRoundToInteger) - kRoundToInteger;
  const float r = fmaf(n, -kLn2Low, fmaf(n, -kLn2, x));
  float poly = 1.395047875e-03f;
  poly = fmaf(poly, r, 8.368882351e-03f);
  poly = fmaf(poly, r, 4.166620597e-02f);
  poly = fmaf(poly, r, 1.666651964e-01f);
  poly = fmaf(poly, r, 0.5f);
  const float value = 1.0f + fmaf(poly, r * r, r);
  return value * bits_to_float((static_cast<int32_t>(n) + 127) << 23);
}

// A word as a uniform number in (0, 1]: (word + 1/2) / 2^32, where the product rounds nothing.
CLEVER_HD float uniform_positive(uint32_t word) {
  return fmaf(static_cast<float>(word), 0x1p-32f, 0x1p-33f);
}

// A word as a uniform number in [-1, 1].
CLEVER_HD float uniform_symmetric(uint32_t word) {
  return fmaf(static_cast<float>(static_cast<int32_t>(word)), 0x1p-31f, 0x1p-32f);
}

// A word as an exponential variable, -log(u).
CLEVER_HD float exponential(uint32_t word) { return -log_positive(uniform_positive(word)); }

struct SinCos {
  float sin, cos;
};

// Sine and cosine of word / 2^32 turns. What is left of a word beside the nearest quarter turn is
// found in integers, without rounding: times four it is what 32 bits keep of four words.
CLEVER_HD SinCos sincos_turns(uint32_t word) {
  const float x = static_cast<float>(static_cast<int32_t>(word << 2)) * 3.6572951981767899e-10f;
  const float z = x * x;
  float sin_poly = -1.951528247e-04f;
  sin_poly = fmaf(sin_poly, z, 8.332160302e-03f);
  sin_poly = fmaf(sin_poly, z, -1.666665524e-01f);
  const float sin_x = fmaf(sin_poly, z * x, x);
  float cos_poly = 2.443845187e-05f;
  cos_poly = fmaf(cos_poly, z, -1.388736768e-03f);
  cos_poly = fmaf(cos_poly, z, 4.166664556e-02f);
  const float cos_x = fmaf(cos_poly, z * z, fmaf(-0.5f, z, 1.0f));
  // Odd quarters swap the two; signs follow from the highest bit, a quarter later for the cosine.
  // In bits, not by conditions, which compilers turn into branches.
  const uint32_t turned = word + 0x20000000u;
  const auto sin_bits = __builtin_bit_cast(uint32_t, sin_x);
  const auto cos_bits = __builtin_bit_cast(uint32_t, cos_x);
  const uint32_t swapped =
      (sin_bits ^ cos_bits) & static_cast<uint32_t>(static_cast<int32_t>(turned << 1) >> 31);
  const uint32_t sin_sign = turned & 0x80000000u, cos_sign = (turned + 0x40000000u) & 0x80000000u;
  return {__builtin_bit_cast(float, sin_bits ^ swapped ^ sin_sign),
          __builtin_bit_cast(float, cos_bits ^ swapped ^ cos_sign)};
}

}  // namespace clever
