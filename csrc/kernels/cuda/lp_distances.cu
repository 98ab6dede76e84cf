#include "differences.cuh"
#include "kernels.h"
#include "rows.cuh"

namespace clever::cuda {
namespace {

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
