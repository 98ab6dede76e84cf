// Quotients by products.
#include "divider.h"

#include <random>

#include "check.h"

using namespace clever;

int main() {
  constexpr uint32_t kEnd = 0x80000000u;
  std::mt19937 random(3);
  for (int trial = 0; trial < 20000; ++trial) {
    // All small divisors, powers of two and their neighbours, and others of every length.
    uint32_t by = static_cast<uint32_t>(trial) + 1;
    if (trial >= 10000) by = std::max(1u, static_cast<uint32_t>(random()) >> (1 + trial % 31));
    if (trial >= 19900) by = (1u << (trial % 31)) + 1 - static_cast<uint32_t>(trial % 3);
    if (by == 0) by = kEnd;
    const Divider divider(by);
    const uint32_t some = static_cast<uint32_t>(random()) >> 1;
    const uint32_t multiple = some / by * by;
    for (const uint32_t number :
         {0u, 1u, by - 1, by, multiple, multiple + by - 1, some, kEnd - 1}) {
      if (number >= kEnd) continue;
      CHECK(divider.quotient(number) == number / by, "%u / %u", number, by);
    }
  }
  return report();
}
