// The norms, one struct each, and the one list that the switches, both backends' instantiations
// and the table that Python reads are made from. docs/development/adding-a-norm.md walks through
// it.
//
// A norm of a vector is reduced as finish(combine(... update(update(0, |x_0|), |x_1|) ...)), in
// float32 for float32 and smaller inputs and in float64 for float64, with float32 partial results
// combined in float64. Where that under- or overflows, the caller reduces |x_i| / max |x| instead
// (scaled_update, in float64): see needs_rescale.
#pragma once

#include <cfloat>
#include <cmath>
#include <type_traits>

#include "projections.h"
#include "samplers.h"

namespace clever {

// |x|, without the sign that a NaN may have.
CLEVER_HD float magnitude(float x) {
#if defined(__CUDA_ARCH__)
  return fabsf(x);  // a square needs none, and a sum has it at no cost
#else
  return __builtin_bit_cast(float, __builtin_bit_cast(uint32_t, x) & 0x7fffffffu);
#endif
}
CLEVER_HD double magnitude(double x) {
  return __builtin_bit_cast(double, __builtin_bit_cast(uint64_t, x) & 0x7fffffffffffffffull);
}

// The larger of two magnitudes; a NaN wins. Their order is that of their bits, with NaN above
// infinity, and one integer comparison is a third of what those of floating point cost.
CLEVER_HD float larger_magnitude(float a, float b) {
  const int32_t bits_a = __builtin_bit_cast(int32_t, a), bits_b = __builtin_bit_cast(int32_t, b);
  return __builtin_bit_cast(float, bits_a < bits_b ? bits_b : bits_a);
}
CLEVER_HD double larger_magnitude(double a, double b) {
  const int64_t bits_a = __builtin_bit_cast(int64_t, a), bits_b = __builtin_bit_cast(int64_t, b);
  return __builtin_bit_cast(double, bits_a < bits_b ? bits_b : bits_a);
}

struct L1 {
  using Sampler = LaplaceSampler;
  template <class Real>
  using Projection = SoftThreshold<Real>;
  static constexpr const char* kName = "l1";
  static constexpr double kP = 1.0;
  static constexpr bool kIsSum = true;
  template <class A>
  CLEVER_HD static A update(A acc, A size, double) {
    return acc + size;
  }
  CLEVER_HD static double scaled_update(double acc, double size, double) { return acc + size; }
  CLEVER_HD static double finish(double acc, double) { return acc; }
};

struct L2 {
  using Sampler = NormalSampler;
  template <class Real>
  using Projection = Rescaling<Real>;
  static constexpr const char* kName = "l2";
  static constexpr double kP = 2.0;
  static constexpr bool kIsSum = true;
  CLEVER_HD static float update(float acc, float size, double) { return fmaf(size, size, acc); }
  CLEVER_HD static double update(double acc, double size, double) { return fma(size, size, acc); }
  CLEVER_HD static double scaled_update(double acc, double size, double) {
    return fma(size, size, acc);
  }
  CLEVER_HD static double finish(double acc, double) { return sqrt(acc); }
};

struct LInf {
  using Sampler = UniformSampler;
  template <class Real>
  using Projection = Clamping<Real>;
  static constexpr const char* kName = "linf";
  static constexpr double kP = INFINITY;
  static constexpr bool kIsSum = false;
  template <class A>
  CLEVER_HD static A update(A acc, A size, double) {
    return larger_magnitude(acc, size);
  }
  CLEVER_HD static double scaled_update(double acc, double size, double) {
    return larger_magnitude(acc, size);
  }
  CLEVER_HD static double finish(double acc, double) { return acc; }
};

// Every other p: it stands last in the list and matches all that is left.
struct Lp {
  using Sampler = GammaSampler;
  template <class Real>
  using Projection = KktProjection<Real>;
  static constexpr const char* kName = "lp";
  static constexpr double kP = NAN;
  static constexpr bool kIsSum = true;
  CLEVER_HD static float update(float acc, float size, double p) {
    // size - size is NaN for an infinity or a NaN, which the power alone would lose.
    return acc + (exp_bounded(static_cast<float>(p) * log_positive(size)) + (size - size));
  }
  CLEVER_HD static double update(double acc, double size, double p) { return acc + pow(size, p); }
  CLEVER_HD static double scaled_update(double acc, double size, double p) {
    return acc + pow(size, p);
  }
  CLEVER_HD static double finish(double acc, double p) { return pow(acc, 1.0 / p); }
};

#define CLEVER_FORALL_NORMS(X) X(L1) X(L2) X(LInf) X(Lp)

template <class Norm, class A>
CLEVER_HD A combine(A a, std::type_identity_t<A> b) {
  if constexpr (Norm::kIsSum) {
    return a + b;
  } else {
    return larger_magnitude(a, b);
  }
}

// Whether a reduced sum may have lost what it should hold: it overflowed, met an infinity or a
// NaN, or is so small that terms may have vanished below the smallest normal number.
template <class Norm, class A>
CLEVER_HD bool needs_rescale(double acc) {
  constexpr double kTiny = sizeof(A) == 4 ? 1e-24 : 1e-290;
  return Norm::kIsSum && !(acc > kTiny && acc <= DBL_MAX);
}

// The place in the list of the norm that p names.
CLEVER_HD int norm_number(double p) {
  int number = 0;
#define CLEVER_MATCH(Norm)                                  \
  if (p == Norm::kP || Norm::kP != Norm::kP) return number; \
  ++number;
  CLEVER_FORALL_NORMS(CLEVER_MATCH)
#undef CLEVER_MATCH
  return number;
}

// Calls f(Norm{}) for the norm of a place in the list; f may be a function of the host or of the
// device.
#if defined(__CUDACC__)
#pragma nv_exec_check_disable
#endif
template <class F>
CLEVER_HD auto with_norm_number(int number, const F& f) {
  int place = 0;
#define CLEVER_MATCH(Norm) \
  if (number == place++) return f(Norm{});
  CLEVER_FORALL_NORMS(CLEVER_MATCH)
#undef CLEVER_MATCH
  return f(Lp{});
}

// The same for the norm that p names.
#if defined(__CUDACC__)
#pragma nv_exec_check_disable
#endif
template <class F>
CLEVER_HD auto with_norm(double p, const F& f) {
  return with_norm_number(norm_number(p), f);
}

// How a sample is scaled: radius / (mass + Z)^(1/p), or radius where draws need no normalisation.
template <class Norm>
CLEVER_HD double ball_scale(double radius, double mass, const Stream& stream, double p) {
  if (!Norm::kIsSum) return radius;
  return radius / Norm::finish(mass + static_cast<double>(exponential_of(stream)), p);
}

// How signs of a share of the elements are scaled, for their p-norm to be `size` on average.
template <class Norm>
CLEVER_HD double sign_scale(double size, double share, int64_t numel, double p) {
  if (!Norm::kIsSum) return size;
  return size / Norm::finish(share * static_cast<double>(numel), p);
}

}  // namespace clever
