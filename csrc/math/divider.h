// Quotients by a number that is known before a launch.
#pragma once

#include <cstdint>

#include "platform.h"

namespace clever {

// Of numbers below 2^31 by one of 1 to 2^31, by a product and a shift: a GPU has no division of
// integers (Granlund and Montgomery, PLDI 1994).
struct Divider {
  uint32_t divisor, magic, shift;

  explicit Divider(uint32_t by) : divisor(by), shift(0) {
    while ((uint64_t{1} << shift) < by) ++shift;
    magic = static_cast<uint32_t>((((uint64_t{1} << shift) - by) << 32) / by + 1);
  }
  CLEVER_HD uint32_t quotient(uint32_t number) const {
    const auto high = static_cast<uint32_t>((uint64_t{number} * magic) >> 32);
    return (high + number) >> shift;
  }
};

}  // namespace clever
