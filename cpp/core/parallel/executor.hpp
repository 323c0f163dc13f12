#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "core/direction.hpp"
#include "core/interruption.hpp"
#include "core/parallel/lease.hpp"
#include "core/parallel/pipeline.hpp"
#include "core/parallel/plan.hpp"
#include "core/parallel/team.hpp"
#include "core/parallel/thread_limit.hpp"
#include "core/parallel/trials.hpp"

namespace bptt {

/// Runs the time loops of one call on the threads that pay off for it.
class Executor {
 public:
  /// element_size: bytes of a number.
  Executor(const LayerConfig& config, const RaggedBatch& batch, CallShape::Pass pass,
           int element_size)
      : plan_(plan_parallelism(config, batch, usable_threads(), element_size)),
        trial_(plan_, batch, pass, element_size),
        lease_(trial_.one_thread() ? 1 : plan_.threads) {
    if (lease_.threads() == plan_.threads) return;
    plan_ = plan_parallelism(config, batch, lease_.threads(), element_size);
    if (!trial_.one_thread()) trial_.cancel();
  }
  const ParallelPlan& plan() const { return plan_; }

  /// before(i, worker), the loops of layer i and after(i, steps, worker), for all layers: one after
  /// the other through all steps, which are one slice, or side by side. Throws Interrupted where
  /// the caller wants the call to end.
  template <class Before, class After>
  void run(TimeLoop* const* loops, Index layers, Index directions, const Slices& slices,
           Before before, After after) const {
    Cancellation cancellation;
    Team team(plan_.layers_side_by_side ? 1 : plan_.threads, &cancellation);
    std::optional<Pipeline> pipeline;
    if (plan_.layers_side_by_side) {
      pipeline.emplace(layers, slices.count, plan_.threads, cancellation);
    }
    std::vector<std::unique_ptr<Team>> direction_teams;  // one a loop
    if (plan_.concurrent_directions) {
      for (Index i = 0; i < 2 * layers; ++i) {
        direction_teams.push_back(
            std::make_unique<Team>(plan_.threads_per_direction(), &cancellation));
      }
    }
    const auto run_slice = [&](Index i, Index slice, Worker& worker) {
      const Range steps = slices.steps[slice];
      if (slice == 0) before(i, worker);
      if (plan_.concurrent_directions) {
        worker.parallel_for([&](int part, int parts) {
          const Index loop = 2 * i + 2 * part / parts;
          Worker own(*direction_teams[static_cast<std::size_t>(loop)], part % (parts / 2));
          loops[loop]->run(steps, own);
        });
      } else {
        for (Index d = 0; d < directions; ++d) loops[i * directions + d]->run(steps, worker);
      }
      after(i, steps, worker);
    };
    std::atomic<int> running{0};  // threads other than the caller
    const auto body = [&](int thread) {
      if (thread > 0) ++running;
      if (pipeline) {
        Worker alone(team, 0);
        pipeline->run(thread, [&](Index i, Index slice) { run_slice(i, slice, alone); });
      } else {
        Worker worker(team, thread);
        for (Index i = 0; i < layers; ++i) run_slice(i, 0, worker);
      }
      thread > 0 ? void(--running) : wait_for(running, cancellation);
    };
    const Clock::time_point start = Clock::now();
    lease_.run(plan_.threads, body);
    cancellation.check();
    trial_.report(Clock::now() - start);
  }

 private:
  /// Another thread may compute all that is left (see Worker), and the caller alone asks whether it
  /// is to end.
  static void wait_for(const std::atomic<int>& running, Cancellation& cancellation) {
    if (interrupt_source == nullptr || running == 0) return;
    const Clock::time_point start = Clock::now();
    while (running > 0 && !cancellation.requested()) yield_core();
    wait_time.elapsed += Nanoseconds(Clock::now() - start).count();
  }

  ParallelPlan plan_;
  Trial trial_;
  ThreadLease lease_;
};

}  // namespace bptt
