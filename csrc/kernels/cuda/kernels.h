// The CUDA kernels. Each launches once on the stream (a cudaStream_t) of the current device.
#pragma once

#include "../step_arguments.h"

namespace clever::cuda {

void sample_lp_ball(const SampleArguments& args, void* stream);
void grad_norm_max(const NormArguments& args, void* stream);
void reduce_and_resample(const ResampleArguments& args, void* stream);
void move_in_lp_ball(const MoveArguments& args, void* stream);
void step_to_boundary(const StepArguments& args, void* stream);
void lp_distances(const DistanceArguments& args, void* stream);
void bracket_ends(const EndsArguments& args, void* stream);
void assign_targets(const AssignArguments& args, void* stream);
void margin_seeds(const SeedArguments& args, void* stream);
void note_flips(const FlipArguments& args, void* stream);

}  // namespace clever::cuda
