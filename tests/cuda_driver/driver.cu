// Launches the CUDA kernels without torch, on buffers of their own, and holds what they write
// against plain loops: a small program for tools that watch memory, races or speed.
//
//   cuda_driver            all launchers, on small shapes of all layouts; the status is 1 where a
//                          check failed, 2 where CUDA did
//   cuda_driver profile    six launches on 512 points of 3 x 224 x 224 (0.6 GB)
#include <string_view>

#include "moves.h"
#include "samples.h"
#include "steps.h"

using namespace driver;

namespace {

template <class T>
void check_type() {
  // Rows with gaps between their elements, and rows that lie alone.
  check_norms<T>({60, 2, {6, 10}, {20, 1}}, 130);
  check_seeds<T>(2, 1);
  check_seeds<T>(1000, 9);
  for (const Shape& shape : kShapes) {
    check_norms<T>(row_of(shape.numel()), shape.numel());
    for (const double p : {1.0, 2.0, 3.0, static_cast<double>(INFINITY)}) {
      check_samples<T>(shape, p);
      check_fused<T>(shape, p);
      check_moves<T>(shape, p);
      check_distances<T>(shape, p);
      check_flips<T>(shape, p);
    }
  }
}

void check_all() {
  check_type<float>();
  check_type<bfloat16_t>();
  for (const Shape& shape : kShapes) {
    for (const double p : {1.0, 2.0, static_cast<double>(INFINITY)}) check_steps(shape, p);
  }
  check_assigned(1);
  check_assigned(9);
  check_ends(7, 3);
  check_ends(2000, 30);
}

void profile() {
  constexpr int64_t kRows = 512;
  const Shape plain = {3, 224 * 224, false}, last = {3, 224 * 224, true};
  const std::vector<float> center = numbers<float>(plain.numel(), 1);
  // More samples than are ever drawn.
  Fused<float> fused(plain.numel(), kRows, center, {0, 12, 0, 0}, int64_t{1} << 30);
  const SampleArguments samples = sample_arguments(plain, 2.0, kRows, fused.x, fused.centers);
  SampleArguments box = samples;
  box.p = INFINITY;
  NormArguments norms = fused.args.norms;
  norms.slots = nullptr;
  norms.q[0] = 2.0;
  for (int64_t row = 0; row < kRows; ++row) {
    copy(fused.grads.data() + row * plain.numel(), fused.centers.data(), 4 * plain.numel());
  }
  cuda::sample_lp_ball(samples, scratch_of(samples).data(), nullptr);
  cuda::sample_lp_ball(box, scratch_of(box).data(), nullptr);
  cuda::grad_norm_max(norms, scratch_of(norms).data(), nullptr);
  // A row that holds no sample yet has no norm taken.
  copy(fused.slots.data(), std::vector<int64_t>(kRows, 0).data(), kRows * sizeof(int64_t));
  fused.launch(plain, 2.0, true);
  fused.launch(plain, 1.0, true);
  fused.launch(last, 2.0, true);
  synchronise();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "profile") {
    profile();
    return 0;
  }
  check_all();
  return report();
}
