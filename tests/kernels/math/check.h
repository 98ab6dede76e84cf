// CHECK and what the tests of csrc/math share. Each test is one file with a main of its own, which
// tests/kernels/test_math.py compiles and runs; it exits with 1 where a check failed.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <random>

inline long checks = 0, failures = 0;

inline bool record(bool passed, const char* file, int line, const char* text) {
  ++checks;
  if (!passed && ++failures <= 20) std::printf("%s:%d: %s failed", file, line, text);
  return passed;
}

// CHECK(condition, format, values...): the values are printed where the condition is false.
#define CHECK(condition, ...)                                   \
  do {                                                          \
    if (!record((condition), __FILE__, __LINE__, #condition)) { \
      if (failures <= 20) {                                     \
        std::printf(": " __VA_ARGS__);                          \
        std::printf("\n");                                      \
      }                                                         \
    }                                                           \
  } while (false)

inline int report() {
  std::printf("%ld checks, %ld failures\n", checks, failures);
  return failures == 0 ? 0 : 1;
}

// Distance of a float32 result from the true value, in units of the last place of the true value.
inline double ulps(float got, double exact) {
  const int exponent = exact == 0.0 ? -126 : std::max(std::ilogb(exact), -126);
  return std::abs(static_cast<double>(got) - exact) / std::ldexp(1.0, exponent - 23);
}
