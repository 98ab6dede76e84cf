// The four floating point types of tensors, with 16-bit ones as bits: no torch, no CUDA header.
#pragma once

#include <cstdint>

#include "ball.h"
#include "platform.h"

namespace clever {

struct half_t {
  uint16_t bits;
};

struct bfloat16_t {
  uint16_t bits;
};

CLEVER_HD float load(const float* p) { return *p; }
CLEVER_HD double load(const double* p) { return *p; }

CLEVER_HD float load(const bfloat16_t* p) {
  return __builtin_bit_cast(float, static_cast<uint32_t>(p->bits) << 16);
}

CLEVER_HD float load(const half_t* p) {
  const uint32_t sign = static_cast<uint32_t>(p->bits & 0x8000u) << 16;
  const uint32_t rest = p->bits & 0x7fffu;
  // Exponent and mantissa, moved into place, are the value times 2^-112; subnormals come out right.
  const uint32_t moved = rest >= 0x7c00u ? (rest << 13) | 0x7f800000u : rest << 13;
  const float value = __builtin_bit_cast(float, moved);
  const float scaled = rest >= 0x7c00u ? value : value * 0x1p112f;
  return __builtin_bit_cast(float, __builtin_bit_cast(uint32_t, scaled) | sign);
}

CLEVER_HD void store(float* p, float x) { *p = x; }
CLEVER_HD void store(double* p, double x) { *p = x; }

// To the nearest, ties to even; a NaN stays one.
CLEVER_HD void store(bfloat16_t* p, float x) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, x);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  p->bits = static_cast<uint16_t>(x != x ? 0x7fc0u : rounded);
}

CLEVER_HD void store(half_t* p, float x) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, x);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t size = bits & 0x7fffffffu;
  // Normal results: round the 13 surplus bits to even in integers, then change the exponent's bias.
  const uint32_t normal = (size + 0x0fffu + ((size >> 13) & 1u) - 0x38000000u) >> 13;
  // Subnormal results: adding 0.5 leaves them, rounded by the hardware, in the lowest bits.
  const float shifted = __builtin_bit_cast(float, size) + 0.5f;
  const uint32_t subnormal = __builtin_bit_cast(uint32_t, shifted) - 0x3f000000u;
  uint32_t result = size < 0x38800000u ? subnormal : normal;
  result = size >= 0x477ff000u ? 0x7c00u : result;
  result = size > 0x7f800000u ? 0x7e00u : result;
  p->bits = static_cast<uint16_t>(sign | result);
}

// What a type is computed in, and how points of it are written.
template <class T>
struct Arithmetic {
  using Real = float;
  using Writer = PointWriter;
};

template <>
struct Arithmetic<double> {
  using Real = double;
  using Writer = PointWriterDouble;
};

#define CLEVER_FORALL_DTYPES(X) X(double) X(float) X(half_t) X(bfloat16_t)

}  // namespace clever
