// One row of samples on the CPU.
#pragma once

#include <memory>

#include "../arguments.h"

namespace clever::cpu {

// Memory for what is held of one row until a sum over it is known: on a CPU that takes half as long
// as to draw a sample twice. One for each thread, kept from row to row.
template <class Element>
class Scratch {
 public:
  Element* get(int64_t count) {
    if (count > count_) {
      memory_ = std::make_unique_for_overwrite<Element[]>(static_cast<size_t>(count));
      count_ = count;
    }
    return memory_.get();
  }

 private:
  std::unique_ptr<Element[]> memory_;
  int64_t count_ = 0;
};

// Writes one sample of the p-ball around `center` to `out`.
void write_sample(void* out, const void* center, DType dtype, const PointLayout& point, double p,
                  double radius, const Stream& stream, Clip clip, Scratch<float>& scratch);

// Draws one sample to t, [4 * ceil(numel / 4)], in the order of a contiguous point, before it is
// scaled by ball_scale; returns its mass.
double draw_sample(const Stream& stream, int64_t numel, double p, float* t);

// Draws the signs of a share of the elements to t, which is as long.
void draw_signs(const Stream& stream, int64_t numel, double share, float* t);

}  // namespace clever::cpu
