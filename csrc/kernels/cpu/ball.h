// One row of samples on the CPU.
#pragma once

#include <memory>

#include "../arguments.h"

namespace clever::cpu {

// Memory for the draws of one sample, which are held until their sum is known: on a CPU that takes
// half as long as to draw them twice. One for each thread, kept from row to row.
class Scratch {
 public:
  float* get(int64_t count) {
    if (count > count_) {
      memory_ = std::make_unique_for_overwrite<float[]>(static_cast<size_t>(count));
      count_ = count;
    }
    return memory_.get();
  }

 private:
  std::unique_ptr<float[]> memory_;
  int64_t count_ = 0;
};

// Writes one sample of the p-ball around `center` to `out`.
void write_sample(void* out, const void* center, DType dtype, const PointLayout& point, double p,
                  double radius, const Stream& stream, Clip clip, Scratch& scratch);

}  // namespace clever::cpu
