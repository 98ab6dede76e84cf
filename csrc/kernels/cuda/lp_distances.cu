#include "kernels.h"
#include "rows.cuh"

namespace clever::cuda {
namespace {

// x - center. The elements of a point of either layout lie without gaps, and a norm knows no
// order.
template <class T, bool kInFours_>
struct Difference {
  using Real = typename Arithmetic<T>::Real;
  static constexpr bool kInFours = kInFours_;
  const T *x, *center;

  __device__ void four(uint32_t element, Real* out) const {
    const Four<T> a = load_four(x + element), b = load_four(center + element);
#pragma unroll
    for (int i = 0; i < 4; ++i) out[i] = load(a.element + i) - load(b.element + i);
  }
  __device__ Difference from(uint32_t element) const { return {x + element, center + element}; }
  __device__ Real one(uint32_t element) const { return load(x + element) - load(center + element); }
};

template <class T, bool kInFours>
struct DifferenceRows {
  using Row = Difference<T, kInFours>;
  Parts parts;
  Norms norms;
  uint32_t numel;
  int64_t n;
  double* sums;
  DistanceArguments args;

  DifferenceRows(const DistanceArguments& args_, double* sums_)
      : parts(args_.point.numel),
        norms(1, &args_.p),
        numel(static_cast<uint32_t>(args_.point.numel)),
        n(args_.x.n),
        sums(sums_),
        args(args_) {}

  __device__ bool skips(uint32_t number) const { return args.skips(number); }
  __device__ Row row(uint32_t number) const {
    CLEVER_DEVICE_CHECK(args.is_valid(number));
    return {args.x.at<T>(number), args.centers.at<T>(args.index[number])};
  }
  __device__ void store(uint32_t number, int, double distance) const {
    args.distances[number] = distance;
  }
};

}  // namespace

int64_t scratch_words(const DistanceArguments& args) {
  const int64_t parts = parts_of(args.point.numel);
  return parts == 1 ? 0 : args.x.n * parts;
}

void lp_distances(const DistanceArguments& args, void* scratch, void* stream) {
  auto* sums = static_cast<double*>(scratch);
  with_dtype(args.dtype, [&](auto tag) {
    using T = decltype(tag);
    if (in_fours<T>(args.x.data, args.point.numel, args.x.stride) &&
        in_fours<T>(args.centers.data, args.point.numel, args.centers.stride)) {
      launch_norms(DifferenceRows<T, true>(args, sums), stream);
    } else {
      launch_norms(DifferenceRows<T, false>(args, sums), stream);
    }
  });
}

}  // namespace clever::cuda
