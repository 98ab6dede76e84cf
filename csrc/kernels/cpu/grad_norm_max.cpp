#include <algorithm>
#include <type_traits>

#include "kernels.h"
#include "norms.h"
#include "vectorised.h"

namespace clever::cpu {
namespace {

constexpr int kLanes = 64;    // partial results, so that their order is the same for every width
constexpr int kChunk = 4096;  // elements that are held while all the norms are taken of them

// Elements as they are computed with, for rows of other types or strides.
template <class T, class Real>
CLEVER_VECTORISED void convert(const T* row, int64_t stride, int64_t count, Real* out) {
  if (stride == 1) {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) out[i] = load(row + i);
  } else {
    for (int64_t i = 0; i < count; ++i) out[i] = load(row + i * stride);
  }
}

// Elements first..first+count of a row, cut where the innermost dimension ends.
template <class T, class Real>
void gather(const T* row, const RowLayout& layout, int64_t first, int64_t count, Real* out) {
  const int64_t inner = layout.size[layout.ndim - 1];
  while (count > 0) {
    const int64_t run = std::min(count, inner - first % inner);
    convert(row + layout.offset(first), layout.stride[layout.ndim - 1], run, out);
    first += run;
    count -= run;
    out += run;
  }
}

// Calls f(x, count) for chunk after chunk of a row.
template <class T, class F>
void for_chunks(const T* row, const RowLayout& layout, const F& f) {
  using Real = typename Arithmetic<T>::Real;
  Real held[kChunk];
  for (int64_t first = 0; first < layout.numel; first += kChunk) {
    const int64_t count = std::min<int64_t>(kChunk, layout.numel - first);
    if constexpr (std::is_same_v<T, Real>) {
      if (layout.contiguous()) {
        f(row + first, count);
        continue;
      }
    }
    gather(row, layout, first, count, held);
    f(static_cast<const Real*>(held), count);
  }
}

// One norm's partial results of a row, a lane for every kLanes-th element.
struct Lanes {
  double value[kLanes];
};

template <class>
using LanesOf = Lanes;

template <class Norm, class Real>
CLEVER_VECTORISED void add_lanes(const Real* lanes, Lanes& totals) {
#pragma omp simd
  for (int lane = 0; lane < kLanes; ++lane) {
    totals.value[lane] = combine<Norm>(totals.value[lane], static_cast<double>(lanes[lane]));
  }
}

// All lanes together, by halves; what the lanes held is lost.
template <class Norm>
CLEVER_VECTORISED double combine_lanes(Lanes& lanes) {
  for (int half = kLanes / 2; half > 0; half /= 2) {
#pragma omp simd
    for (int lane = 0; lane < half; ++lane) {
      lanes.value[lane] = combine<Norm>(lanes.value[lane], lanes.value[lane + half]);
    }
  }
  return lanes.value[0];
}

// Reduces a chunk by one or more norms, each into lanes of its own.
template <class... Norms, class Real>
CLEVER_VECTORISED void reduce_chunk(const Real* x, int64_t count, double q,
                                    LanesOf<Norms>&... totals) {
  Real lanes[sizeof...(Norms)][kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
#pragma omp simd
    for (int lane = 0; lane < kLanes; ++lane) {
      const Real size = magnitude(x[i + lane]);
      int n = 0;
      ((lanes[n][lane] = Norms::update(lanes[n][lane], size, q), ++n), ...);
    }
  }
  for (int lane = 0; i < count; ++i, ++lane) {
    int n = 0;
    ((lanes[n][lane] = Norms::update(lanes[n][lane], magnitude(x[i]), q), ++n), ...);
  }
  int n = 0;
  (add_lanes<Norms>(lanes[n++], totals), ...);
}

// The norm of a row whose plain sum under- or overflowed: of |x| / max |x|, in float64.
template <class Norm, class T>
double rescaled_norm(const T* row, const RowLayout& layout, double q) {
  Lanes maxima = {};
  for_chunks(row, layout,
             [&](const auto* x, int64_t count) { reduce_chunk<LInf>(x, count, q, maxima); });
  const double largest = combine_lanes<LInf>(maxima);
  if (!(largest > 0.0 && largest <= DBL_MAX)) return largest;
  double sum = 0.0;
  for_chunks(row, layout, [&](const auto* x, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      sum = Norm::scaled_update(sum, static_cast<double>(magnitude(x[i])) / largest, q);
    }
  });
  return largest * Norm::finish(sum, q);
}

