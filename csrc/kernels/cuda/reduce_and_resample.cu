#include "ball.cuh"
#include "kernels.h"
#include "norms.cuh"

namespace clever::cuda {
namespace {

template <class Norm, class T>
__global__ void __launch_bounds__(kThreads) fused_kernel(ResampleArguments args) {
  const int64_t row = blockIdx.x;
  const int64_t held = args.slots[row];
  const int64_t number = args.cursor[row];
  __syncthreads();  // all have read what thread 0 is about to change

  if (held >= 0 && args.norms.grads != nullptr) {
    CLEVER_DEVICE_CHECK(held < args.norms.n_slots);
    row_norms<T>(args.norms, row, held);
  }
  CLEVER_DEVICE_CHECK(number >= 0);
  const bool has_next = number < args.n_samples();
  const int64_t* job = args.jobs + (number / args.batch_samples) * kJobColumns;
  if (threadIdx.x == 0) {
    args.cursor[row] = number + args.batch;
    args.slots[row] = has_next ? job[kJobSlot] : -1;
  }
  if (!has_next) return;

  CLEVER_DEVICE_CHECK(job[kJobCenter] >= 0 && job[kJobCenter] < args.n_centers);
  const Stream stream{stream_key(args.seed, static_cast<uint64_t>(job[kJobImageId]), args.p),
                      static_cast<uint32_t>(number % args.batch_samples),
                      static_cast<uint32_t>(job[kJobBatch])};
  write_sample<Norm>(static_cast<T*>(args.x) + row * args.row_stride,
                     static_cast<const T*>(args.centers) + job[kJobCenter] * args.center_stride,
                     args.point, args.p, args.radii[number / args.batch_samples], stream,
                     args.clip);
}

}  // namespace

void reduce_and_resample(const ResampleArguments& args, void* stream) {
  // Gradients of another type than the points' take a launch of their own.
  if (args.norms.grads != nullptr && args.norms.dtype != args.dtype) {
    grad_norm_max(args.norms, stream);
    ResampleArguments rest = args;
    rest.norms.grads = nullptr;
    return reduce_and_resample(rest, stream);
  }
  with_dtype(args.dtype, [&](auto tag) {
    with_norm(args.p, [&](auto norm) {
      auto* kernel = fused_kernel<decltype(norm), decltype(tag)>;
      CLEVER_LAUNCH(kernel, static_cast<unsigned>(args.batch), kThreads, stream, args);
    });
  });
}

}  // namespace clever::cuda
