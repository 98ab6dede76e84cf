// The CUDA kernels. Each is launched on the stream (a cudaStream_t) of the current device, with
// scratch memory of as many 64-bit words as scratch_words() says, which nobody else uses meanwhile.
#pragma once

#include "../step_arguments.h"

namespace clever::cuda {

// A row is cut into parts, each the work of one block.
constexpr int64_t kPartElements = 4096;
constexpr int64_t parts_of(int64_t numel) {
  return numel > kPartElements ? (numel + kPartElements - 1) / kPartElements : 1;
}

// Whether so many rows of so many elements can be launched: both are counted in 31 bits.
constexpr bool can_launch(int64_t rows, int64_t numel) {
  constexpr int64_t kMost = INT32_MAX;
  return numel <= kMost && rows <= kMost / parts_of(numel);
}

int64_t scratch_words(const SampleArguments& args);
int64_t scratch_words(const NormArguments& args);
int64_t scratch_words(const ResampleArguments& args);
int64_t scratch_words(const DistanceArguments& args);

void sample_lp_ball(const SampleArguments& args, void* scratch, void* stream);
void grad_norm_max(const NormArguments& args, void* scratch, void* stream);
void reduce_and_resample(const ResampleArguments& args, void* scratch, void* stream);
void lp_distances(const DistanceArguments& args, void* scratch, void* stream);

void move_in_lp_ball(const MoveArguments& args, void* stream);
void step_to_boundary(const StepArguments& args, void* stream);
void bracket_ends(const EndsArguments& args, void* stream);
void assign_targets(const AssignArguments& args, void* stream);
void margin_seeds(const SeedArguments& args, void* stream);
void note_flips(const FlipArguments& args, void* stream);

}  // namespace clever::cuda
