#include "step_arguments.h"

#include "checks.h"

namespace clever {
namespace {

Matrix matrix(const Tensor& t) { return {t.const_data_ptr(), t.stride(0), t.stride(1)}; }

const int64_t* numbers(const Tensor& t) { return static_cast<const int64_t*>(t.const_data_ptr()); }

int64_t* written_numbers(Tensor& t) { return static_cast<int64_t*>(t.mutable_data_ptr()); }

}  // namespace

AssignArguments assign_arguments(const Tensor& slots, const Tensor& center_of_slot,
                                 const Tensor& classes, const Tensor& targets, Tensor& row_image,
                                 Tensor& row_classes, Tensor& row_targets) {
  constexpr const char* kOp = "assign_targets";
  STD_TORCH_CHECK(slots.dim() == 1, kOp, ": slots must be [B], got ", shape_of(slots));
  STD_TORCH_CHECK(center_of_slot.dim() == 1, kOp, ": center_of_slot must be [slots], got ",
                  shape_of(center_of_slot));
  STD_TORCH_CHECK(targets.dim() == 2, kOp, ": targets must be [I, T], got ", shape_of(targets));
  AssignArguments args{};
  args.rows = checked_count(kOp, "rows", slots.size(0));
  args.n_slots = center_of_slot.size(0);
  args.images = targets.size(0);
  args.n_targets = checked_count(kOp, "targets", targets.size(1));
  checked_count(kOp, "targets of all rows", int64_t{args.rows} * (int64_t{args.n_targets} + 1));
  const auto check = [&](const char* name, const Tensor& t, const std::vector<int64_t>& shape) {
    check_plain(kOp, name, t, ScalarType::Long, shape);
    check_same_device(kOp, name, t, slots);
  };
  check("slots", slots, {args.rows});
  check("center_of_slot", center_of_slot, {args.n_slots});
  check("classes", classes, {args.images});
  check("targets", targets, {args.images, args.n_targets});
  check("row_image", row_image, {args.rows});
  check("row_classes", row_classes, {args.rows});
  check("row_targets", row_targets, {args.rows, args.n_targets});
  args.slots = numbers(slots);
  args.center_of_slot = numbers(center_of_slot);
  args.classes = numbers(classes);
  args.targets = numbers(targets);
  args.row_image = written_numbers(row_image);
  args.row_classes = written_numbers(row_classes);
  args.row_targets = written_numbers(row_targets);
  return args;
}

SeedArguments seed_arguments(const Tensor& logits, const Tensor& classes, const Tensor& targets,
                             Tensor& margins, Tensor& seeds) {
  constexpr const char* kOp = "margin_seeds";
  STD_TORCH_CHECK(logits.dim() == 2, kOp, ": logits must be [B, K], got ", shape_of(logits));
  STD_TORCH_CHECK(targets.dim() == 2, kOp, ": targets must be [B, T], got ", shape_of(targets));
  STD_TORCH_CHECK(seeds.dim() == 3, kOp, ": seeds must be [T, B, K], got ", shape_of(seeds));
  SeedArguments args{};
  args.dtype = dtype_of(kOp, "logits", logits);
  args.rows = checked_count(kOp, "rows", logits.size(0));
  args.n_logits = checked_count(kOp, "logits", logits.size(1));
  args.n_margins = checked_count(kOp, "margins", targets.size(1));
  args.n_seeds = checked_count(kOp, "seeds", seeds.size(0));
  checked_count(kOp, "seeds of all rows", int64_t{args.rows} * (int64_t{args.n_seeds} + 1));
  STD_TORCH_CHECK(args.n_seeds <= args.n_margins, kOp, ": seeds of shape ", shape_of(seeds),
                  " must not be of more than the ", args.n_margins, " targets");
  check_shape(kOp, "targets", targets, {args.rows, args.n_margins});
  STD_TORCH_CHECK(targets.scalar_type() == ScalarType::Long, kOp,
                  ": targets must be int64, got scalar type ",
                  static_cast<int>(targets.scalar_type()));
  check_plain(kOp, "classes", classes, ScalarType::Long, {args.rows});
  check_plain(kOp, "margins", margins, logits.scalar_type(), {args.rows, args.n_margins});
  check_plain(kOp, "seeds", seeds, logits.scalar_type(), {args.n_seeds, args.rows, args.n_logits});
  const Tensor* const others[] = {&classes, &targets, &margins, &seeds};
  for (const Tensor* other : others) check_same_device(kOp, "every tensor", *other, logits);
  args.logits = matrix(logits);
  args.targets = matrix(targets);
  args.classes = numbers(classes);
  args.margins = margins.mutable_data_ptr();
  args.seeds = seeds.mutable_data_ptr();
  return args;
}

FlipArguments flip_arguments(const Tensor& margins, const Tensor& x, const Tensor& slots,
                             const Tensor& centers, const Tensor& row_image, double p,
                             Tensor& nearest_flip) {
  constexpr const char* kOp = "note_flips";
  check_norm(kOp, "p", p);
  STD_TORCH_CHECK(margins.dim() == 2, kOp, ": margins must be [B, T], got ", shape_of(margins));
  STD_TORCH_CHECK(x.dim() >= 2, kOp, ": x must be [B, *shape], got ", shape_of(x));
  STD_TORCH_CHECK(x.scalar_type() == centers.scalar_type(), kOp,
                  ": x and centers must have the same dtype");
  FlipArguments args{};
  args.margin_dtype = dtype_of(kOp, "margins", margins);
  args.dtype = dtype_of(kOp, "x", x);
  args.rows = checked_count(kOp, "rows", x.size(0));
  args.n_margins = checked_count(kOp, "margins", margins.size(1));
  check_shape(kOp, "margins", margins, {args.rows, args.n_margins});
  args.point = point_layout(kOp, "x", x, 1);
  args.x = {x.const_data_ptr(), x.size(0), x.stride(0)};
  args.centers = points_like(kOp, "centers", centers, x, args.point, "x");
  check_plain(kOp, "slots", slots, ScalarType::Long, {args.rows});
  check_plain(kOp, "row_image", row_image, ScalarType::Long, {args.rows});
  check_plain(kOp, "nearest_flip", nearest_flip, ScalarType::Double,
              {args.n_margins, args.centers.n});
  const Tensor* const others[] = {&margins, &slots, &row_image, &nearest_flip};
  for (const Tensor* other : others) check_same_device(kOp, "every tensor", *other, x);
  args.margins = matrix(margins);
  args.slots = numbers(slots);
  args.row_image = numbers(row_image);
  args.p = p;
  args.nearest_flip = static_cast<double*>(nearest_flip.mutable_data_ptr());
  return args;
}

}  // namespace clever
