// Philox4x32-10 against the known answers of Random123 (D. E. Shaw Research, kat_vectors).
#include "philox.h"

#include <algorithm>
#include <set>
#include <utility>

#include "check.h"

using namespace clever;

namespace {

struct KnownAnswer {
  uint32_t counter[4];
  PhiloxKey key;
  uint32_t words[4];
};

constexpr KnownAnswer kKnownAnswers[] = {
    {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
     {0xffffffff, 0xffffffff},
     {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
     {0xa4093822, 0x299f31d0},
     {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
};

void test_known_answers() {
  for (const KnownAnswer& known : kKnownAnswers) {
    const uint32_t* c = known.counter;
    const PhiloxWords words = philox4x32_10(c[0], c[1], c[2], c[3], known.key);
    for (int i = 0; i < 4; ++i) {
      CHECK(words.w[i] == known.words[i], "word %d is %08x, not %08x", i, words.w[i],
            known.words[i]);
    }
  }
}

// What a sample's counter is made of: block, k, b, domain, in this order.
void test_stream_words() {
  const PhiloxKey key{0x12345678u, 0x9abcdef0u};
  const Stream stream = make_stream(key, (uint64_t{77} << 32) + 5);
  CHECK(stream.k == 5 && stream.b == 77, "k %u, b %u", stream.k, stream.b);
  const PhiloxWords words = stream.words(11, 3);
  const PhiloxWords expected = philox4x32_10(11, 5, 77, 3, key);
  CHECK(std::equal(words.w, words.w + 4, expected.w), "words differ");
}

// Each bit of seed, image id and p changes the key: no two of these keys are the same.
void test_keys_differ() {
  std::set<std::pair<uint32_t, uint32_t>> keys;
  const auto add = [&](uint64_t seed, uint64_t image_id, double p) {
    const PhiloxKey key = stream_key(seed, image_id, p);
    keys.emplace(key.k0, key.k1);
  };
  for (int bit = 0; bit < 64; ++bit) {
    add(uint64_t{1} << bit, 0, 2.0);
    add(0, uint64_t{1} << bit, 2.0);
  }
  const double exponents[] = {1.0, 1.5, 2.0, std::nextafter(2.0, 3.0), 3.0, INFINITY};
  for (const double p : exponents) add(0, 0, p);
  CHECK(keys.size() == 64 + 64 + 6, "%zu keys", keys.size());
}

}  // namespace

int main() {
  test_known_answers();
  test_stream_words();
  test_keys_differ();
  return report();
}
