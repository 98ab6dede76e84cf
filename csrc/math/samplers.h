// Draws t_i of density proportional to exp(-|t|^p), one struct per law.
//
// A sample of d elements is made of ceil(d / 4) blocks of four draws. A sampler's draw() gives one
// block's draws t and their masses |t|^p; mass() gives the sum of the four masses alone, by a
// shorter way where there is one. Barthe, Guedon, Mendelson, Naor (2005): with Z ~ Exp(1),
// t / (sum_i |t_i|^p + Z)^(1/p) is uniform in the unit p-ball.
#pragma once

#include "philox.h"
#include "transforms.h"

namespace clever {

constexpr uint32_t kElementDomain = 0;
constexpr uint32_t kExponentialDomain = 1;
constexpr uint32_t kRejectionDomain = 2;  // and the numbers above it

struct Block {
  float t[4];
  float mass[4];
};

// The Z of the formula above.
CLEVER_HD float exponential_of(const Stream& stream) {
  return exponential(stream.words(0, kExponentialDomain).w[0]);
}

// A sampler whose blocks take four words each, whatever these are. The law says what becomes of
// them, so that a loop may draw the words of many blocks first; it takes them as four numbers,
// since GCC does not vectorise loops over a struct of them.
template <class FourWords>
struct WordSampler {
  using Law = FourWords;
  CLEVER_HD static Block draw(const Stream& stream, uint32_t block, double) {
    const PhiloxWords words = stream.words(block, kElementDomain);
    return Law::draw(words.w[0], words.w[1], words.w[2], words.w[3]);
  }
  CLEVER_HD static float mass(const Stream& stream, uint32_t block, double) {
    const PhiloxWords words = stream.words(block, kElementDomain);
    return Law::mass(words.w[0], words.w[1], words.w[2], words.w[3]);
  }
};

// p = 2: Box-Muller pairs of variance 1/2. The masses of a pair sum to its squared radius, which
// is exponential: no root, sine or cosine is needed for the sum.
struct NormalLaw {
  CLEVER_HD static Block draw(uint32_t w0, uint32_t w1, uint32_t w2, uint32_t w3) {
    const float radius0 = sqrtf(exponential(w0));
    const float radius1 = sqrtf(exponential(w2));
    const SinCos angle0 = sincos_turns(w1);
    const SinCos angle1 = sincos_turns(w3);
    const float t0 = radius0 * angle0.cos, t1 = radius0 * angle0.sin;
    const float t2 = radius1 * angle1.cos, t3 = radius1 * angle1.sin;
    return {{t0, t1, t2, t3}, {t0 * t0, t1 * t1, t2 * t2, t3 * t3}};
  }
  CLEVER_HD static float mass(uint32_t w0, uint32_t, uint32_t w2, uint32_t) {
    return exponential(w0) + exponential(w2);
  }
};
using NormalSampler = WordSampler<NormalLaw>;

// p = 1: exponentials with random signs; the lowest bit of a word is the sign.
struct LaplaceLaw {
  CLEVER_HD static Block draw(uint32_t w0, uint32_t w1, uint32_t w2, uint32_t w3) {
    const float size0 = exponential(w0 | 1u), size1 = exponential(w1 | 1u);
    const float size2 = exponential(w2 | 1u), size3 = exponential(w3 | 1u);
    return {
        {flip_sign(size0, w0), flip_sign(size1, w1), flip_sign(size2, w2), flip_sign(size3, w3)},
        {size0, size1, size2, size3}};
  }
  CLEVER_HD static float mass(uint32_t w0, uint32_t w1, uint32_t w2, uint32_t w3) {
    return (exponential(w0 | 1u) + exponential(w1 | 1u)) +
           (exponential(w2 | 1u) + exponential(w3 | 1u));
  }
};
using LaplaceSampler = WordSampler<LaplaceLaw>;

// p = inf: uniforms in [-1, 1]; they need no normalisation, so they have no mass.
struct UniformLaw {
  CLEVER_HD static Block draw(uint32_t w0, uint32_t w1, uint32_t w2, uint32_t w3) {
    return {{uniform_symmetric(w0), uniform_symmetric(w1), uniform_symmetric(w2),
             uniform_symmetric(w3)},
            {}};
  }
  CLEVER_HD static float mass(uint32_t, uint32_t, uint32_t, uint32_t) { return 0.0f; }
};
using UniformSampler = WordSampler<UniformLaw>;

// Any other p >= 1: |t| = U G^(1/p) with G ~ Gamma(1 + 1/p), which is Gamma(1/p) to the power 1/p
// by the usual boost of a small shape. G by Marsaglia and Tsang (2000); each attempt at an element
// has words of its own, so that a rejection shifts nothing.
struct GammaSampler {
  struct Candidate {
    float t, mass;  // a mass below 0: rejected
  };

