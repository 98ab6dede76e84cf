#include "../../math/boundary.h"
#include "kernels.h"
#include "norms.cuh"

// The elements of a point of either layout lie without gaps, and are taken in the order in which
// they lie.
namespace clever::cuda {
namespace {

// One lane, whose elements are found anew each time that they are looked at.
template <class T, class G>
struct Lane {
  using Real = typename Arithmetic<T>::Real;
  const T *x, *center;
  const G* g;
  T* out;
  uint32_t numel;

  __device__ Lane(const StepArguments& args, int64_t lane)
      : x(args.points.at<T>(lane)),
        center(args.centers.at<T>(args.index[lane])),
        g(args.gradients.at<G>(lane)),
        out(static_cast<T*>(args.out) + lane * args.row_stride),
        numel(static_cast<uint32_t>(args.point.numel)) {}

  // f(i) for each of this thread's elements.
  template <class F>
  __device__ void for_each(const F& f) const {
    for (uint32_t i = threadIdx.x; i < numel; i += kThreads) f(i);
  }
  __device__ double largest() const {
    return norm_of<LInf, double>(INFINITY, [&](const auto& add) {
      for_each([&](uint32_t i) { add(static_cast<double>(magnitude(load(g + i)))); });
    });
  }
  // g . (x - center).
  __device__ double slope() const {
    double sum = 0.0;
    for_each([&](uint32_t i) {
      sum += static_cast<double>(load(g + i)) *
             (static_cast<double>(load(x + i)) - static_cast<double>(load(center + i)));
    });
    return block_reduce<L1>(sum);
  }
  template <class Velocity>
  __device__ Way<Real> way(uint32_t i, const Box<Real>& box, const Velocity& velocity) const {
    const auto size = load(g + i);
    return {box.weight(size), velocity(size), box.room(size, load(center + i))};
  }
  template <class Search, class Velocity>
  __device__ Search searched(Search search, const Box<Real>& box, const Velocity& velocity) const {
    while (search.searching) {
      Terms<double> sums = {0.0, 0.0};
      for_each([&](uint32_t i) {
        const Terms<double> terms = search.terms(way(i, box, velocity));
        sums.first += terms.first;
        sums.second += terms.second;
      });
      search.step({block_reduce<L1>(sums.first), block_reduce<L1>(sums.second)});
    }
    return search;
  }
  template <class Velocity>
  __device__ void step(const StepArguments& args, double fall, double share, const Box<Real>& box,
                       const Velocity& velocity) const {
    const LambdaSearch found = searched(LambdaSearch(fall), box, velocity);
    const typename Arithmetic<T>::Writer writer(0.0, args.clip);
    for_each([&](uint32_t i) {
      const double from = static_cast<double>(load(x + i));
      const double to = found.end(static_cast<double>(load(center + i)), way(i, box, velocity));
      store(out + i, writer.clipped(static_cast<Real>(part_of_way(from, to, share))));
    });
  }
};

template <class T, class G>
__device__ void step_lane(const StepArguments& args, int64_t number) {
  using Real = typename Arithmetic<T>::Real;
  const Lane<T, G> lane(args, number);
  const double* scale = args.scale(number);
  const double largest = lane.largest();
  const Fall fall(scale[kStepMargin], scale[kStepBeyond], lane.slope(), largest);
  if (!fall.exists()) {
    lane.for_each([&](uint32_t i) { lane.out[i] = lane.x[i]; });
    return;
  }
  const Box<Real> box(largest, args.clip);
  if (args.p == 1.0) {
    Filled<Real> filled = {largest, static_cast<Real>(INFINITY)};
    filled.threshold = lane.searched(ThresholdSearch<Real>(fall.size), box, filled).threshold();
    lane.step(args, fall.size, scale[kStepShare], box, filled);
  } else {
    const Sharpened<Real> sharpened = {largest, 1.0 / (args.p - 1.0)};
    lane.step(args, fall.size, scale[kStepShare], box, sharpened);
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads, 1)
    step_kernel(const __grid_constant__ StepArguments args) {
  const int64_t lane = blockIdx.x;
  if (args.skips(lane)) return;
  CLEVER_DEVICE_CHECK(args.is_valid(lane));
  with_dtype(args.gradient_dtype, [&](auto tag) { step_lane<T, decltype(tag)>(args, lane); });
}

}  // namespace

void step_to_boundary(const StepArguments& args, void* stream) {
  with_dtype(args.dtype, [&](auto tag) {
    auto* kernel = step_kernel<decltype(tag)>;
    CLEVER_LAUNCH(kernel, static_cast<unsigned>(args.batch), kThreads, stream, args);
  });
}

}  // namespace clever::cuda