// Where among the norms asked for one stands; -1: nowhere.
template <class Norm>
int place_of(const NormArguments& args) {
  const double* end = args.q + args.n_norms;
  const double* found = std::find(args.q, end, Norm::kP);
  return found == end ? -1 : static_cast<int>(found - args.q);
}

template <class T>
void row_norms(const T* row, const NormArguments& args, double* norms, int64_t norm_stride) {
  Lanes totals[kMaxNorms + 1];  // the last one for what is not asked for
  for (Lanes& lanes : totals) lanes = {};
  // The usual norms cost as much together as one: the chunk is read once, and their arithmetic is
  // done meanwhile.
  const int usual[] = {place_of<L1>(args), place_of<L2>(args), place_of<LInf>(args)};
  const bool together = std::count(usual, usual + 3, -1) < 2;
  const auto lanes_of = [&](int place) -> Lanes& { return totals[place < 0 ? kMaxNorms : place]; };
  for_chunks(row, args.row, [&](const auto* x, int64_t count) {
    if (together) {
      reduce_chunk<L1, L2, LInf>(x, count, 0.0, lanes_of(usual[0]), lanes_of(usual[1]),
                                 lanes_of(usual[2]));
    }
    for (int n = 0; n < args.n_norms; ++n) {
      if (together && std::find(usual, usual + 3, n) != usual + 3) continue;
      with_norm(args.q[n],
                [&](auto norm) { reduce_chunk<decltype(norm)>(x, count, args.q[n], totals[n]); });
    }
  });
  for (int n = 0; n < args.n_norms; ++n) {
    with_norm(args.q[n], [&](auto norm) {
      using Norm = decltype(norm);
      const double sum = combine_lanes<Norm>(totals[n]);
      norms[n * norm_stride] = needs_rescale<Norm, typename Arithmetic<T>::Real>(sum)
                                   ? rescaled_norm<Norm>(row, args.row, args.q[n])
                                   : Norm::finish(sum, args.q[n]);
    });
  }
}

}  // namespace

template <class T>
double norm_of(const T* x, int64_t numel, double q) {
  NormArguments args{};
  args.row = {numel, 1, {numel}, {1}};
  args.n_norms = 1;
  args.q[0] = q;
  double norm = 0.0;
  row_norms(x, args, &norm, 1);
  return norm;
}
#define CLEVER_INSTANTIATE(T) template double norm_of(const T*, int64_t, double);
CLEVER_FORALL_DTYPES(CLEVER_INSTANTIATE)
#undef CLEVER_INSTANTIATE

void grad_norms(const NormArguments& args, int64_t begin, int64_t end, double* norms) {
  with_dtype(args.dtype, [&](auto tag) {
    const auto* grads = static_cast<const decltype(tag)*>(args.grads);
    for (int64_t row = begin; row < end; ++row) {
      if (args.slot(row) < 0) continue;
      row_norms(grads + args.offset(row), args, norms + row, args.rows());
    }
  });
}

bool fold_norms(const NormArguments& args, const double* norms) {
  for (int64_t row = 0; row < args.rows(); ++row) {
    const int64_t slot = args.slot(row);
    if (slot >= args.n_slots) return false;
    if (slot < 0) continue;
    for (int n = 0; n < args.n_norms; ++n) {
      double& maximum = args.maxima[n * args.n_slots + slot];
      // A NaN that a sum gave may have a sign.
      maximum = larger_magnitude(maximum, magnitude(norms[n * args.rows() + row]));
    }
  }
  return true;
}

}  // namespace clever::cpu
