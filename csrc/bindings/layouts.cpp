#include "layouts.h"

#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace clever {

using torch::stable::Tensor;

std::string shape_of(const Tensor& t) {
  std::string text = "[";
  for (int64_t dim = 0; dim < t.dim(); ++dim) {
    text += (dim == 0 ? "" : ", ") + std::to_string(t.size(dim));
  }
  return text + "]";
}

// Strides of dimensions of size 1 say nothing.
PointLayout point_layout(const char* op, const char* name, const Tensor& t, int64_t first_dim) {
  const int64_t dims = t.dim() - first_dim;
  int64_t numel = 1;
  for (int64_t dim = first_dim; dim < t.dim(); ++dim) numel *= t.size(dim);

  const auto has_strides = [&](int64_t from, int64_t innermost) {
    int64_t stride = innermost;
    for (int64_t dim = t.dim() - 1; dim >= from; --dim) {
      if (t.size(dim) != 1 && t.stride(dim) != stride) return false;
      stride *= t.size(dim);
    }
    return true;
  };
  if (numel <= 1 || has_strides(first_dim, 1)) return {numel, std::max<int64_t>(numel, 1), 0, 1};
  const int64_t channels = t.size(first_dim);
  const bool channels_last = dims >= 2 && has_strides(first_dim + 1, channels) &&
                             (channels == 1 || t.stride(first_dim) == 1);
  STD_TORCH_CHECK(channels_last, op, ": the points of ", name,
                  " must be contiguous or channels_last; call .contiguous() first");
  return {numel, numel / channels, 1, channels};
}

RowLayout row_layout(const char* op, const Tensor& t, int64_t first_dim) {
  std::vector<std::pair<int64_t, int64_t>> dims;  // stride, size
  RowLayout row{1, 0, {}, {}};
  for (int64_t dim = first_dim; dim < t.dim(); ++dim) {
    row.numel *= t.size(dim);
    if (t.size(dim) != 1) dims.emplace_back(t.stride(dim), t.size(dim));
  }
  std::stable_sort(dims.begin(), dims.end(), [](auto a, auto b) { return a.first > b.first; });
  for (const auto& [stride, size] : dims) {
    if (row.ndim > 0 && row.stride[row.ndim - 1] == stride * size) {
      row.size[row.ndim - 1] *= size;
      row.stride[row.ndim - 1] = stride;
      continue;
    }
    STD_TORCH_CHECK(row.ndim < kMaxDims, op, ": gradients of more than ", kMaxDims,
                    " separate dimensions are not supported; call .contiguous() first");
    row.size[row.ndim] = size;
    row.stride[row.ndim++] = stride;
  }
  if (row.ndim == 0) row = {row.numel, 1, {1}, {1}};
  return row;
}

}  // namespace clever
