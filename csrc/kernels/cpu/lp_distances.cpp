#include "ball.h"
#include "kernels.h"
#include "norms.h"
#include "vectorised.h"

namespace clever::cpu {
namespace {

template <class T, class Real>
CLEVER_VECTORISED void subtract(const T* x, const T* center, int64_t numel, Real* difference) {
#pragma omp simd
  for (int64_t i = 0; i < numel; ++i) difference[i] = load(x + i) - load(center + i);
}

}  // namespace

// The elements of a point of either layout lie without gaps, and a norm knows no order.
template <class T>
double distance(const T* x, const T* center, int64_t numel, double p,
                typename Arithmetic<T>::Real* difference) {
  subtract(x, center, numel, difference);
  return norm_of(difference, numel, p);
}

#define CLEVER_INSTANTIATE(T) \
  template double distance(const T*, const T*, int64_t, double, Arithmetic<T>::Real*);
CLEVER_FORALL_DTYPES(CLEVER_INSTANTIATE)
#undef CLEVER_INSTANTIATE

void lp_distances(const DistanceArguments& args, int64_t begin, int64_t end) {
  with_dtype(args.dtype, [&](auto tag) {
    using T = decltype(tag);
    Scratch<typename Arithmetic<T>::Real> scratch;
    auto* difference = scratch.get(args.point.numel);
    for (int64_t row = begin; row < end; ++row) {
      if (args.skips(row)) continue;
      args.distances[row] = distance(args.x.at<T>(row), args.centers.at<T>(args.index[row]),
                                     args.point.numel, args.p, difference);
    }
  });
}

}  // namespace clever::cpu
