// Philox4x32-10: random numbers by counter, never by state.
// Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
#pragma once

#include <cstdint>

#include "platform.h"

namespace clever {

struct PhiloxKey {
  uint32_t k0, k1;
};

struct PhiloxWords {
  uint32_t w[4];
};

constexpr int kPhiloxRounds = 10;
constexpr uint32_t kPhiloxMultiplier0 = 0xD2511F53u, kPhiloxMultiplier1 = 0xCD9E8D57u;
constexpr uint32_t kPhiloxWeyl0 = 0x9E3779B9u, kPhiloxWeyl1 = 0xBB67AE85u;

CLEVER_HD PhiloxWords philox4x32_10(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3,
                                    PhiloxKey key) {
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const uint64_t product0 = uint64_t{kPhiloxMultiplier0} * c0;
    const uint64_t product1 = uint64_t{kPhiloxMultiplier1} * c2;
    c0 = static_cast<uint32_t>(product1 >> 32) ^ c1 ^ key.k0;
    c1 = static_cast<uint32_t>(product1);
    c2 = static_cast<uint32_t>(product0 >> 32) ^ c3 ^ key.k1;
    c3 = static_cast<uint32_t>(product0);
    key.k0 += kPhiloxWeyl0;
    key.k1 += kPhiloxWeyl1;
  }
  return {{c0, c1, c2, c3}};
}

// All the random words of one sample: sample k of batch b of one image, under one seed and norm.
struct Stream {
  PhiloxKey key;
  uint32_t k, b;

  // `domain` keeps apart what one sample uses words for: 0 for the elements, see samplers.h.
  CLEVER_HD PhiloxWords words(uint32_t block, uint32_t domain) const {
    return philox4x32_10(block, k, b, domain, key);
  }
};

// The key of all samples of one image under one seed and norm: the seed is Philox's key, the image
// id and the bits of p are its counter, and two words of the result are the key. So the 128 bits of
// the counter stay free for sample, batch and element.
CLEVER_HD PhiloxKey stream_key(uint64_t seed, uint64_t image_id, double p) {
  const uint64_t p_bits = __builtin_bit_cast(uint64_t, p);
  const PhiloxWords words =
      philox4x32_10(static_cast<uint32_t>(image_id), static_cast<uint32_t>(image_id >> 32),
                    static_cast<uint32_t>(p_bits), static_cast<uint32_t>(p_bits >> 32),
                    {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  return {words.w[0], words.w[1]};
}

// A sample's number within its image: batch b in the high 32 bits, k in the low.
CLEVER_HD Stream make_stream(PhiloxKey key, uint64_t sample) {
  return {key, static_cast<uint32_t>(sample), static_cast<uint32_t>(sample >> 32)};
}

}  // namespace clever
