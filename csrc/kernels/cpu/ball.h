// One row of samples on the CPU.
#pragma once

#include "../arguments.h"

namespace clever::cpu {

// Writes one sample of the p-ball around `center` to `out`.
void write_sample(void* out, const void* center, DType dtype, const PointLayout& point, double p,
                  double radius, const Stream& stream, Clip clip);

}  // namespace clever::cpu
