#include "differences.cuh"
#include "kernels.h"
#include "norms.cuh"

namespace clever::cuda {
namespace {

// Whether a margin of the row is not positive. Each warp looks at all of them, so that the block
// agrees without a barrier.
__device__ bool any_flip(const FlipArguments& args, int32_t row) {
  int found = 0;
  for (int32_t margin = lane(); margin < args.n_margins; margin += kWarp) {
    found |= args.flipped(row, margin);
  }
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    found |= __shfl_xor_sync(0xffffffffu, found, offset);
  }
  return found != 0;
}

// Distances are not negative, and for such numbers the order of float64 is that of their bits: an
// integer minimum is exact, and the same in whatever order. A NaN with a sign is below all of them,
// so that a NaN stays; one without is put there by whoever took it for a larger number.
__device__ void fold_nearest(double* nearest, double distance) {
  auto* bits = reinterpret_cast<long long*>(nearest);
  const double nan = __builtin_bit_cast(double, 0xfff8000000000000ull);
  const double folded = distance == distance ? distance : nan;
  const long long before = atomicMin(bits, __builtin_bit_cast(long long, folded));
  const auto was = __builtin_bit_cast(double, before);
  if (was != was) atomicMin(bits, __builtin_bit_cast(long long, nan));
}

template <class T>
__global__ void __launch_bounds__(kThreads, 1)
    flip_kernel(const __grid_constant__ FlipArguments args) {
  const auto row = static_cast<int32_t>(blockIdx.x);
  if (args.skips(row)) return;
  CLEVER_DEVICE_CHECK(args.is_valid(row));
  if (!any_flip(args, row)) return;
  const Whole<Difference<T, false>> whole{
      {args.x.at<T>(row), args.centers.at<T>(args.row_image[row])},
      static_cast<uint32_t>(args.point.numel)};
  const double distance = with_norm(args.p, [&](auto norm) {
    return norm_of<decltype(norm), typename Arithmetic<T>::Real>(args.p, whole);
  });
  for (int32_t margin = threadIdx.x; margin < args.n_margins; margin += kThreads) {
    if (args.flipped(row, margin)) fold_nearest(args.nearest(row, margin), distance);
  }
}

}  // namespace

void note_flips(const FlipArguments& args, void* stream) {
  with_dtype(args.dtype, [&](auto tag) {
    auto* kernel = flip_kernel<decltype(tag)>;
    CLEVER_LAUNCH(kernel, static_cast<unsigned>(args.rows), kThreads, stream, args);
  });
}

}  // namespace clever::cuda
