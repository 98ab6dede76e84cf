#include <algorithm>

#include "kernels.h"

namespace clever::cpu {
namespace {

// Takes a smaller end, and which look gave it; a NaN stays for good, and no look gave it.
void fold(double end, int64_t look, double& smallest, int64_t& of) {
  if (end < smallest) {
    smallest = end;
    of = look;
  } else if (end != end) {
    smallest = end;
    of = -1;
  }
}

}  // namespace

void bracket_ends(const EndsArguments& args) {
  std::fill_n(args.nearest, args.rows, -1);
  std::fill_n(args.steepest, args.rows, -1);
  for (int64_t look = 0; look < args.looks; ++look) {
    const int64_t row = args.row[look];
    fold(args.lower_end(look), look, args.lower[row], args.steepest[row]);
    fold(args.upper_end(look), look, args.upper[row], args.nearest[row]);
  }
}

}  // namespace clever::cpu
