#include <cstdint>

#include "block.cuh"
#include "kernels.h"

namespace clever::cuda {
namespace {

// One of the two ends of all rows, and which look made it smaller.
struct Minima {
  double* end;
  int64_t* look;

  // Ends are not negative, and for such numbers the order of float64 is that of their bits: an
  // integer minimum is exact, and the same in whatever order. The bits of a NaN with a sign are
  // below all of these, so that a NaN stays.
  __device__ static double with_sign_if_nan(double end) {
    return end == end ? end : __builtin_bit_cast(double, 0xfff8000000000000ull);
  }

  // Holds what the end was before, in the place where the look will be named.
  __device__ void begin(int64_t row) const {
    end[row] = with_sign_if_nan(end[row]);
    look[row] = __builtin_bit_cast(int64_t, end[row]);
  }
  __device__ void fold(int64_t row, double found) const {
    atomicMin(reinterpret_cast<long long*>(end + row),
              __builtin_bit_cast(long long, with_sign_if_nan(found)));
  }
  // Above all looks where one of them is to be named: -1 stays.
  __device__ void settle(int64_t row) const {
    look[row] = end[row] < __builtin_bit_cast(double, look[row]) ? INT64_MAX : -1;
  }
  __device__ void name(int64_t row, double found, int64_t number) const {
    if (found == end[row]) {
      atomicMin(reinterpret_cast<long long*>(look + row), static_cast<long long>(number));
    }
  }
};

// The one block has all the looks: its barriers part the four passes, and there is one launch.
__global__ void __launch_bounds__(kThreads, 1)
    ends_kernel(const __grid_constant__ EndsArguments args) {
  const Minima lower{args.lower, args.steepest}, upper{args.upper, args.nearest};
  for (int64_t row = threadIdx.x; row < args.rows; row += kThreads) {
    lower.begin(row);
    upper.begin(row);
  }
  __syncthreads();
  for (int64_t look = threadIdx.x; look < args.looks; look += kThreads) {
    CLEVER_DEVICE_CHECK(args.is_valid(look));
    lower.fold(args.row[look], args.lower_end(look));
    upper.fold(args.row[look], args.upper_end(look));
  }
  __syncthreads();  // all looks are folded
  for (int64_t row = threadIdx.x; row < args.rows; row += kThreads) {
    lower.settle(row);
    upper.settle(row);
  }
  __syncthreads();
  for (int64_t look = threadIdx.x; look < args.looks; look += kThreads) {
    lower.name(args.row[look], args.lower_end(look), look);
    upper.name(args.row[look], args.upper_end(look), look);
  }
}

}  // namespace

void bracket_ends(const EndsArguments& args, void* stream) {
  CLEVER_LAUNCH(ends_kernel, 1, kThreads, stream, args);
}

}  // namespace clever::cuda
