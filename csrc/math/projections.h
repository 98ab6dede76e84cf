// Euclidean projections onto p-balls around zero, one struct per law; a norm of the list names its
// own. Each maps the elements of a vector one by one, by a number that is found for the whole of
// it:
//
//   Projection<Real> projection(radius, norm, numel, p);   // of a vector whose p-norm is `norm`
//   while (projection.searching) {                          // only where kSearches
//     projection.step(the sum of projection.terms(|v_i|) over all i)
//   }
//   v_i = projection(v_i)
#pragma once

#include <cmath>
#include <cstdint>

#include "platform.h"
#include "transforms.h"

namespace clever {

template <class Real>
struct Terms {
  Real first, second;
};

// Whether a vector is left where it is. Points that were put on the sphere come back with the
// rounding of a sum of float32 numbers: to project them anew would only add to it. A norm that is
// NaN is no reason to move the other elements.
CLEVER_HD bool in_ball(double norm, double radius) { return !(norm > radius * (1.0 + 1e-6)); }

// p = 2.
template <class Real>
struct Rescaling {
  static constexpr bool kSearches = false;
  Real factor;

  CLEVER_HD Rescaling(double radius, double norm, int64_t, double)
      : factor(static_cast<Real>(radius / norm)) {}
  CLEVER_HD Real operator()(Real v) const { return v * factor; }
};

// p = inf.
template <class Real>
struct Clamping {
  static constexpr bool kSearches = false;
  Real radius;

  CLEVER_HD Clamping(double radius_, double, int64_t, double)
      : radius(static_cast<Real>(radius_)) {}
  CLEVER_HD Real operator()(Real v) const {
    return v < -radius ? -radius : (v > radius ? radius : v);
  }
};

// p = 1: sizes above a threshold are lessened by it, the others vanish. Newton's method from below
// (Michelot, 1986) never passes the threshold, and each step divides the excess times the number
// of sizes above it by four at least: kMaxSteps leave nothing, and a few steps are usual. The last
// sum makes up for the rounding of the threshold.
template <class Real>
struct SoftThreshold {
  static constexpr bool kSearches = true;
  static constexpr int kMaxSteps = 64;
  double radius, last_count;
  Real threshold, scale = 0;
  int steps = 0;
  bool searching = true;

  CLEVER_HD SoftThreshold(double radius_, double norm, int64_t numel, double)
      : radius(radius_),
        last_count(static_cast<double>(numel)),
        threshold(static_cast<Real>((norm - radius_) / static_cast<double>(numel))) {}
  // The excess over the threshold, and the number of sizes above it.
  CLEVER_HD Terms<Real> terms(Real size) const {
    const Real rest = size - threshold;
    return {rest > Real{0} ? rest : Real{0}, rest > Real{0} ? Real{1} : Real{0}};
  }
  CLEVER_HD void step(Terms<double> sums) {
    const auto next =
        static_cast<Real>(static_cast<double>(threshold) + (sums.first - radius) / sums.second);
    // Of the same sizes the threshold is the same, but for rounding.
    searching = next > threshold && sums.second < last_count && ++steps < kMaxSteps;
    last_count = sums.second;
    if (searching) {
      threshold = next;
    } else if (sums.first > 0.0) {
      scale = static_cast<Real>(radius / sums.first);
    }
  }
  CLEVER_HD Real operator()(Real v) const {
    const Real rest = (v < Real{0} ? -v : v) - threshold;
    const Real size = rest > Real{0} ? rest * scale : Real{0};
    return v < Real{0} ? -size : size;
  }
};

// Any other p > 1: the sizes a become s with s + m s^(p-1) = a (Karush, Kuhn and Tucker), in units
// of the radius, and the multiplier m is such that the p-norm of s is 1.
//
// All in logarithms and float32, for every type: results are right to 1e-5 for p from 1.1 to 100,
// which is enough for points to search on from. The last norm found scales the result, so that it
// lies on the sphere to 1e-6 wherever m stopped.
template <class Real>
struct KktProjection {
  static constexpr bool kSearches = true;
  static constexpr int kMaxSteps = 40;
  static constexpr int kRootSteps = 6;
  double p, radius, low, high, multiplier, scale = 0.0;
  float power, log_radius, log_multiplier;
  int steps = 0;
  bool searching;

