// The CPU's kernels. Each works on a range of rows: the caller shares rows out to threads.
#pragma once

#include "../arguments.h"

namespace clever::cpu {

void sample_lp_ball(const SampleArguments& args, int64_t begin, int64_t end);

// Writes the norms of rows begin..end to norms[q * rows + row].
void grad_norms(const NormArguments& args, int64_t begin, int64_t end, double* norms);

// Folds all the rows' norms into their maxima, in order. False: a slot does not exist.
bool fold_norms(const NormArguments& args, const double* norms);

// Norms as above, then the next samples of rows begin..end. False: a job names no such center, or
// a cursor is negative.
bool reduce_and_resample(const ResampleArguments& args, int64_t begin, int64_t end, double* norms);

// Moves cursors and slots on, once all rows are resampled and their norms are folded.
void advance_rows(const ResampleArguments& args);

// Rows that are not valid are refused beforehand, by MoveArguments::is_valid.
void move_in_lp_ball(const MoveArguments& args, int64_t begin, int64_t end);

// The same: DistanceArguments::is_valid.
void lp_distances(const DistanceArguments& args, int64_t begin, int64_t end);

// The same: StepArguments::is_valid.
void step_to_boundary(const StepArguments& args, int64_t begin, int64_t end);

// All the looks at once, in order. They are valid: EndsArguments::is_valid.
void bracket_ends(const EndsArguments& args);

}  // namespace clever::cpu
