#include "checks.h"

namespace clever {
namespace {

const char* name_of(ScalarType type) {
  switch (type) {
    case ScalarType::Double:
      return "float64";
    case ScalarType::Float:
      return "float32";
    case ScalarType::Half:
      return "float16";
    case ScalarType::BFloat16:
      return "bfloat16";
    default:
      return "int64";
  }
}

}  // namespace

DType dtype_of(const char* op, const char* name, const Tensor& t) {
  switch (t.scalar_type()) {
    case ScalarType::Double:
      return DType::kFloat64;
    case ScalarType::Float:
      return DType::kFloat32;
    case ScalarType::Half:
      return DType::kFloat16;
    case ScalarType::BFloat16:
      return DType::kBFloat16;
    default:
      STD_TORCH_CHECK(false, op, ": ", name,
                      " must be float64, float32, float16 or bfloat16, got scalar type ",
                      static_cast<int>(t.scalar_type()));
      return DType::kFloat32;
  }
}

void check_same_device(const char* op, const char* name, const Tensor& t, const Tensor& other) {
  STD_TORCH_CHECK(
      t.is_cuda() == other.is_cuda() && t.get_device_index() == other.get_device_index(), op, ": ",
      name, " must be on the same device as the other tensors");
}

void check_shape(const char* op, const char* name, const Tensor& t,
                 const std::vector<int64_t>& shape) {
  bool same = t.dim() == static_cast<int64_t>(shape.size());
  std::string expected = "[";
  for (size_t dim = 0; dim < shape.size(); ++dim) {
    same = same && t.size(static_cast<int64_t>(dim)) == shape[dim];
    expected += (dim == 0 ? "" : ", ") + std::to_string(shape[dim]);
  }
  STD_TORCH_CHECK(same, op, ": ", name, " must have shape ", expected, "], got ", shape_of(t));
}

void check_plain(const char* op, const char* name, const Tensor& t, ScalarType type,
                 const std::vector<int64_t>& shape) {
  check_shape(op, name, t, shape);
  STD_TORCH_CHECK(t.scalar_type() == type, op, ": ", name, " must be ", name_of(type),
                  ", got scalar type ", static_cast<int>(t.scalar_type()));
  STD_TORCH_CHECK(t.is_contiguous(), op, ": ", name, " must be contiguous");
}

void check_norm(const char* op, const char* name, double p) {
  STD_TORCH_CHECK(p >= 1.0, op, ": ", name, " must be at least 1 (or inf), got ", p);
}

void check_clip(const char* op, double low, double high) {
  STD_TORCH_CHECK(low < high, op, ": clip must have low < high, got ", low, " and ", high);
}

void check_same_points(const char* op, const char* name, const Tensor& t, int64_t first_dim,
                       const Tensor& like, int64_t like_first_dim) {
  bool same = t.dim() - first_dim == like.dim() - like_first_dim;
  for (int64_t dim = 0; same && dim < t.dim() - first_dim; ++dim) {
    same = t.size(first_dim + dim) == like.size(like_first_dim + dim);
  }
  STD_TORCH_CHECK(same, op, ": ", name, " of shape ", shape_of(t),
                  " does not hold points of the shape in ", shape_of(like));
}

void check_distinct_rows(const char* op, const char* name, const Tensor& t, int64_t numel) {
  STD_TORCH_CHECK(t.size(0) <= 1 || t.stride(0) >= numel, op, ": the rows of ", name,
                  " must not overlap; call .contiguous() first");
}

void check_same_layout(const char* op, const char* name, const PointLayout& a, const PointLayout& b,
                       const char* of) {
  STD_TORCH_CHECK(a.plane_stride == b.plane_stride && a.channel_stride == b.channel_stride, op,
                  ": ", name, " must have the memory format of ", of);
}

Points points_like(const char* op, const char* name, const Tensor& t, const Tensor& like,
                   const PointLayout& layout, const char* like_name) {
  STD_TORCH_CHECK(t.dim() == like.dim(), op, ": ", name, " must be [n, *shape], got ", shape_of(t));
  check_same_points(op, name, t, 1, like, 1);
  check_same_device(op, name, t, like);
  check_same_layout(op, name, point_layout(op, name, t, 1), layout, like_name);
  return {t.const_data_ptr(), t.size(0), t.stride(0)};
}

int32_t checked_count(const char* op, const char* what, int64_t count) {
  STD_TORCH_CHECK(count <= INT32_MAX, op, ": more than ", INT32_MAX, " ", what, ", got ", count);
  return static_cast<int32_t>(count);
}

}  // namespace clever
