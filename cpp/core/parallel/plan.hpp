#pragma once

#include "core/ragged_batch.hpp"
#include "core/shrink.hpp"
#include "core/types.hpp"

namespace bptt {

/// How the threads of a team split one direction's work.
enum class Split {
  kBatch,   // each takes some rows of the batch through all steps
  kHidden,  // each takes some hidden units of all rows; they synchronize at every step
};

/// The threads of a call and what they do.
struct ParallelPlan {
  int threads = 1;
  bool concurrent_directions = false;  // half of the threads take each direction
  bool layers_side_by_side = false;    // a layer is some steps behind the one before (pipeline.hpp)
  Split split = Split::kBatch;
  double row_operations = 0;  // of all layers forward, if there are several threads
  int threads_per_direction() const {
    return layers_side_by_side ? 1 : concurrent_directions ? threads / 2 : threads;
  }
};

/// The steps of a call in slices, in the order of execution: what a layer computes before the next
/// one may go on.
struct Slices {
  Range* steps;  // [count]
  Index count;
};
/// Where layers are side by side, the fewest steps of a slice.
inline constexpr Index kSliceSteps = 1 + 15 / kShrink;

/// How many of `limit` threads pay off for a call with numbers of element_size bytes, and how they
/// split it. Affects speed, never results.
ParallelPlan plan_parallelism(const LayerConfig& config, const RaggedBatch& batch, int limit,
                              int element_size);

}  // namespace bptt
