// The ops' schemas, and their CPU implementations.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <atomic>

#include "../kernels/cpu/kernels.h"
#include "arguments.h"
#include "step_arguments.h"

namespace clever {
namespace {

// Rows for each thread at least, so that small work is not shared out.
int64_t grain(int64_t numel) { return std::max<int64_t>(1, 16384 / std::max<int64_t>(1, numel)); }

void sample_lp_ball(Tensor out, Tensor center, double p, double radius, int64_t seed,
                    int64_t image_id, int64_t first, double low, double high) {
  const SampleArguments args =
      sample_arguments(out, center, p, radius, seed, image_id, first, low, high);
  torch::stable::parallel_for(0, args.n, grain(args.point.numel), [&](int64_t begin, int64_t end) {
    cpu::sample_lp_ball(args, begin, end);
  });
}

void grad_norm_max(Tensor grads, std::vector<double> q, Tensor maxima,
                   std::optional<Tensor> slots) {
  const NormArguments args = norm_arguments(grads, q, maxima, slots);
  std::vector<double> norms(static_cast<size_t>(args.n_norms * args.rows()));
  torch::stable::parallel_for(
      0, args.rows(), grain(args.row.numel),
      [&](int64_t begin, int64_t end) { cpu::grad_norms(args, begin, end, norms.data()); });
  STD_TORCH_CHECK(cpu::fold_norms(args, norms.data()),
                  "grad_norm_max: slots names a slot that maxima does not have (", args.n_slots,
                  " slots)");
}

void reduce_and_resample(std::optional<Tensor> grads, Tensor x, Tensor maxima, Tensor cursor,
                         Tensor slots, Tensor centers, Tensor jobs, Tensor radii,
                         int64_t batch_samples, double p, double q, int64_t seed, double low,
                         double high) {
  const ResampleArguments args = resample_arguments(grads, x, maxima, cursor, slots, centers, jobs,
                                                    radii, batch_samples, p, q, seed, low, high);
  std::vector<double> norms(static_cast<size_t>(args.batch));
  std::atomic<bool> jobs_exist = true;
  torch::stable::parallel_for(0, args.batch, grain(args.point.numel),
                              [&](int64_t begin, int64_t end) {
                                if (!cpu::reduce_and_resample(args, begin, end, norms.data()))
                                  jobs_exist = false;
                              });
  STD_TORCH_CHECK(jobs_exist,
                  "reduce_and_resample: jobs names a center that centers does not have (",
                  args.n_centers, " centers), or cursor is negative");
  if (grads.has_value()) {
    STD_TORCH_CHECK(cpu::fold_norms(args.norms, norms.data()),
                    "reduce_and_resample: slots names a slot that maxima does not have (",
                    args.norms.n_slots, " slots)");
  }
  cpu::advance_rows(args);
}

void move_in_lp_ball(Tensor out, Tensor bases, std::optional<Tensor> directions, Tensor centers,
                     Tensor rows, Tensor scales, double p, double sharpness, int64_t seed,
                     double low, double high) {
  const MoveArguments args =
      move_arguments(out, bases, directions, centers, rows, scales, p, sharpness, seed, low, high);
  for (int64_t row = 0; row < args.batch; ++row) {
    STD_TORCH_CHECK(args.is_valid(row), "move_in_lp_ball: row ", row,
                    " names a base, direction or center that is not there (of ", args.bases.n, ", ",
                    args.directions.n, " and ", args.centers.n,
                    "), or its radius is negative, or its share not within 0 and 1");
  }
  torch::stable::parallel_for(
      0, args.batch, grain(args.point.numel),
      [&](int64_t begin, int64_t end) { cpu::move_in_lp_ball(args, begin, end); });
}

void step_to_boundary(Tensor out, Tensor points, Tensor gradients, Tensor centers, Tensor index,
                      Tensor scales, double p, double low, double high) {
  const StepArguments args =
      step_arguments(out, points, gradients, centers, index, scales, p, low, high);
  for (int64_t lane = 0; lane < args.batch; ++lane) {
    STD_TORCH_CHECK(args.is_valid(lane), "step_to_boundary: lane ", lane,
                    " names a center that is not there (of ", args.centers.n,
                    "), or its share is not within 0 and 1");
  }
  torch::stable::parallel_for(
      0, args.batch, grain(args.point.numel),
      [&](int64_t begin, int64_t end) { cpu::step_to_boundary(args, begin, end); });
}

void lp_distances(Tensor x, Tensor centers, Tensor index, double p, Tensor distances) {
  const DistanceArguments args = distance_arguments(x, centers, index, p, distances);
  for (int64_t row = 0; row < args.x.n; ++row) {
    STD_TORCH_CHECK(args.is_valid(row),
                    "lp_distances: index names a center that centers does not have (",
                    args.centers.n, " centers)");
  }
  torch::stable::parallel_for(
      0, args.x.n, grain(args.point.numel),
      [&](int64_t begin, int64_t end) { cpu::lp_distances(args, begin, end); });
}

void bracket_ends(Tensor distance, Tensor norm, Tensor margin, Tensor row, Tensor margin_at_image,
                  Tensor rise, Tensor lower, Tensor upper, Tensor nearest, Tensor steepest) {
  const EndsArguments args = ends_arguments(distance, norm, margin, row, margin_at_image, rise,
                                            lower, upper, nearest, steepest);
  for (int64_t look = 0; look < args.looks; ++look) {
    STD_TORCH_CHECK(args.is_valid(look), "bracket_ends: row names a row that is not there (",
                    args.rows, " rows)");
  }
  cpu::bracket_ends(args);
}

void assign_targets(Tensor slots, Tensor center_of_slot, Tensor classes, Tensor targets,
                    Tensor row_image, Tensor row_classes, Tensor row_targets) {
  const AssignArguments args = assign_arguments(slots, center_of_slot, classes, targets, row_image,
                                                row_classes, row_targets);
  for (int32_t row = 0; row < args.rows; ++row) {
    STD_TORCH_CHECK(args.is_valid(row), "assign_targets: row ", row,
                    " names a slot that is not there, or its slot an image (of ", args.n_slots,
                    " and ", args.images, ")");
  }
  cpu::assign_targets(args);
}

void margin_seeds(Tensor logits, Tensor classes, Tensor targets, Tensor margins, Tensor seeds) {
  const SeedArguments args = seed_arguments(logits, classes, targets, margins, seeds);
  for (int32_t row = 0; row < args.rows; ++row) {
    for (int32_t margin = 0; margin < args.n_margins; ++margin) {
      STD_TORCH_CHECK(args.is_valid(row, margin), "margin_seeds: row ", row,
                      " names a class or a target that logits does not have (", args.n_logits,
                      " logits)");
    }
  }
  cpu::margins_of(args);
  torch::stable::parallel_for(0, int64_t{args.n_seeds} * args.rows, grain(args.n_logits),
                              [&](int64_t begin, int64_t end) { cpu::seeds_of(args, begin, end); });
}

void note_flips(Tensor margins, Tensor x, Tensor slots, Tensor centers, Tensor row_image, double p,
                Tensor nearest_flip) {
  const FlipArguments args = flip_arguments(margins, x, slots, centers, row_image, p, nearest_flip);
  for (int32_t row = 0; row < args.rows; ++row) {
    STD_TORCH_CHECK(args.is_valid(row),
                    "note_flips: row_image names a center that centers does not have (",
                    args.centers.n, " centers)");
  }
  const std::vector<int32_t> rows = cpu::flipped_rows(args);
  if (rows.empty()) return;
  std::vector<double> distances(rows.size());
  torch::stable::parallel_for(0, static_cast<int64_t>(rows.size()), grain(args.point.numel),
                              [&](int64_t begin, int64_t end) {
                                cpu::flip_distances(args, rows.data(), begin, end,
                                                    distances.data());
                              });
  for (size_t number = 0; number < rows.size(); ++number) {
    cpu::fold_flip(args, rows[number], distances[number]);
  }
}

}  // namespace
}  // namespace clever

