#include <algorithm>

#include "../../math/boundary.h"
#include "ball.h"
#include "kernels.h"
#include "norms.h"
#include "vectorised.h"

// The elements of a point of either layout lie without gaps, and are taken in the order in which
// they lie.
namespace clever::cpu {
namespace {

constexpr int kLanes = 16;  // partial sums, so that their order is the same for every width

template <class T, class G>
CLEVER_HD double slope_term(const G* g, const T* x, const T* center, int64_t i) {
  return static_cast<double>(load(g + i)) *
         (static_cast<double>(load(x + i)) - static_cast<double>(load(center + i)));
}

// g . (x - center).
template <class T, class G>
CLEVER_VECTORISED double slope_of(const G* g, const T* x, const T* center, int64_t numel) {
  double lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= numel; i += kLanes) {
#pragma omp simd
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += slope_term(g, x, center, i + lane);
  }
  for (int lane = 0; i < numel; ++i, ++lane) lanes[lane] += slope_term(g, x, center, i);
  double total = 0.0;
  for (const double lane : lanes) total += lane;
  return total;
}

// Of all elements of a lane.
template <class Real>
struct Ways {
  Real *weight, *velocity, *room;

  CLEVER_HD Way<Real> at(int64_t i) const { return {weight[i], velocity[i], room[i]}; }
};

template <class T, class G, class Real>
CLEVER_VECTORISED void find_rooms(const G* g, const T* center, int64_t numel, Box<Real> box,
                                  Real* weight, Real* room) {
#pragma omp simd
  for (int64_t i = 0; i < numel; ++i) {
    weight[i] = box.weight(load(g + i));
    room[i] = box.room(load(g + i), load(center + i));
  }
}

template <class G, class Real, class Velocity>
CLEVER_VECTORISED void find_velocities(const G* g, int64_t numel, Velocity of, Real* velocity) {
#pragma omp simd
  for (int64_t i = 0; i < numel; ++i) velocity[i] = of(load(g + i));
}

template <class Search, class Real>
CLEVER_VECTORISED Terms<double> sum_of_terms(Ways<Real> ways, int64_t numel, Search search) {
  double first[kLanes] = {}, second[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= numel; i += kLanes) {
#pragma omp simd
    for (int lane = 0; lane < kLanes; ++lane) {
      const Terms<double> terms = search.terms(ways.at(i + lane));
      first[lane] += terms.first;
      second[lane] += terms.second;
    }
  }
  for (int lane = 0; i < numel; ++i, ++lane) {
    const Terms<double> terms = search.terms(ways.at(i));
    first[lane] += terms.first;
    second[lane] += terms.second;
  }
  Terms<double> total = {0.0, 0.0};
  for (int lane = 0; lane < kLanes; ++lane) {
    total.first += first[lane];
    total.second += second[lane];
  }
  return total;
}

template <class Search, class Real>
Search searched(Search search, Ways<Real> ways, int64_t numel) {
  while (search.searching) search.step(sum_of_terms(ways, numel, search));
  return search;
}

template <class T, class Real, class Writer>
CLEVER_VECTORISED void write(const T* x, const T* center, Ways<Real> ways, int64_t numel,
                             LambdaSearch found, double share, Writer writer, T* out) {
#pragma omp simd
  for (int64_t i = 0; i < numel; ++i) {
    const double from = static_cast<double>(load(x + i));
    const double to = found.end(static_cast<double>(load(center + i)), ways.at(i));
    store(out + i, writer.clipped(static_cast<Real>(part_of_way(from, to, share))));
  }
}

template <class T>
struct Held {
  using Real = typename Arithmetic<T>::Real;
  Scratch<Real> weight, velocity, room;

  Ways<Real> get(int64_t numel) {
    return {weight.get(numel), velocity.get(numel), room.get(numel)};
  }
};

template <class T, class G>
void step_lane(const StepArguments& args, int64_t lane, Held<T>& held) {
  using Real = typename Arithmetic<T>::Real;
  const int64_t numel = args.point.numel;
  const double* scale = args.scale(lane);
  const T *x = args.points.at<T>(lane), *center = args.centers.at<T>(args.index[lane]);
  const G* g = args.gradients.at<G>(lane);
  T* out = static_cast<T*>(args.out) + lane * args.row_stride;

  const double largest = norm_of(g, numel, INFINITY);
  const Fall fall(scale[kStepMargin], scale[kStepBeyond], slope_of(g, x, center, numel), largest);
  if (!fall.exists()) {
    std::copy_n(x, numel, out);
    return;
  }
  const Ways<Real> ways = held.get(numel);
  find_rooms(g, center, numel, Box<Real>(largest, args.clip), ways.weight, ways.room);
  if (args.p == 1.0) {
    std::fill_n(ways.velocity, numel, Real{0});
    const auto found = searched(ThresholdSearch<Real>(fall.size), ways, numel);
    find_velocities(g, numel, Filled<Real>{largest, found.threshold()}, ways.velocity);
  } else {
    find_velocities(g, numel, Sharpened<Real>{largest, 1.0 / (args.p - 1.0)}, ways.velocity);
  }
  write(x, center, ways, numel, searched(LambdaSearch(fall.size), ways, numel), scale[kStepShare],
        typename Arithmetic<T>::Writer(0.0, args.clip), out);
}

}  // namespace

void step_to_boundary(const StepArguments& args, int64_t begin, int64_t end) {
  if (args.point.numel == 0) return;
  with_dtype(args.dtype, [&](auto tag) {
    using T = decltype(tag);
    Held<T> held;
    with_dtype(args.gradient_dtype, [&](auto gradient_tag) {
      for (int64_t lane = begin; lane < end; ++lane) {
        if (!args.skips(lane)) step_lane<T, decltype(gradient_tag)>(args, lane, held);
      }
    });
  });
}

}  // namespace clever::cpu
