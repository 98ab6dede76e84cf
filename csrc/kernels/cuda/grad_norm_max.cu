#include "gradients.cuh"
#include "kernels.h"
#include "rows.cuh"

namespace clever::cuda {
namespace {

template <class Row_>
struct GradientRows {
  using Row = Row_;
  using T = typename Row::T;
  Parts parts;
  Norms norms;
  uint32_t numel;
  int64_t n;
  double* sums;
  NormArguments args;
  Divider batch;
  bool has_slots;
  // Where rows lie evenly, across groups too, the place of one takes a product of 32 bits.
  bool evenly;
  uint32_t stride;

  GradientRows(const NormArguments& args_, double* sums_)
      : parts(args_.row.numel),
        norms(args_.n_norms, args_.q),
        numel(static_cast<uint32_t>(args_.row.numel)),
        n(args_.rows()),
        sums(sums_),
        args(args_),
        batch(static_cast<uint32_t>(args_.batch)),
        has_slots(args_.slots != nullptr),
        evenly((args_.groups == 1 || args_.group_stride == args_.batch * args_.batch_stride) &&
               args_.batch_stride >= 0 && args_.batch_stride <= UINT32_MAX),
        stride(static_cast<uint32_t>(args_.batch_stride)) {}

  __device__ int64_t slot(uint32_t number) const {
    return has_slots ? args.slots[number] : batch.quotient(number);
  }
  __device__ bool skips(uint32_t number) const { return has_slots && args.slots[number] < 0; }
  __device__ Row row(uint32_t number) const {
    int64_t offset = static_cast<int64_t>(uint64_t{number} * stride);
    if (!evenly) {
      const uint32_t group = batch.quotient(number), within = number - group * batch.divisor;
      offset = group * args.group_stride + within * args.batch_stride;
    }
    return {static_cast<const T*>(args.grads) + offset, args.row};
  }
  __device__ void store(uint32_t number, int norm, double value) const {
    CLEVER_DEVICE_CHECK(slot(number) < args.n_slots);
    fold_max(args.maxima + norm * args.n_slots + slot(number), value);
  }
};

}  // namespace

int64_t scratch_words(const NormArguments& args) {
  const int64_t parts = parts_of(args.row.numel);
  return parts == 1 ? 0 : args.n_norms * args.rows() * parts;
}

void grad_norm_max(const NormArguments& args, void* scratch, void* stream) {
  auto* sums = static_cast<double*>(scratch);
  with_dtype(args.dtype, [&](auto tag) {
    using T = decltype(tag);
    if (in_fours<T>(args)) {
      launch_norms(GradientRows<PackedRow<T>>(args, sums), stream);
    } else {
      launch_norms(GradientRows<StridedRow<T>>(args, sums), stream);
    }
  });
}

}  // namespace clever::cuda
