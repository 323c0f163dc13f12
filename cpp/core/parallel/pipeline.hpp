#pragma once

#include <atomic>
#include <memory>

#include "core/interruption.hpp"
#include "core/parallel/work_time.hpp"
#include "core/ragged_batch.hpp"

namespace bptt {

/// Stages side by side: every stage computes the same slices in the same order, and may begin one
/// as soon as the stage before has finished it. The threads share no barrier.
///
/// Which thread computes a slice is open. A thread prefers its own stages, whose weights are in its
/// cache, and takes others if it would wait: threads that the system has not scheduled, or refused,
/// delay nothing but the slice they have begun.
class Pipeline {
 public:
  Pipeline(Index stages, Index slices, int threads, Cancellation& cancellation)
      : count_(stages),
        slices_(slices),
        threads_(threads),
        cancellation_(cancellation),
        stages_(std::make_unique<Stage[]>(static_cast<std::size_t>(stages))) {}

  /// Calls body(stage, slice) until all slices are complete: by all threads of the pipeline.
  template <class Body>
  void run(int thread, Body body) {
    const Range own = part_of(count_, thread, threads_), all{0, count_};
    while (true) {
      Index stage = kNone;
      bool patient = finished(own.last - 1, std::memory_order_relaxed) < slices_;
      wait_until(
          [&] {
            stage = begin(patient ? own : all);
            return stage != kNone || complete() || cancellation_.requested();
          },
          [&](Clock::duration) { patient = false; });
      if (stage == kNone) return;
      Stage& taken = stages_[static_cast<std::size_t>(stage)];
      const Index slice = taken.finished.load(std::memory_order_relaxed);
      body(stage, slice);
      taken.finished.store(slice + 1, std::memory_order_release);
      taken.busy.store(false, std::memory_order_release);
    }
  }

 private:
  struct alignas(64) Stage {
    std::atomic<Index> finished{0};  // slices
    std::atomic<bool> busy{false};
  };
  static constexpr Index kNone = -1;

  /// The last of some stages that can go on, for this thread alone; kNone if there is none.
  Index begin(Range stages) {
    for (Index i = stages.last - 1; i >= stages.first; --i) {
      std::atomic<bool>& busy = stages_[static_cast<std::size_t>(i)].busy;
      if (!ready(i) || busy.exchange(true, std::memory_order_acquire)) continue;
      if (ready(i)) return i;  // still: another thread may have taken that slice in between
      busy.store(false, std::memory_order_release);
    }
    return kNone;
  }

  bool ready(Index stage) const {
    const Index next = finished(stage, std::memory_order_relaxed);
    if (next == slices_) return false;
    return stage == 0 || finished(stage - 1, std::memory_order_acquire) > next;
  }
  bool complete() const { return finished(count_ - 1, std::memory_order_acquire) == slices_; }
  Index finished(Index stage, std::memory_order order) const {
    return stages_[static_cast<std::size_t>(stage)].finished.load(order);
  }

  const Index count_, slices_;
  const int threads_;
  Cancellation& cancellation_;
  std::unique_ptr<Stage[]> stages_;
};

}  // namespace bptt