STABLE_TORCH_LIBRARY(clever_ext, m) {
  m.def(
      "sample_lp_ball(Tensor(a!) out, Tensor center, float p, float radius, int seed, "
      "int image_id, int first, float low, float high) -> ()");
  m.def("grad_norm_max(Tensor grads, float[] q, Tensor(a!) maxima, Tensor? slots=None) -> ()");
  m.def(
      "reduce_and_resample(Tensor? grads, Tensor(a!) x, Tensor(b!) maxima, Tensor(c!) cursor, "
      "Tensor(d!) slots, Tensor centers, Tensor jobs, Tensor radii, int batch_samples, float p, "
      "float q, int seed, float low, float high) -> ()");
  m.def(
      "move_in_lp_ball(Tensor(a!) out, Tensor bases, Tensor? directions, Tensor centers, "
      "Tensor rows, Tensor scales, float p, float sharpness, int seed, float low, float high) "
      "-> ()");
  m.def(
      "step_to_boundary(Tensor(a!) out, Tensor points, Tensor gradients, Tensor centers, "
      "Tensor index, Tensor scales, float p, float low, float high) -> ()");
  m.def(
      "lp_distances(Tensor x, Tensor centers, Tensor index, float p, Tensor(a!) distances) -> ()");
  m.def(
      "bracket_ends(Tensor distance, Tensor norm, Tensor margin, Tensor row, "
      "Tensor margin_at_image, Tensor rise, Tensor(a!) lower, Tensor(b!) upper, "
      "Tensor(c!) nearest, Tensor(d!) steepest) -> ()");
  m.def(
      "assign_targets(Tensor slots, Tensor center_of_slot, Tensor classes, Tensor targets, "
      "Tensor(a!) row_image, Tensor(b!) row_classes, Tensor(c!) row_targets) -> ()");
  m.def(
      "margin_seeds(Tensor logits, Tensor classes, Tensor targets, Tensor(a!) margins, "
      "Tensor(b!) seeds) -> ()");
  m.def(
      "note_flips(Tensor margins, Tensor x, Tensor slots, Tensor centers, Tensor row_image, "
      "float p, Tensor(a!) nearest_flip) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(clever_ext, CPU, m) {
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
