// Draws t_i of density proportional to exp(-|t|^p), one struct per law.
//
// A sample of d elements is made of ceil(d / 4) blocks of four draws. draw() gives one block's
// draws t and their masses |t|^p; mass() gives the sum of the four masses alone, by a shorter way
// where there is one. Barthe, Guedon, Mendelson, Naor (2005): with Z ~ Exp(1),
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

// p = 2: Box-Muller pairs of variance 1/2. The masses of a pair sum to its squared radius, which
// is exponential: no root, sine or cosine is needed for the sum.
struct NormalSampler {
  CLEVER_HD static Block draw(const Stream& stream, uint32_t block, double) {
    const PhiloxWords words = stream.words(block, kElementDomain);
    const float radius0 = sqrtf(exponential(words.w[0]));
    const float radius1 = sqrtf(exponential(words.w[2]));
    const SinCos angle0 = sincos_turns(words.w[1]);
    const SinCos angle1 = sincos_turns(words.w[3]);
    Block out;
    out.t[0] = radius0 * angle0.cos;
    out.t[1] = radius0 * angle0.sin;
    out.t[2] = radius1 * angle1.cos;
    out.t[3] = radius1 * angle1.sin;
    CLEVER_UNROLL
    for (int i = 0; i < 4; ++i) out.mass[i] = out.t[i] * out.t[i];
    return out;
  }
  CLEVER_HD static float mass(const Stream& stream, uint32_t block, double) {
    const PhiloxWords words = stream.words(block, kElementDomain);
    return exponential(words.w[0]) + exponential(words.w[2]);
  }
};

// p = 1: exponentials with random signs; the lowest bit of a word is the sign.
struct LaplaceSampler {
  CLEVER_HD static Block draw(const Stream& stream, uint32_t block, double) {
    const PhiloxWords words = stream.words(block, kElementDomain);
    Block out;
    CLEVER_UNROLL
    for (int i = 0; i < 4; ++i) {
      out.mass[i] = exponential(words.w[i] | 1u);
      out.t[i] = flip_sign(out.mass[i], words.w[i]);
    }
    return out;
  }
  CLEVER_HD static float mass(const Stream& stream, uint32_t block, double) {
    const PhiloxWords words = stream.words(block, kElementDomain);
    return (exponential(words.w[0] | 1u) + exponential(words.w[1] | 1u)) +
           (exponential(words.w[2] | 1u) + exponential(words.w[3] | 1u));
  }
};

// p = inf: uniforms in [-1, 1]; they need no normalisation, so they have no mass.
struct UniformSampler {
  CLEVER_HD static Block draw(const Stream& stream, uint32_t block, double) {
    const PhiloxWords words = stream.words(block, kElementDomain);
    Block out;
    CLEVER_UNROLL
    for (int i = 0; i < 4; ++i) {
      out.t[i] = uniform_symmetric(words.w[i]);
      out.mass[i] = 0.0f;
    }
    return out;
  }
  CLEVER_HD static float mass(const Stream&, uint32_t, double) { return 0.0f; }
};

// Any other p >= 1: |t| = U G^(1/p) with G ~ Gamma(1 + 1/p), which is Gamma(1/p) to the power 1/p
// by the usual boost of a small shape. G by Marsaglia and Tsang (2000); each attempt at an element
// has words of its own, so that a rejection shifts nothing.
struct GammaSampler {
  CLEVER_HD static Block draw(const Stream& stream, uint32_t block, double p) {
    const float inverse_p = static_cast<float>(1.0 / p);
    const float d = inverse_p + 2.0f / 3.0f;
    const float c = 1.0f / sqrtf(9.0f * d);
    Block out;
    for (uint32_t i = 0; i < 4; ++i) {
      for (uint32_t attempt = 0;; ++attempt) {
        const PhiloxWords words = stream.words(block, kRejectionDomain + 4 * attempt + i);
        const float x = sqrtf(2.0f * exponential(words.w[0])) * sincos_turns(words.w[1]).cos;
        const float root = fmaf(c, x, 1.0f);
        if (!(root > 0.0f)) continue;
        const float v = root * root * root;
        const float log_v = log_positive(v);
        const float log_accept = fmaf(0.5f * x, x, d * ((1.0f - v) + log_v));
        if (!(-exponential(words.w[2]) < log_accept)) continue;
        const float log_g = log_positive(d) + log_v;
        const float log_u = -exponential(words.w[3] | 1u);
        const float size = exp_bounded(fmaf(log_g, inverse_p, log_u));
        out.t[i] = flip_sign(size, words.w[3]);
        out.mass[i] = exp_bounded(fmaf(static_cast<float>(p), log_u, log_g));
        break;
      }
    }
    return out;
  }
  CLEVER_HD static float mass(const Stream& stream, uint32_t block, double p) {
    const Block drawn = draw(stream, block, p);
    return (drawn.mass[0] + drawn.mass[1]) + (drawn.mass[2] + drawn.mass[3]);
  }
};

}  // namespace clever
