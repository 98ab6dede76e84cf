// The CPU's kernels. Each works on a range of rows: the caller shares rows out to threads.
#pragma once

#include <vector>

#include "../step_arguments.h"

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

// All rows, which are valid: AssignArguments::is_valid.
void assign_targets(const AssignArguments& args);

// All margins, and seeds begin..end of the n_seeds * rows there are. SeedArguments::is_valid.
void margins_of(const SeedArguments& args);
void seeds_of(const SeedArguments& args, int64_t begin, int64_t end);

// The rows that hold a sample with a margin that is not positive, in order.
std::vector<int32_t> flipped_rows(const FlipArguments& args);

// The distances of the rows with numbers begin..end of such a list. FlipArguments::is_valid.
void flip_distances(const FlipArguments& args, const int32_t* rows, int64_t begin, int64_t end,
                    double* distances);

// Folds the distance of one row into those of its margins that are not positive.
void fold_flip(const FlipArguments& args, int32_t row, double distance);

}  // namespace clever::cpu