  // By Hoelder's inequality m is between (norm - 1) min(1, c) and norm max(1, c), where
  // c = numel^(1-2/p).
  CLEVER_HD KktProjection(double radius_, double norm, int64_t numel, double p_)
      : p(p_), radius(radius_), power(static_cast<float>(p_ - 1.0)), searching(radius_ > 0.0) {
    const double units = searching ? norm / radius : 1.0;
    const double c = pow(static_cast<double>(numel), 1.0 - 2.0 / p);
    low = 0.9 * (units - 1.0) * (c < 1.0 ? c : 1.0);
    high = 1.1 * units * (c > 1.0 ? c : 1.0);
    log_radius = searching ? static_cast<float>(log(radius)) : 0.0f;
    try_multiplier(searching ? low : 1.0);
  }
  CLEVER_HD void try_multiplier(double m) {
    multiplier = m;
    log_multiplier = static_cast<float>(log(m));
  }

  struct Root {
    float log_size, share;  // of s, and the share of m s^(p-1) in a
  };
  // With w = log s it is log(e^w + m e^((p-1) w)) = log a, convex in w and all but a bent line:
  // Newton's method from above does not pass the root, and starts within log 2 of log a.
  CLEVER_HD Root root(float size) const {
    const float target = log_positive(size) - log_radius;
    const float first = (target - log_multiplier) / power;
    Root found = {first < target ? first : target, 0.0f};
    CLEVER_UNROLL
    for (int i = 0; i < kRootSteps; ++i) {
      const float w = found.log_size, other = fmaf(power, w, log_multiplier);
      const float lower = other < w ? other : w, upper = other < w ? w : other;
      const float ratio = exp_bounded(lower - upper);
      const float part = other < w ? ratio : 1.0f, whole = 1.0f + ratio;
      const float surplus = (upper - target) + log_positive(whole);
      found = {w - surplus * whole / fmaf(power - 1.0f, part, whole), part / whole};
    }
    return found;
  }
  // Sizes that log_positive does not take are nothing beside the radius.
  CLEVER_HD static bool counts(float size) { return size >= 1e-37f; }

  // The sum of s^p, and how fast it falls as log m grows, in units of p.
  CLEVER_HD Terms<Real> terms(Real size) const {
    const Root found = root(static_cast<float>(size));
    const float all = exp_bounded((power + 1.0f) * found.log_size);
    const float mass = counts(static_cast<float>(size)) ? all : 0.0f;
    const float slope = mass * found.share / fmaf(power - 1.0f, found.share, 1.0f);
    return {static_cast<Real>(mass), static_cast<Real>(slope)};
  }
  // Newton's method for norm^(1-p) as a function of m, a straight line for p = 2 and, whatever p
  // is, for large m; within what is known of m, or else by halving that.
  CLEVER_HD void step(Terms<double> sums) {
    const double norm = pow(sums.first, 1.0 / p);
    scale = radius / norm;
    (norm > 1.0 ? low : high) = multiplier;
    searching = !(fabs(norm - 1.0) < 1e-6) && high > low * (1.0 + 1e-7) && ++steps < kMaxSteps;
    if (!searching) return;
    const double next =
        multiplier * (1.0 + (pow(norm, p - 1.0) - 1.0) * sums.first / ((p - 1.0) * sums.second));
    try_multiplier(next > low && next < high ? next : sqrt(low * high));
  }
  CLEVER_HD Real operator()(Real v) const {
    const float size = static_cast<float>(v < Real{0} ? -v : v);
    const Real moved =
        static_cast<Real>(scale) * static_cast<Real>(exp_bounded(root(size).log_size));
    const Real kept = counts(size) ? moved : Real{0};
    return v < Real{0} ? -kept : kept;
  }
};

}  // namespace clever
