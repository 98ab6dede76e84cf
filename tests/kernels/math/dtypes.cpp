// float16 and bfloat16: every pattern, and the rounding of float32 against one made in float64 from
// the formats' definition.
#include "dtypes.h"

#include <algorithm>

#include "check.h"

using namespace clever;

namespace {

// A 16-bit format: sign, exponent, mantissa.
struct Format {
  int mantissa_bits, bias;

  int exponents() const { return (1 << (15 - mantissa_bits)) - 1; }

  double value(uint16_t bits) const {
    const int exponent = (bits & 0x7fff) >> mantissa_bits;
    const int mantissa = bits & ((1 << mantissa_bits) - 1);
    double size;
    if (exponent == exponents()) {
      size = mantissa == 0 ? INFINITY : NAN;
    } else if (exponent == 0) {
      size = std::ldexp(mantissa, 1 - bias - mantissa_bits);
    } else {
      size = std::ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits);
    }
    return (bits & 0x8000) != 0 ? -size : size;
  }

  // The nearest value of the format, ties to the even mantissa. nearbyint rounds so by default.
  double rounded(float x) const {
    const double size = std::abs(static_cast<double>(x));
    if (!(size > 0.0) || std::isinf(size)) return x;
    const int exponent = std::max(std::ilogb(size), 1 - bias);
    const double quantum = std::ldexp(1.0, exponent - mantissa_bits);
    const double near = std::nearbyint(size / quantum) * quantum;
    const double largest = value(static_cast<uint16_t>((exponents() << mantissa_bits) - 1));
    return std::copysign(near > largest ? INFINITY : near, x);
  }
};

constexpr Format kHalf{10, 15}, kBFloat16{7, 127};

template <class T>
void check_rounding(const Format& format, float x) {
  T stored;
  store(&stored, x);
  const double got = load(&stored), expected = format.rounded(x);
  if (std::isnan(x)) {
    CHECK(std::isnan(got), "a NaN (%08x) became %g", __builtin_bit_cast(uint32_t, x), got);
  } else {
    CHECK(got == expected && std::signbit(got) == std::signbit(x), "%a became %a, not %a",
          static_cast<double>(x), got, expected);
  }
}

template <class T>
void test_every_pattern(const Format& format) {
  for (int pattern = 0; pattern < 0x10000; ++pattern) {
    const T bits{static_cast<uint16_t>(pattern)};
    const float got = load(&bits);
    const double expected = format.value(bits.bits);
    T again;
    store(&again, got);
    if (std::isnan(expected)) {
      CHECK(std::isnan(got) && std::isnan(format.value(again.bits)), "NaN %04x", pattern);
    } else {
      CHECK(got == expected && std::signbit(got) == std::signbit(expected), "%04x is %a, not %a",
            pattern, static_cast<double>(got), expected);
      CHECK(again.bits == bits.bits, "%04x came back as %04x", pattern, again.bits);
    }
  }
}

template <class T>
void test_rounding(const Format& format) {
  // Halfway between every two neighbours, and a float32 step to each side of it.
  for (int pattern = 0; pattern < format.exponents() << format.mantissa_bits; ++pattern) {
    const double below = format.value(static_cast<uint16_t>(pattern));
    double above = format.value(static_cast<uint16_t>(pattern + 1));
    if (std::isinf(above))
      above = below + (below - format.value(static_cast<uint16_t>(pattern - 1)));
    const auto middle = static_cast<float>((below + above) / 2);
    for (const float x :
         {middle, std::nextafterf(middle, 0.0f), std::nextafterf(middle, INFINITY)}) {
      check_rounding<T>(format, x);
      check_rounding<T>(format, -x);
    }
  }
  // All of float32, NaNs, infinities and subnormals included, in a stride without a factor of 2.
  for (uint64_t bits = 0; bits < uint64_t{1} << 32; bits += 1021) {
    check_rounding<T>(format, __builtin_bit_cast(float, static_cast<uint32_t>(bits)));
  }
  constexpr float kLargest = std::numeric_limits<float>::max();
  constexpr float kSmallest = std::numeric_limits<float>::denorm_min();
  for (const float x :
       {0.0f, -0.0f, INFINITY, -INFINITY, NAN, -NAN, kLargest, -kLargest, kSmallest, -kSmallest,
        __builtin_bit_cast(float, 0x7f800001u), __builtin_bit_cast(float, 0xffffffffu)}) {
    check_rounding<T>(format, x);
  }
}

}  // namespace

int main() {
  test_every_pattern<half_t>(kHalf);
  test_every_pattern<bfloat16_t>(kBFloat16);
  test_rounding<half_t>(kHalf);
  test_rounding<bfloat16_t>(kBFloat16);
  return report();
}
