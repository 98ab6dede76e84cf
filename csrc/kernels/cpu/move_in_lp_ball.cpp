#include <algorithm>

#include "ball.h"
#include "kernels.h"
#include "norms.h"
#include "vectorised.h"

// Elements are taken in the order in which they lie, which is the same in all points of a call;
// only draws come in the order of a contiguous point.
namespace clever::cpu {
namespace {

constexpr int kLanes = 64;    // partial sums, so that their order is the same for every width
constexpr int kChunk = 4096;  // elements that are added up in the elements' own type

template <class G, class Real>
CLEVER_VECTORISED void sharpen(const G* direction, int64_t numel, Sharpened<Real> sharpened,
                               Real* out) {
#pragma omp simd
  for (int64_t i = 0; i < numel; ++i) out[i] = sharpened(load(direction + i));
}

template <class Real>
CLEVER_VECTORISED void scale_by(Real factor, int64_t numel, Real* x) {
#pragma omp simd
  for (int64_t i = 0; i < numel; ++i) x[i] *= factor;
}

// move = along * u. False: there is no u.
template <class Real>
bool step_along(const MoveArguments& args, int64_t number, double along, Real* move) {
  const int64_t direction = args.row(number)[kMoveDirection], numel = args.point.numel;
  if (along == 0.0 || direction < 0) return false;
  return with_dtype(args.direction_dtype, [&](auto tag) {
    const auto* g = args.directions.at<decltype(tag)>(direction);
    const Sharpened<Real> sharpened{norm_of(g, numel, INFINITY), args.sharpness};
    if (!sharpened.exists()) return false;
    sharpen(g, numel, sharpened, move);
    scale_by(static_cast<Real>(along / norm_of(move, numel, args.p)), numel, move);
    return true;
  });
}

template <class Real, class Writer>
CLEVER_VECTORISED void add_draws(const float* t, int64_t count, int64_t stride, Writer writer,
                                 Real* move) {
  if (stride == 1) {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) move[i] += writer.move(t[i]);
  } else {
    for (int64_t i = 0; i < count; ++i) move[i * stride] += writer.move(t[i]);
  }
}

// Draws what noise is made of to t, and returns its scale.
template <class Norm>
double draw_noise(const MoveArguments& args, int64_t number, double noise, float* t) {
  const Stream stream = args.stream(number);
  const int64_t numel = args.point.numel;
  const double share = args.scale(number)[kShare];
  if (share > 0.0) {
    draw_signs(stream, numel, share, t);
    return sign_scale<Norm>(noise, share, numel, args.p);
  }
  return ball_scale<Norm>(noise, draw_sample(stream, numel, args.p, t), stream, args.p);
}

// move += noise * t.
template <class Norm, class T, class Real>
void add_noise(const MoveArguments& args, int64_t number, double noise, Scratch<float>& scratch,
               Real* move) {
  if (noise == 0.0) return;
  const PointLayout& point = args.point;
  float* t = scratch.get(4 * BlockGrid(point.numel).n_blocks);
  const typename Arithmetic<T>::Writer writer(draw_noise<Norm>(args, number, noise, t), args.clip);
  for (int64_t first = 0; first < point.numel; first += point.plane) {
    add_draws(t + first, point.plane, point.plane_stride, writer, move + point.offset(first));
  }
}

template <class T, class Real>
CLEVER_VECTORISED void find_offsets(const T* base, const T* center, const Real* move, int64_t numel,
                                    Real* offsets) {
#pragma omp simd
  for (int64_t i = 0; i < numel; ++i) {
    offsets[i] = (load(base + i) - load(center + i)) + move[i];
  }
}

struct LaneSums {
  double first[kLanes] = {}, second[kLanes] = {};
};

template <class Projection, class Real>
CLEVER_VECTORISED void add_terms(const Real* offsets, int64_t count, Projection projection,
                                 LaneSums& sums) {
  Real first[kLanes] = {}, second[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
#pragma omp simd
    for (int lane = 0; lane < kLanes; ++lane) {
      const Terms<Real> terms = projection.terms(magnitude(offsets[i + lane]));
      first[lane] += terms.first;
      second[lane] += terms.second;
    }
  }
  for (int lane = 0; i < count; ++i, ++lane) {
    const Terms<Real> terms = projection.terms(magnitude(offsets[i]));
    first[lane] += terms.first;
    second[lane] += terms.second;
  }
#pragma omp simd
  for (int lane = 0; lane < kLanes; ++lane) {
    sums.first[lane] += static_cast<double>(first[lane]);
    sums.second[lane] += static_cast<double>(second[lane]);
  }
}

template <class Projection, class Real>
void search(const Real* offsets, int64_t numel, Projection& projection) {
  while (projection.searching) {
    LaneSums sums;
    for (int64_t i = 0; i < numel; i += kChunk) {
      add_terms(offsets + i, std::min<int64_t>(kChunk, numel - i), projection, sums);
    }
    Terms<double> total = {0.0, 0.0};
    for (int lane = 0; lane < kLanes; ++lane) {
      total.first += sums.first[lane];
      total.second += sums.second[lane];
    }
    projection.step(total);
  }
}

// out = clip(from + change(offset)), with `change` a projection or nothing.
template <class T, class Real, class Writer, class Change>
CLEVER_VECTORISED void write(const T* from, const Real* offsets, int64_t numel, Writer writer,
                             Change change, T* out) {
#pragma omp simd
  for (int64_t i = 0; i < numel; ++i) {
    store(out + i, writer.clipped(load(from + i) + change(offsets[i])));
  }
}

struct Unchanged {
  template <class Real>
  CLEVER_HD Real operator()(Real v) const {
    return v;
  }
};

template <class T>
struct Held {
  Scratch<float> draws;
  Scratch<typename Arithmetic<T>::Real> move, offsets;
};

template <class Norm, class T>
void move_row(const MoveArguments& args, int64_t number, Held<T>& held) {
  using Real = typename Arithmetic<T>::Real;
  const int64_t numel = args.point.numel;
  const int64_t* row = args.row(number);
  const double* scale = args.scale(number);
  T* out = static_cast<T*>(args.out) + number * args.row_stride;
  const T* base = args.bases.at<T>(row[kMoveBase]);
  const T* center = args.centers.at<T>(row[kMoveCenter]);
  Real *move = held.move.get(numel), *offsets = held.offsets.get(numel);

  if (!step_along(args, number, scale[kAlong], move)) std::fill_n(move, numel, Real{0});
  add_noise<Norm, T>(args, number, scale[kNoise], held.draws, move);
  find_offsets(base, center, move, numel, offsets);
  const double norm = norm_of(offsets, numel, args.p), radius = scale[kRadius];
  const typename Arithmetic<T>::Writer writer(0.0, args.clip);
  if (in_ball(norm, radius)) return write(base, move, numel, writer, Unchanged{}, out);
  typename Norm::template Projection<Real> projection(radius, norm, numel, args.p);
  if constexpr (decltype(projection)::kSearches) search(offsets, numel, projection);
  write(center, offsets, numel, writer, projection, out);
}

}  // namespace

void move_in_lp_ball(const MoveArguments& args, int64_t begin, int64_t end) {
  if (args.point.numel == 0) return;
  with_dtype(args.dtype, [&](auto tag) {
    with_norm(args.p, [&](auto norm) {
      Held<decltype(tag)> held;
      for (int64_t row = begin; row < end; ++row) {
        if (!args.skips(row)) move_row<decltype(norm)>(args, row, held);
      }
    });
  });
}

}  // namespace clever::cpu
