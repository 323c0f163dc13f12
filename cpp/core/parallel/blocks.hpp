#pragma once

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>

#include "core/interruption.hpp"
#include "core/parallel/lease.hpp"
#include "core/parallel/thread_limit.hpp"
#include "core/ragged_batch.hpp"
#include "core/shrink.hpp"

// Loops over independent blocks, for what has no time steps. Blocks depend on shapes alone, so that
// the bits of a result do not depend on the number of threads.

namespace bptt {

/// Arithmetic of a loop in operations, of which a core does some fifty thousand million a second,
/// and whether denormals are flushed in it.
struct LoopCost {
  double operations;
  bool flush_denormals = true;
};

/// Calls body(block) for every block in [0, blocks), on several threads if that pays off. A thread
/// that has finished a block takes the next one. The first exception of a body, or Interrupted, is
/// thrown here; the blocks that have not begun by then are left out.
template <class Body>
void for_each_block(Index blocks, const LoopCost& cost, const Body& body) {
  constexpr double kWakeThreshold = 5e6 / kShrink;  // below, one thread is done as soon
  const Index wanted =
      cost.operations < kWakeThreshold ? 1 : std::min<Index>(blocks, usable_threads());
  const ThreadLease lease(static_cast<int>(wanted));
  std::atomic<Index> next{0};
  std::exception_ptr error;
  std::once_flag first_error;
  const auto take_blocks = [&](int) noexcept {
    try {
      for (Index block = next++; block < blocks; block = next++) {
        if (interrupt_pending()) throw Interrupted();
        body(block);
      }
    } catch (...) {
      next = blocks;
      std::call_once(first_error, [&] { error = std::current_exception(); });
    }
  };
  lease.run(lease.threads(), take_blocks, cost.flush_denormals);
  if (error) std::rethrow_exception(error);
}

/// Calls body(range) for blocks of [0, count) that have `size` elements each, the last one fewer.
template <class Body>
void for_each_range(Index count, Index size, const LoopCost& cost, const Body& body) {
  for_each_block((count + size - 1) / size, cost, [&](Index block) {
    body(block, Range{block * size, std::min(count, (block + 1) * size)});
  });
}

}  // namespace bptt
