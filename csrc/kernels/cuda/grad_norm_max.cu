#include "kernels.h"
#include "norms.cuh"

namespace clever::cuda {
namespace {

template <class T>
__global__ void __launch_bounds__(kThreads) norm_kernel(NormArguments args) {
  const int64_t row = blockIdx.x;
  const int64_t slot = args.slot(row);
  if (slot < 0) return;
  CLEVER_DEVICE_CHECK(slot < args.n_slots);
  row_norms<T>(args, row, slot);
}

}  // namespace

void grad_norm_max(const NormArguments& args, void* stream) {
  with_dtype(args.dtype, [&](auto tag) {
    auto* kernel = norm_kernel<decltype(tag)>;
    CLEVER_LAUNCH(kernel, static_cast<unsigned>(args.rows()), kThreads, stream, args);
  });
}

}  // namespace clever::cuda