  float p, inverse_p, d, c;

  CLEVER_HD explicit GammaSampler(double exponent)
      : p(static_cast<float>(exponent)),
        inverse_p(static_cast<float>(1.0 / exponent)),
        d(inverse_p + 2.0f / 3.0f),
        c(1.0f / sqrtf(9.0f * d)) {}

  // The domain of an attempt's words for element i of each block.
  CLEVER_HD static uint32_t domain(uint32_t i, uint32_t attempt) {
    return kRejectionDomain + 4 * attempt + i;
  }
  CLEVER_HD Candidate candidate(uint32_t w0, uint32_t w1, uint32_t w2, uint32_t w3) const {
    const float x = sqrtf(2.0f * exponential(w0)) * sincos_turns(w1).cos;
    const float root = fmaf(c, x, 1.0f);
    const float v = root * root * root;
    const float log_v = log_positive(v);
    const float log_accept = fmaf(0.5f * x, x, d * ((1.0f - v) + log_v));
    const bool accepted = (root > 0.0f) & (-exponential(w2) < log_accept);
    const float log_g = log_positive(d) + log_v;
    const float log_u = -exponential(w3 | 1u);
    const float size = exp_bounded(fmaf(log_g, inverse_p, log_u));
    const float mass = exp_bounded(fmaf(p, log_u, log_g));
    return {flip_sign(size, w3), accepted ? mass : -1.0f};
  }
  CLEVER_HD Candidate element(const Stream& stream, uint32_t block, uint32_t i,
                              uint32_t attempt) const {
    for (;; ++attempt) {
      const PhiloxWords words = stream.words(block, domain(i, attempt));
      const Candidate drawn = candidate(words.w[0], words.w[1], words.w[2], words.w[3]);
      if (drawn.mass >= 0.0f) return drawn;
    }
  }
  CLEVER_HD static Block draw(const Stream& stream, uint32_t block, double p) {
    const GammaSampler sampler(p);
    Block out;
    for (uint32_t i = 0; i < 4; ++i) {
      const Candidate drawn = sampler.element(stream, block, i, 0);
      out.t[i] = drawn.t;
      out.mass[i] = drawn.mass;
    }
    return out;
  }
  CLEVER_HD static float mass(const Stream& stream, uint32_t block, double p) {
    const Block drawn = draw(stream, block, p);
    return (drawn.mass[0] + drawn.mass[1]) + (drawn.mass[2] + drawn.mass[3]);
  }
};

// No law of a ball, hence no mass: each element is 1 or -1 with a probability, `share`, and 0 else.
// The lowest bit of a word is the sign, the others say whether there is one.
struct SparseSigns {
  uint32_t below;  // of 2^31

  CLEVER_HD explicit SparseSigns(double share)
      : below(static_cast<uint32_t>(share * 2147483648.0)) {}
  CLEVER_HD float element(uint32_t word) const {
    return flip_sign((word >> 1) < below ? 1.0f : 0.0f, word);
  }
  CLEVER_HD Block draw(uint32_t w0, uint32_t w1, uint32_t w2, uint32_t w3) const {
    return {{element(w0), element(w1), element(w2), element(w3)}, {}};
  }
  CLEVER_HD static float mass(uint32_t, uint32_t, uint32_t, uint32_t) { return 0.0f; }
};

}  // namespace clever
