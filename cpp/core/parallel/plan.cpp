#include "core/parallel/plan.hpp"

#include <algorithm>
#include <cmath>

#include "core/caches.hpp"
#include "core/direction.hpp"
#include "core/shrink.hpp"

namespace bptt {

// Work is counted in operations, of which a core does some fifty thousand million a second.
ParallelPlan plan_parallelism(const LayerConfig& config, const RaggedBatch& batch, int limit,
                              int element_size) {
  // Of a call: below, one thread is done before others wake.
  constexpr double kWakeThreshold = 1.5e6 / kShrink;
  // The same if the threads synchronize at every step, and a step worth it even once.
  constexpr double kSyncThreshold = 5e6 / kShrink, kLongStep = 1e6 / kShrink;
  // Of a step and thread, rounded: synchronizing costs a third of it on near cores (trials.hpp).
  constexpr double kStepThreshold = 25e3 / kShrink;
  // Rows of which a thread would read all of W for too few: about one register tile, or two where
  // W comes from beyond the cache of a core.
  constexpr Index kFewRows = 4, kFewRowsOfLargeWeights = 12;
  const double rows = static_cast<double>(batch.total_rows());
  const double hidden = static_cast<double>(config.hidden_size);
  const Index columns = config.h_size() / config.num_heads;
  const auto operand = static_cast<double>(columns);
  const double projected = static_cast<double>(config.proj_size);
  const double row =
      2.0 * hidden * (static_cast<double>(cell_info(config.cell).gates) * operand + projected);
  const double all = row * static_cast<double>(config.num_layers * config.directions());
  const double call = rows * all;
  ParallelPlan plan;
  if (call < kWakeThreshold || limit < 2) return plan;
  plan.row_operations = all;
  const double step = row * rows / static_cast<double>(std::max<Index>(batch.longest(), 1));
  const int by_step = 1 + static_cast<int>(std::lround(step / kStepThreshold));
  // Threads that split the units read a part of W at every step, all others W.
  const auto large = [&](int parts) {
    const double weights = row / 2 * element_size / std::min(by_step, parts);
    return weights > static_cast<double>(l2_cache_bytes());
  };
  const Index few_rows = large(1) ? kFewRowsOfLargeWeights : kFewRows;
  const bool by_units =
      batch.size() <= few_rows && by_step > 1 && (call >= kSyncThreshold || step >= kLongStep);
  // Weights that are large until all threads split them: those of one direction, then of the other.
  const bool one_by_one = by_units && batch.size() <= kFewRows && large(limit / 2) && !large(limit);
  plan.concurrent_directions = config.bidirectional && !one_by_one;
  const int teams = plan.concurrent_directions ? 2 : 1;
  const int team_limit = limit / teams;
  if (by_units && team_limit > 1) {
    plan.split = Split::kHidden;
    plan.threads = teams * std::min(team_limit, by_step);
  } else {
    const int by_batch = static_cast<int>(std::min<Index>(team_limit, batch.size() / 2));
    plan.threads = teams * std::max(by_batch, 1);
  }
  // Layers side by side wait for each other only at the ends of the sequence, and each reads its
  // weights for all rows at once: worth half as many threads again.
  const int stages = static_cast<int>(std::min<Index>(config.num_layers, limit));
  if (!config.bidirectional && stages > 1 && 3 * stages >= 2 * plan.threads && !large(1) &&
      batch.size() <= kFewRows && batch.longest() >= 4 * kSliceSteps) {
    plan = {.threads = stages, .layers_side_by_side = true, .row_operations = all};
  }
  return plan;
}

}  // namespace bptt
