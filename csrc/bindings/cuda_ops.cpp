// The ops' CUDA implementations. The emulator's build registers the same functions as an op library
// of its own for CPU tensors: CLEVER_CUDA_EMULATION says so.
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/macros.h>
#include <torch/csrc/stable/ops.h>

#include "../kernels/cuda/kernels.h"
#include "arguments.h"
#include "step_arguments.h"

#if !defined(CLEVER_CUDA_EMULATION)
#include <cuda_runtime.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#endif

namespace clever {
namespace {

// Makes the tensor's device the current one, runs launch(stream), and checks the launch.
template <class Launch>
void launch_on(const Tensor& tensor, const Launch& launch) {
#if defined(CLEVER_CUDA_EMULATION)
  static_cast<void>(tensor);
  launch(nullptr);
#else
  const torch::stable::accelerator::DeviceGuard guard(tensor.get_device_index());
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(tensor.get_device_index(), &stream));
  launch(stream);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
#endif
}

void check_launch(const char* op, int64_t rows, int64_t numel) {
  STD_TORCH_CHECK(cuda::can_launch(rows, numel), op, ": ", rows, " rows of ", numel,
                  " elements are more than one launch can count; call it for fewer rows");
}

// The same with memory that the kernels of the launch hand on, where there are several:
// launch(scratch, stream).
template <class Arguments, class Launch>
void launch_with_scratch(const Tensor& tensor, const Arguments& args, const Launch& launch) {
  const int64_t words[] = {cuda::scratch_words(args)};
  if (words[0] == 0) return launch_on(tensor, [&](void* stream) { launch(nullptr, stream); });
  // Freed at once, it is not used again before this stream has come so far.
  Tensor scratch =
      torch::stable::new_empty(tensor, {words, 1}, torch::headeronly::ScalarType::Long);
  launch_on(tensor, [&](void* stream) { launch(scratch.mutable_data_ptr(), stream); });
}

void sample_lp_ball(Tensor out, Tensor center, double p, double radius, int64_t seed,
                    int64_t image_id, int64_t first, double low, double high) {
  const SampleArguments args =
      sample_arguments(out, center, p, radius, seed, image_id, first, low, high);
  if (args.n == 0 || args.point.numel == 0) return;
  check_launch("sample_lp_ball", args.n, args.point.numel);
  launch_with_scratch(
      out, args, [&](void* scratch, void* stream) { cuda::sample_lp_ball(args, scratch, stream); });
}

void grad_norm_max(Tensor grads, std::vector<double> q, Tensor maxima,
                   std::optional<Tensor> slots) {
  const NormArguments args = norm_arguments(grads, q, maxima, slots);
  if (args.rows() == 0) return;
  check_launch("grad_norm_max", args.rows(), args.row.numel);
  launch_with_scratch(grads, args, [&](void* scratch, void* stream) {
    cuda::grad_norm_max(args, scratch, stream);
  });
}

void reduce_and_resample(std::optional<Tensor> grads, Tensor x, Tensor maxima, Tensor cursor,
                         Tensor slots, Tensor centers, Tensor jobs, Tensor radii,
                         int64_t batch_samples, double p, double q, int64_t seed, double low,
                         double high) {
  const ResampleArguments args = resample_arguments(grads, x, maxima, cursor, slots, centers, jobs,
                                                    radii, batch_samples, p, q, seed, low, high);
  if (args.batch == 0) return;
  check_launch("reduce_and_resample", args.batch, args.point.numel);
  launch_with_scratch(x, args, [&](void* scratch, void* stream) {
    cuda::reduce_and_resample(args, scratch, stream);
  });
}

void move_in_lp_ball(Tensor out, Tensor bases, std::optional<Tensor> directions, Tensor centers,
                     Tensor rows, Tensor scales, double p, double sharpness, int64_t seed,
                     double low, double high) {
  const MoveArguments args =
      move_arguments(out, bases, directions, centers, rows, scales, p, sharpness, seed, low, high);
  if (args.batch == 0) return;
  check_launch("move_in_lp_ball", args.batch, args.point.numel);
  launch_on(out, [&](void* stream) { cuda::move_in_lp_ball(args, stream); });
}

void step_to_boundary(Tensor out, Tensor points, Tensor gradients, Tensor centers, Tensor index,
                      Tensor scales, double p, double low, double high) {
  const StepArguments args =
      step_arguments(out, points, gradients, centers, index, scales, p, low, high);
  if (args.batch == 0) return;
  check_launch("step_to_boundary", args.batch, args.point.numel);
  launch_on(out, [&](void* stream) { cuda::step_to_boundary(args, stream); });
}

void lp_distances(Tensor x, Tensor centers, Tensor index, double p, Tensor distances) {
  const DistanceArguments args = distance_arguments(x, centers, index, p, distances);
  if (args.x.n == 0) return;
  check_launch("lp_distances", args.x.n, args.point.numel);
  launch_with_scratch(
      x, args, [&](void* scratch, void* stream) { cuda::lp_distances(args, scratch, stream); });
}

void bracket_ends(Tensor distance, Tensor norm, Tensor margin, Tensor row, Tensor margin_at_image,
                  Tensor rise, Tensor lower, Tensor upper, Tensor nearest, Tensor steepest) {
  const EndsArguments args = ends_arguments(distance, norm, margin, row, margin_at_image, rise,
                                            lower, upper, nearest, steepest);
  launch_on(lower, [&](void* stream) { cuda::bracket_ends(args, stream); });
}

void assign_targets(Tensor slots, Tensor center_of_slot, Tensor classes, Tensor targets,
                    Tensor row_image, Tensor row_classes, Tensor row_targets) {
  const AssignArguments args = assign_arguments(slots, center_of_slot, classes, targets, row_image,
                                                row_classes, row_targets);
  if (args.rows == 0) return;
  launch_on(slots, [&](void* stream) { cuda::assign_targets(args, stream); });
}

void margin_seeds(Tensor logits, Tensor classes, Tensor targets, Tensor margins, Tensor seeds) {
  const SeedArguments args = seed_arguments(logits, classes, targets, margins, seeds);
  if (args.rows == 0) return;
  launch_on(logits, [&](void* stream) { cuda::margin_seeds(args, stream); });
}

void note_flips(Tensor margins, Tensor x, Tensor slots, Tensor centers, Tensor row_image, double p,
                Tensor nearest_flip) {
  const FlipArguments args = flip_arguments(margins, x, slots, centers, row_image, p, nearest_flip);
  if (args.rows == 0) return;
  launch_on(x, [&](void* stream) { cuda::note_flips(args, stream); });
}

}  // namespace
}  // namespace clever

#if defined(CLEVER_CUDA_EMULATION)
// The schemas are copied from the library that is being emulated, by Python.
STABLE_TORCH_LIBRARY_IMPL(clever_ext_emulated, CPU, m) {
#else
STABLE_TORCH_LIBRARY_IMPL(clever_ext, CUDA, m) {
#endif
  m.impl("sample_lp_ball", TORCH_BOX(&clever::sample_lp_ball));
  m.impl("grad_norm_max", TORCH_BOX(&clever::grad_norm_max));
  m.impl("reduce_and_resample", TORCH_BOX(&clever::reduce_and_resample));
  m.impl("move_in_lp_ball", TORCH_BOX(&clever::move_in_lp_ball));
  m.impl("step_to_boundary", TORCH_BOX(&clever::step_to_boundary));
  m.impl("lp_distances", TORCH_BOX(&clever::lp_distances));
  m.impl("bracket_ends", TORCH_BOX(&clever::bracket_ends));
  m.impl("assign_targets", TORCH_BOX(&clever::assign_targets));
  m.impl("margin_seeds", TORCH_BOX(&clever::margin_seeds));
  m.impl("note_flips", TORCH_BOX(&clever::note_flips));
}
