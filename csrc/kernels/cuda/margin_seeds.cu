#include "kernels.h"
#include "platform.cuh"

namespace clever::cuda {
namespace {

constexpr uint32_t kBlock = 256, kLanes = 32;  // a warp for each row of seeds and of margins

template <class T>
__device__ void write_margins(const SeedArguments& args, int32_t row, int32_t lane) {
  for (int32_t margin = lane; margin < args.n_margins; margin += kLanes) {
    CLEVER_DEVICE_CHECK(args.is_valid(row, margin));
    args.write_margin<T>(row, margin);
  }
}

template <class T>
__device__ void write_seed(const SeedArguments& args, int32_t margin, int32_t row, int32_t lane) {
  using Real = typename Arithmetic<T>::Real;
  CLEVER_DEVICE_CHECK(args.is_valid(row, margin));
  const int32_t of_class = args.of_class(row), target = args.of_target(row, margin);
  T* seed = args.seed<T>(margin, row);
  for (int32_t logit = lane; logit < args.n_logits; logit += kLanes) {
    const int value = int{logit == of_class} - int{logit == target};
    store(seed + logit, static_cast<Real>(value));
  }
}

template <class T>
__global__ void __launch_bounds__(kBlock) seed_kernel(const __grid_constant__ SeedArguments args) {
  const uint32_t warp = blockIdx.x * (kBlock / kLanes) + threadIdx.x / kLanes;
  const auto rows = static_cast<uint32_t>(args.rows);
  const auto number = static_cast<int32_t>(warp / rows);
  const auto row = static_cast<int32_t>(warp % rows);
  const auto lane = static_cast<int32_t>(threadIdx.x % kLanes);
  if (number < args.n_seeds) {
    write_seed<T>(args, number, row, lane);
  } else if (number == args.n_seeds) {
    write_margins<T>(args, row, lane);
  }
}

}  // namespace

void margin_seeds(const SeedArguments& args, void* stream) {
  const uint32_t warps = static_cast<uint32_t>(args.rows) * (args.n_seeds + 1u);
  constexpr uint32_t kWarps = kBlock / kLanes;
  with_dtype(args.dtype, [&](auto tag) {
    auto* kernel = seed_kernel<decltype(tag)>;
    CLEVER_LAUNCH(kernel, (warps + kWarps - 1) / kWarps, kBlock, stream, args);
  });
}

}  // namespace clever::cuda
