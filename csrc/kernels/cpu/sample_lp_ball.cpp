#include "ball.h"
#include "kernels.h"

namespace clever::cpu {

void sample_lp_ball(const SampleArguments& args, int64_t begin, int64_t end) {
  const PhiloxKey key = stream_key(args.seed, args.image_id, args.p);
  Scratch<float> scratch;
  with_dtype(args.dtype, [&](auto tag) {
    auto* out = static_cast<decltype(tag)*>(args.out);
    for (int64_t row = begin; row < end; ++row) {
      const Stream stream = make_stream(key, args.first + static_cast<uint64_t>(row));
      write_sample(out + row * args.row_stride, args.center, args.dtype, args.point, args.p,
                   args.radius, stream, args.clip, scratch);
    }
  });
}

}  // namespace clever::cpu
