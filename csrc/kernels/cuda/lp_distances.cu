#include "kernels.h"
#include "norms.cuh"

namespace clever::cuda {
namespace {

template <class T>
__global__ void __launch_bounds__(kThreads) distance_kernel(DistanceArguments args) {
  const int64_t row = blockIdx.x;
  if (args.skips(row)) return;
  CLEVER_DEVICE_CHECK(args.is_valid(row));
  const T* x = args.x.at<T>(row);
  const T* center = args.centers.at<T>(args.index[row]);
  // The elements of a point of either layout lie without gaps, and a norm knows no order.
  const auto sizes = [&](const auto& add) {
    for (int64_t i = threadIdx.x; i < args.point.numel; i += kThreads) {
      add(magnitude(load(x + i) - load(center + i)));
    }
  };
  with_norm(args.p, [&](auto norm) {
    using Real = typename Arithmetic<T>::Real;
    const double distance = norm_of<decltype(norm), Real>(args.p, sizes);
    if (threadIdx.x == 0) args.distances[row] = distance;
  });
}

}  // namespace

void lp_distances(const DistanceArguments& args, void* stream) {
  with_dtype(args.dtype, [&](auto tag) {
    auto* kernel = distance_kernel<decltype(tag)>;
    CLEVER_LAUNCH(kernel, static_cast<unsigned>(args.x.n), kThreads, stream, args);
  });
}

}  // namespace clever::cuda
