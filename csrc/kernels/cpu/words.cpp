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
__attribute__((target("avx512f"))) void avx512_words(const Stream& stream, uint32_t first,
                                                     int count, uint32_t domain, Words& words) {
  const __m512i multiplier0 = _mm512_set1_epi64(kPhiloxMultiplier0);
  const __m512i multiplier1 = _mm512_set1_epi64(kPhiloxMultiplier1);
  const __m512i lane = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
  for (int j = 0; j < count; j += 8 * kInWork) {
    __m512i c0[kInWork], c1[kInWork], c2[kInWork], c3[kInWork];
    for (int n = 0; n < kInWork; ++n) {
      c0[n] = _mm512_add_epi64(_mm512_set1_epi64(first + static_cast<uint32_t>(j + 8 * n)), lane);
      c1[n] = _mm512_set1_epi64(stream.k);
      c2[n] = _mm512_set1_epi64(stream.b);
      c3[n] = _mm512_set1_epi64(domain);
    }
    PhiloxKey key = stream.key;
    for (int round = 0; round < kPhiloxRounds; ++round) {
      const __m512i k0 = _mm512_set1_epi64(key.k0), k1 = _mm512_set1_epi64(key.k1);
      for (int n = 0; n < kInWork; ++n) {
        const __m512i product0 = _mm512_mul_epu32(c0[n], multiplier0);
        const __m512i product1 = _mm512_mul_epu32(c2[n], multiplier1);
        constexpr int kXorOfThree = 0x96;
        c0[n] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(product1, 32), c1[n], k0, kXorOfThree);
        c1[n] = product1;
        c2[n] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(product0, 32), c3[n], k1, kXorOfThree);
        c3[n] = product0;
      }
      key.k0 += kPhiloxWeyl0;
      key.k1 += kPhiloxWeyl1;
    }
    for (int n = 0; n < kInWork; ++n) {
      const __m512i results[] = {c0[n], c1[n], c2[n], c3[n]};
      for (int i = 0; i < 4; ++i) {
        _mm256_store_si256(reinterpret_cast<__m256i*>(words.w[i] + j + 8 * n),
                           _mm512_cvtepi64_epi32(results[i]));
      }
    }
  }
}

__attribute__((target("avx2"))) void avx2_words(const Stream& stream, uint32_t first, int count,
                                                uint32_t domain, Words& words) {
  const __m256i multiplier0 = _mm256_set1_epi64x(kPhiloxMultiplier0);
  const __m256i multiplier1 = _mm256_set1_epi64x(kPhiloxMultiplier1);
  const __m256i lane = _mm256_setr_epi64x(0, 1, 2, 3);
  const __m256i low_halves = _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6);
  for (int j = 0; j < count; j += 4 * kInWork) {
    __m256i c0[kInWork], c1[kInWork], c2[kInWork], c3[kInWork];
    for (int n = 0; n < kInWork; ++n) {
      c0[n] = _mm256_add_epi64(_mm256_set1_epi64x(first + static_cast<uint32_t>(j + 4 * n)), lane);
      c1[n] = _mm256_set1_epi64x(stream.k);
      c2[n] = _mm256_set1_epi64x(stream.b);
      c3[n] = _mm256_set1_epi64x(domain);
    }
    PhiloxKey key = stream.key;
    for (int round = 0; round < kPhiloxRounds; ++round) {
      const __m256i k0 = _mm256_set1_epi64x(key.k0), k1 = _mm256_set1_epi64x(key.k1);
      for (int n = 0; n < kInWork; ++n) {
        const __m256i product0 = _mm256_mul_epu32(c0[n], multiplier0);
        const __m256i product1 = _mm256_mul_epu32(c2[n], multiplier1);
        c0[n] = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(product1, 32), c1[n]), k0);
        c1[n] = product1;
        c2[n] = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(product0, 32), c3[n]), k1);
        c3[n] = product0;
      }
      key.k0 += kPhiloxWeyl0;
      key.k1 += kPhiloxWeyl1;
    }
    for (int n = 0; n < kInWork; ++n) {
      const __m256i results[] = {c0[n], c1[n], c2[n], c3[n]};
      for (int i = 0; i < 4; ++i) {
        const __m256i packed = _mm256_permutevar8x32_epi32(results[i], low_halves);
        _mm_store_si128(reinterpret_cast<__m128i*>(words.w[i] + j + 4 * n),
                        _mm256_castsi256_si128(packed));
      }
    }
  }
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
