// The CPU's ways of drawing many blocks' words, each against Philox itself.
#include "../kernels/cpu/words.cpp"

#include "check.h"

using namespace clever;
using namespace clever::cpu;

namespace {

void test_words(DrawWords draw, const char* name) {
  const Stream streams[] = {{{0, 0}, 0, 0},
                            {{0xA4093822u, 0x299F31D0u}, 0x85A308D3u, 0x13198A2Eu},
                            {{0xFFFFFFFFu, 0xFFFFFFFFu}, 0xFFFFFFFFu, 0xFFFFFFFFu}};
  for (const Stream& stream : streams) {
    // The last block number is near the end of 32 bits, where a carry must not reach other words.
    for (const uint32_t first : {0u, 12345u, 0xFFFFFFFFu - 40u}) {
      for (const int count : {0, 1, 7, 16, 31, 33, 100, 255, kTile}) {
        for (const uint32_t domain : {0u, 7u}) {
          Words words;
          draw(stream, first, count, domain, words);
          for (int j = 0; j < count; ++j) {
            const PhiloxWords expected = stream.words(first + static_cast<uint32_t>(j), domain);
            for (int i = 0; i < 4; ++i) {
              CHECK(words.w[i][j] == expected.w[i], "%s: word %d of block %u + %d", name, i, first,
                    j);
            }
          }
        }
      }
    }
  }
}

}  // namespace

int main() {
  test_words(portable_words, "portable");
  test_words(draw_words, "the widest");
#if defined(CLEVER_X86)
  if (__builtin_cpu_supports("avx2")) test_words(avx2_words, "AVX2");
  if (__builtin_cpu_supports("avx512f")) test_words(avx512_words, "AVX-512");
#endif
  return report();
}
