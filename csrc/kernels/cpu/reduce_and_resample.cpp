#include "ball.h"
#include "kernels.h"

namespace clever::cpu {
namespace {

template <class T>
bool resample_row(const ResampleArguments& args, int64_t row, Scratch<float>& scratch) {
  const int64_t number = args.cursor[row];
  if (number >= args.n_samples()) return true;
  if (number < 0) return false;
  const int64_t* job = args.jobs + (number / args.batch_samples) * kJobColumns;
  if (job[kJobCenter] < 0 || job[kJobCenter] >= args.n_centers) return false;
  const Stream stream{stream_key(args.seed, static_cast<uint64_t>(job[kJobImageId]), args.p),
                      static_cast<uint32_t>(number % args.batch_samples),
                      static_cast<uint32_t>(job[kJobBatch])};
  write_sample(static_cast<T*>(args.x) + row * args.row_stride,
               static_cast<const T*>(args.centers) + job[kJobCenter] * args.center_stride,
               args.dtype, args.point, args.p, args.radii[number / args.batch_samples], stream,
               args.clip, scratch);
  return true;
}

}  // namespace

bool reduce_and_resample(const ResampleArguments& args, int64_t begin, int64_t end, double* norms) {
  if (args.norms.grads != nullptr) grad_norms(args.norms, begin, end, norms);
  Scratch<float> scratch;
  return with_dtype(args.dtype, [&](auto tag) {
    for (int64_t row = begin; row < end; ++row) {
      if (!resample_row<decltype(tag)>(args, row, scratch)) return false;
    }
    return true;
  });
}

void advance_rows(const ResampleArguments& args) {
  for (int64_t row = 0; row < args.batch; ++row) {
    const int64_t number = args.cursor[row];
    const int64_t job = number / args.batch_samples;
    args.slots[row] = number < args.n_samples() ? args.jobs[job * kJobColumns + kJobSlot] : -1;
    args.cursor[row] = number + args.batch;
  }
}

}  // namespace clever::cpu
