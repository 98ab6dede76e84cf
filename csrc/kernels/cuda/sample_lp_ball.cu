#include "ball.cuh"
#include "kernels.h"

namespace clever::cuda {
namespace {

template <class Norm, class T>
__global__ void __launch_bounds__(kThreads) sample_kernel(SampleArguments args) {
  const int64_t row = blockIdx.x;
  const Stream stream = make_stream(stream_key(args.seed, args.image_id, args.p),
                                    args.first + static_cast<uint64_t>(row));
  write_sample<Norm>(static_cast<T*>(args.out) + row * args.row_stride,
                     static_cast<const T*>(args.center), args.point, args.p, args.radius, stream,
                     args.clip);
}

}  // namespace

void sample_lp_ball(const SampleArguments& args, void* stream) {
  with_dtype(args.dtype, [&](auto tag) {
    with_norm(args.p, [&](auto norm) {
      auto* kernel = sample_kernel<decltype(norm), decltype(tag)>;
      CLEVER_LAUNCH(kernel, static_cast<unsigned>(args.n), kThreads, stream, args);
    });
  });
}

}  // namespace clever::cuda
