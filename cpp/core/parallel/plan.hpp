#pragma once

#include "core/ragged_batch.hpp"
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
  Split split = Split::kBatch;
  int threads_per_direction() const { return concurrent_directions ? threads / 2 : threads; }
};

/// How many of `limit` threads pay off for a call, and how they split it. Affects speed, never
/// results.
ParallelPlan plan_parallelism(const LayerConfig& config, const RaggedBatch& batch, int limit);

}  // namespace bptt
