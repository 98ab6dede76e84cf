#include "kernels.h"
#include "platform.cuh"

namespace clever::cuda {
namespace {

constexpr uint32_t kBlock = 256;

// A thread for each target of each row, and before them one for the row's image and class.
__global__ void __launch_bounds__(kBlock)
    assign_kernel(const __grid_constant__ AssignArguments args) {
  const uint32_t columns = static_cast<uint32_t>(args.n_targets) + 1;
  const uint32_t number = blockIdx.x * kBlock + threadIdx.x;
  const auto row = static_cast<int32_t>(number / columns);
  if (row >= args.rows) return;
  CLEVER_DEVICE_CHECK(args.is_valid(row));
  const int64_t image = args.image(row);
  const uint32_t column = number % columns;
  if (column == 0) {
    args.row_image[row] = image;
    args.row_classes[row] = args.classes[image];
  } else {
    args.row_targets[number - row - 1] = args.targets[image * args.n_targets + column - 1];
  }
}

}  // namespace

void assign_targets(const AssignArguments& args, void* stream) {
  const auto rows = static_cast<uint32_t>(args.rows);
  const uint32_t threads = rows * (static_cast<uint32_t>(args.n_targets) + 1);
  CLEVER_LAUNCH(assign_kernel, (threads + kBlock - 1) / kBlock, kBlock, stream, args);
}

}  // namespace clever::cuda
