#include <algorithm>

#include "kernels.h"

namespace clever::cpu {

void assign_targets(const AssignArguments& args) {
  for (int32_t row = 0; row < args.rows; ++row) {
    const int64_t image = args.image(row);
    args.row_image[row] = image;
    args.row_classes[row] = args.classes[image];
    std::copy_n(args.targets + image * args.n_targets, args.n_targets,
                args.row_targets + int64_t{row} * args.n_targets);
  }
}

}  // namespace clever::cpu
