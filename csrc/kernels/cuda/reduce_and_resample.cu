#include "gradients.cuh"
#include "kernels.h"
#include "resample.cuh"

namespace clever::cuda {
namespace {

// Looks at what each row holds and at what it gets next: sums of one part's gradients, and masses.
template <class Norm, class T>
__global__ void __launch_bounds__(kPartThreads, kPartBlocks<typename Arithmetic<T>::Real>)
    measure_kernel(const __grid_constant__ Resample resample) {
  using Real = typename Arithmetic<T>::Real;
  const Place place(resample.parts);
  const int64_t number = place.first_of(resample.parts) + place.part;
  const bool holds = resample.held_slot(place.row) >= 0;
  Held<Real> held;
  if (holds) {
    held = hold(PackedRow<T>(resample.gradient<T>(place.row)), resample.parts, place.part,
                resample.point.numel);
  }
  if (Norm::kIsSum || place.part == 0) {
    const Plan plan = shared_plan(resample, place.row, place.part == 0);
    if (Norm::kIsSum && plan.center >= 0) {
      const int64_t mass = sum_of_masses(
          mass_of_four<Norm>(plan.stream, resample.point, first_block(place.part), resample.p));
      if (threadIdx.x == 0) resample.masses[number] = mass;
    }
  }
  if (holds) {
    part_sums<Real>(resample.norms, held,
                    [&](uint32_t, double sum) { resample.sums[number] = sum; });
  }
}

// Folds the norms of what a row holds and moves its cursor on: by the block of the first part.
template <class T>
__device__ void settle(const Resample& resample, uint32_t row, const Plan& plan, double sum) {
  if (plan.slot >= 0) {
    const Whole<PackedRow<T>> whole{PackedRow<T>(resample.gradient<T>(row)), resample.point.numel};
    finish_norms(resample.norms, sum, whole,
                 [&](int, double norm) { fold_max(resample.maxima + plan.slot, norm); });
  }
  if (threadIdx.x == 0) resample.advance(row, plan);
}

// Writes one part of each row's next sample.
template <class Norm, class T>
__global__ void __launch_bounds__(kPartThreads, kPartBlocks<typename Arithmetic<T>::Real>)
    write_kernel(const __grid_constant__ Resample resample) {
  const Place place(resample.parts);
  const int64_t first_part = place.first_of(resample.parts);
  const uint32_t parts = resample.parts.count.divisor;
  const Plan* const plan = resample.plans + place.row;
  if (place.part == 0) {
    double sum = 0.0;
    if (plan->slot >= 0) sum = row_sums(resample.norms, resample.sums + first_part, 0, parts);
    settle<T>(resample, place.row, *plan, sum);
  }
  if (plan->center < 0) return;
  const uint32_t first = first_block(place.part);
  const Stream stream = plan->stream;
  const Draws draws = Draws::of<Norm>(stream, first, resample.p);
  double scale;
  if constexpr (Norm::kIsSum) {
    CLEVER_SHARED(double, shared_scale, 1);
    if (warp() == 0) {
      int64_t mass = 0;
      for (uint32_t part = lane(); part < parts; part += kWarp) {
        mass += resample.masses[first_part + part];
      }
      mass = warp_reduce<L1>(mass);
      if (lane() == 0) shared_scale[0] = scale_of<Norm>(*plan, mass, resample.p);
    }
    __syncthreads();
    scale = shared_scale[0];
  } else {
    scale = plan->radius;
  }
  write_points<T>(resample.points<T>(place.row), resample.center<T>(*plan), resample.point, first,
                  draws, {scale, resample.clip});
}

// Both for a row of one part.
template <class Norm, class T>
__global__ void __launch_bounds__(kPartThreads, kPartBlocks<typename Arithmetic<T>::Real>)
    whole_kernel(const __grid_constant__ Resample resample) {
  using Real = typename Arithmetic<T>::Real;
  const uint32_t row = blockIdx.x;
  const bool holds = resample.held_slot(row) >= 0;
  Held<Real> held;
  if (holds)
    held = hold(PackedRow<T>(resample.gradient<T>(row)), resample.parts, 0, resample.point.numel);
  const Plan plan = shared_plan(resample, row, false);
  double sum = 0.0;
  if (holds) part_sums<Real>(resample.norms, held, [&](uint32_t, double found) { sum = found; });
  settle<T>(resample, row, plan, sum);
  if (plan.center < 0) return;
  const uint32_t first = first_block(0);
  const Draws draws = Draws::of<Norm>(plan.stream, first, resample.p);
  double scale = plan.radius;
  if constexpr (Norm::kIsSum) {
    CLEVER_SHARED(double, shared_scale, 1);
    const int64_t mass =
        sum_of_masses(mass_of_four<Norm>(plan.stream, resample.point, first, resample.p));
    if (threadIdx.x == 0) shared_scale[0] = scale_of<Norm>(plan, mass, resample.p);
    __syncthreads();
    scale = shared_scale[0];
  }
  write_points<T>(resample.points<T>(row), resample.center<T>(plan), resample.point, first, draws,
                  {scale, resample.clip});
}

template <class Norm, class T>
void launch(const Resample& resample, void* stream) {
  const unsigned blocks = resample.parts.blocks(resample.rows), threads = resample.parts.threads;
  if (resample.parts.one()) {
    auto* whole = whole_kernel<Norm, T>;
    CLEVER_LAUNCH(whole, blocks, threads, stream, resample);
    return;
  }
  auto* measure = measure_kernel<Norm, T>;
  if (Norm::kIsSum || resample.has_grads) {
    CLEVER_LAUNCH(measure, blocks, threads, stream, resample);
  } else {  // there is nothing to look at, and a warp plans a row
    Resample plans = resample;
    plans.parts.count = Divider(1);
    CLEVER_LAUNCH(measure, static_cast<unsigned>(resample.rows), kWarp, stream, plans);
  }
  auto* write = write_kernel<Norm, T>;
  CLEVER_LAUNCH(write, blocks, threads, stream, resample);
}

}  // namespace

int64_t scratch_words(const ResampleArguments& args) {
  const int64_t own = resample_words(args.batch, args.point.numel);
  return own + (args.norms.grads == nullptr ? 0 : scratch_words(args.norms));
}

void reduce_and_resample(const ResampleArguments& args, void* scratch, void* stream) {
  with_dtype(args.dtype, [&](auto tag) {
    using T = decltype(tag);
    ResampleArguments rest = args;
    const NormArguments& norms = args.norms;
    // Gradients that are not like the points take launches of their own.
    if (norms.grads != nullptr && !(norms.dtype == args.dtype && in_fours<T>(norms))) {
      const int64_t own = resample_words(args.batch, args.point.numel);
      grad_norm_max(norms, static_cast<int64_t*>(scratch) + own, stream);
      rest.norms.grads = nullptr;
    }
    with_norm(args.p,
              [&](auto norm) { launch<decltype(norm), T>(resample_of<T>(rest, scratch), stream); });
  });
}

int64_t scratch_words(const SampleArguments& args) {
  return resample_words(args.n, args.point.numel);
}

void sample_lp_ball(const SampleArguments& args, void* scratch, void* stream) {
  with_dtype(args.dtype, [&](auto tag) {
    using T = decltype(tag);
    with_norm(args.p,
              [&](auto norm) { launch<decltype(norm), T>(resample_of<T>(args, scratch), stream); });
  });
}

}  // namespace clever::cuda
