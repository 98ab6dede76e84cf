#include "words.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define CLEVER_X86 1
// GCC 12 takes what its own header leaves undefined on purpose for a mistake.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#endif

// Written out by hand for x86, since no compiler finds it: Philox multiplies 32-bit words to 64
// bits, which vpmuludq does for every other word of a register. So each block has a 64-bit lane of
// its own, whose upper half holds what the next multiplication does not read. Four registers of
// blocks are in work at a time: a round's steps depend on each other.
namespace clever::cpu {
namespace {

[[maybe_unused]] constexpr int kInWork = 4;

void portable_words(const Stream& stream, uint32_t first, int count, uint32_t domain,
                    Words& words) {
  for (int j = 0; j < count; ++j) {
    const PhiloxWords drawn = stream.words(first + static_cast<uint32_t>(j), domain);
    for (int i = 0; i < 4; ++i) words.w[i][j] = drawn.w[i];
  }
}

#if defined(CLEVER_X86)
#define CLEVER_FOR(isa) __attribute__((target(isa)))

using Lanes512 = uint64_t __attribute__((vector_size(64)));
using Lanes256 = uint64_t __attribute__((vector_size(32)));

// The product of the lower halves of each lane.
CLEVER_FOR("avx512f") inline Lanes512 product(Lanes512 a, Lanes512 b) {
  return reinterpret_cast<Lanes512>(
      _mm512_mul_epu32(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
}
CLEVER_FOR("avx2") inline Lanes256 product(Lanes256 a, Lanes256 b) {
  return reinterpret_cast<Lanes256>(
      _mm256_mul_epu32(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
}

CLEVER_FOR("avx512f") inline Lanes512 xor_of(Lanes512 a, Lanes512 b, Lanes512 c) {
  constexpr int kXorOfThree = 0x96;  // GCC finds this instruction in a ^ b ^ c, but not always
  return reinterpret_cast<Lanes512>(
      _mm512_ternarylogic_epi64(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b),
                                reinterpret_cast<__m512i>(c), kXorOfThree));
}
CLEVER_FOR("avx2") inline Lanes256 xor_of(Lanes256 a, Lanes256 b, Lanes256 c) { return a ^ b ^ c; }

// Writes the lower half of each lane.
CLEVER_FOR("avx512f") inline void store(Lanes512 lanes, uint32_t* words) {
  _mm256_store_si256(reinterpret_cast<__m256i*>(words),
                     _mm512_cvtepi64_epi32(reinterpret_cast<__m512i>(lanes)));
}
CLEVER_FOR("avx2") inline void store(Lanes256 lanes, uint32_t* words) {
  const __m256i low_halves = _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6);
  const __m256i packed = _mm256_permutevar8x32_epi32(reinterpret_cast<__m256i>(lanes), low_halves);
  _mm_store_si128(reinterpret_cast<__m128i*>(words), _mm256_castsi256_si128(packed));
}

CLEVER_FOR("avx512f")
void avx512_words(const Stream& stream, uint32_t first, int count, uint32_t domain, Words& words) {
  using Lanes = Lanes512;
#include "words_lanes.inc"
}
CLEVER_FOR("avx2")
void avx2_words(const Stream& stream, uint32_t first, int count, uint32_t domain, Words& words) {
  using Lanes = Lanes256;
#include "words_lanes.inc"
}
#endif

using DrawWords = void (*)(const Stream&, uint32_t, int, uint32_t, Words&);

DrawWords widest() {
#if defined(CLEVER_X86)
  if (__builtin_cpu_supports("avx512f")) return avx512_words;
  if (__builtin_cpu_supports("avx2")) return avx2_words;
#endif
  return portable_words;
}

}  // namespace

void draw_words(const Stream& stream, uint32_t first, int count, uint32_t domain, Words& words) {
  static const DrawWords draw = widest();
  draw(stream, first, count, domain, words);
}

}  // namespace clever::cpu
