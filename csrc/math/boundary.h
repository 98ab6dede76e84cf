// From a gradient to the nearest point at which a margin, taken as linear, vanishes.
//
// Element i goes |d_i| = min(room_i, lambda |velocity_i|), against the sign of its velocity, and
// the margin falls by the sum of weight_i |d_i|, in units of max |g|. By the conditions of Karush,
// Kuhn and Tucker the way is the shortest in the p-norm where velocities are sign(g)
// |g|^(1/(p-1)); for p = 1, the limit, elements are filled one after another, in the order of their
// weights. FAB (Croce and Hein, ICML 2020, arXiv 1907.02044) projects so.
//
// In float32 a velocity is at least 1e-38 of the largest: for p below 1.2 a way may be longer than
// the shortest, but leads to the boundary all the same.
#pragma once

#include <type_traits>

#include "ball.h"
#include "directions.h"

namespace clever {

template <class Real>
struct Way {
  Real weight, velocity, room;
};

// Velocities for p > 1: Sharpened, by 1 / (p - 1). For p = 1: what is above the threshold is filled
// at once, what lies on it shares alike in the rest.
template <class Real>
struct Filled {
  double largest;
  Real threshold;

  template <class G>
  CLEVER_HD Real operator()(G g) const {
    const Real weight = Sharpened<Real>{largest, 1.0}(g), size = magnitude(weight);
    const Real on_it = size == threshold ? Real{1} : Real{0};
    const Real speed = size > threshold ? static_cast<Real>(INFINITY) : on_it;
    return weight < Real{0} ? -speed : speed;
  }
};

// What the elements of one lane weigh, and how far they may go.
template <class Real>
struct Box {
  double largest;
  Real low, high;

  CLEVER_HD Box(double largest_, Clip clip)
      : largest(largest_), low(static_cast<Real>(clip.low)), high(static_cast<Real>(clip.high)) {}
  template <class G>
  CLEVER_HD Real weight(G g) const {
    return magnitude(Sharpened<Real>{largest, 1.0}(g));
  }
  template <class G>
  CLEVER_HD Real room(G g, Real center) const {
    const Real room = g > G{0} ? center - low : high - center;
    return room > Real{0} ? room : Real{0};
  }
};

// By how much a margin has to fall from the center on, in units of max |g|.
struct Fall {
  double largest, size;

  CLEVER_HD Fall(double margin, double beyond, double slope, double largest_)
      : largest(largest_), size(beyond * (margin - slope) / largest_) {}
  // Without a gradient, or with numbers that are not finite, there is no way down.
  CLEVER_HD bool exists() const {
    return largest > 0.0 && largest <= DBL_MAX && size >= -DBL_MAX && size <= DBL_MAX;
  }
};

// The largest weight from which on all elements, filled, bring the fall; the smallest number there
// is where they do not. Among bits, whose order is that of such numbers: two are tried at once.
template <class Real>
struct ThresholdSearch {
  using Bits = std::conditional_t<sizeof(Real) == 4, uint32_t, uint64_t>;
  double fall;
  Bits low = 1, high = __builtin_bit_cast(Bits, Real{1}) + 1;
  bool searching;

  CLEVER_HD explicit ThresholdSearch(double fall_) : fall(fall_), searching(fall_ > 0.0) {}
  CLEVER_HD Bits tried(Bits thirds) const {
    const Bits step = (high - low) * thirds / 3;
    return low + (step > 1 ? step : 1);
  }
  // Above all weights where nothing has to fall.
  CLEVER_HD Real threshold() const {
    return fall > 0.0 ? __builtin_bit_cast(Real, low) : static_cast<Real>(INFINITY);
  }
  CLEVER_HD Terms<double> terms(Way<Real> way) const {
    const double filled = static_cast<double>(way.weight) * static_cast<double>(way.room);
    return {way.weight >= __builtin_bit_cast(Real, tried(1)) ? filled : 0.0,
            way.weight >= __builtin_bit_cast(Real, tried(2)) ? filled : 0.0};
  }
  CLEVER_HD void step(Terms<double> sums) {
    const Bits first = tried(1), second = tried(2);
    (sums.second >= fall ? low : high) = second;
    if (sums.second < fall) (sums.first >= fall ? low : high) = first;
    searching = high - low > 1;
  }
};

// Newton's method for lambda. The fall is concave in it and made of straight pieces, and from below
// the method never passes the root: each round fills elements, or is the last one. If h is left to
// fall and u is the slope, h'/h + u'/u <= 1 from round to round, for the fall is concave: h u is
// divided by four at least, and by 2^128 in kMaxRounds. A few rounds are usual, some twenty where
// rooms are of many orders.
struct LambdaSearch {
  static constexpr int kMaxRounds = 64;
  double fall, lambda;
  int rounds = 0;
  bool searching;

  CLEVER_HD explicit LambdaSearch(double fall_)
      : fall(fall_), lambda(fall_ > 0.0 ? DBL_MIN : 0.0), searching(fall_ > 0.0) {}

  template <class Real>
  CLEVER_HD double step_of(Way<Real> way) const {
    return lambda * static_cast<double>(magnitude(way.velocity));
  }
  // |d| of an element.
  template <class Real>
  CLEVER_HD double size(Way<Real> way) const {
    const double step = step_of(way), room = static_cast<double>(way.room);
    return step < room ? step : room;
  }
  // Where an element ends.
  template <class Real>
  CLEVER_HD double end(double center, Way<Real> way) const {
    return way.velocity < Real{0} ? center + size(way) : center - size(way);
  }
  // What the elements that are filled bring, and what the others do for each unit of lambda.
  template <class Real>
  CLEVER_HD Terms<double> terms(Way<Real> way) const {
    const double weight = static_cast<double>(way.weight), room = static_cast<double>(way.room);
    const double rate = weight * static_cast<double>(magnitude(way.velocity));
    const bool filled = step_of(way) >= room;
    return {filled ? weight * room : 0.0, filled ? 0.0 : rate};
  }
  // Where all are filled, lambda is as large as it can be.
  CLEVER_HD void step(Terms<double> sums) {
    const double root = (fall - sums.first) / sums.second;
    const double next = root < DBL_MAX ? root : DBL_MAX;
    searching = next > lambda && ++rounds < kMaxRounds;
    if (searching) lambda = next;
  }
};

// All of the way is its end exactly.
CLEVER_HD double part_of_way(double from, double to, double share) {
  return share == 1.0 ? to : from + share * (to - from);
}

}  // namespace clever
