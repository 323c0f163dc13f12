#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>

#include "core/interruption.hpp"
#include "core/parallel/work_time.hpp"

// A team of threads that run the same loops together. Every loop is cut into as many parts as there
// are threads. Which thread computes a part is open; what the part is, is fixed. A thread claims
// its own part first, whose weights are in its cache, then the parts of threads that have not
// arrived yet: a thread that the system has descheduled delays the others only while it holds a
// part.

namespace bptt {

class Team {
 public:
  /// With a cancellation, parts are left out once it is requested.
  explicit Team(int size, Cancellation* cancellation = nullptr)
      : size_(size), cancellation_(cancellation) {
    if (size > 1) parts_ = std::make_unique<Part[]>(static_cast<std::size_t>(size));
  }
  int size() const { return size_; }

 private:
  friend class Worker;
  // Processors fetch cache lines in pairs.
  static constexpr std::size_t kLinePair = 128;
  /// The last loop in which a part was claimed, and completed. Only the latter is read by other
  /// threads at every loop.
  struct Part {
    alignas(kLinePair) std::atomic<std::uint64_t> claimed{0};
    alignas(kLinePair) std::atomic<std::uint64_t> completed{0};
  };
  static constexpr int kNone = -1;

  const int size_;
  Cancellation* const cancellation_;
  std::unique_ptr<Part[]> parts_;
  alignas(kLinePair) std::atomic<int> serial_worker_{kNone};  // set by the serial fallback
};

/// One thread's place in a team.
class Worker {
 public:
  Worker(Team& team, int index)
      : team_(team), index_(index), start_(team.size() > 1 ? Clock::now() : Clock::time_point()) {}
  int size() const { return team_.size_; }

  /// Whether the call has been interrupted: asked between pieces of work, by bodies that take long.
  bool cancelled() const {
    return team_.cancellation_ != nullptr && team_.cancellation_->requested();
  }

  /// Calls body(part, parts) for the parts that this thread claims; returns when all parts are
  /// complete. Every worker of the team must make the same calls in the same order.
  template <class Body>
  void parallel_for(Body body) {
    const int parts = team_.size_;
    if (cancelled()) return;
    if (parts == 1) {
      body(0, 1);
      return;
    }
    if (superseded()) return;
    ++loop_;
    parts_complete_ = 0;
    compute(index_, body);
    if (!others_are_late_ && complete_soon()) return;
    others_are_late_ = false;
    for (int i = 1; i < parts; ++i) others_are_late_ |= compute(part_after(i), body);
    wait();
  }

 private:
  static constexpr std::chrono::microseconds kPatience{200};

  /// Whether another worker has fallen back to serial execution: it computes all that is left.
  bool superseded() const {
    const int serial = team_.serial_worker_.load(std::memory_order_relaxed);
    return serial != Team::kNone && serial != index_;
  }

  /// The i-th part, counted from this thread's own.
  int part_after(int i) const {
    return index_ + i < team_.size_ ? index_ + i : index_ + i - team_.size_;
  }
  Team::Part& state_of(int part) { return team_.parts_[static_cast<std::size_t>(part)]; }

  /// Computes a part, unless another thread has claimed it.
  template <class Body>
  bool compute(int index, Body& body) {
    Team::Part& part = state_of(index);
    std::uint64_t before = loop_ - 1;
    if (part.claimed.load(std::memory_order_relaxed) != before ||
        !part.claimed.compare_exchange_strong(before, loop_, std::memory_order_relaxed)) {
      return false;
    }
    body(index, team_.size_);
    part.completed.store(loop_, std::memory_order_release);
    return true;
  }

  /// Threads that compute arrive together, and a look at a claim takes its cache line away from its
  /// owner.
  bool complete_soon() {
    constexpr int kPauses = 20;
    for (int i = 0; i < kPauses; ++i) {
      if (complete()) return true;
      spin_pause();
      ++wait_time.pauses;
    }
    return false;
  }

  void wait() {
    const Clock::duration before = waited_;
    wait_until([&] { return complete(); },
               [&](Clock::duration waited) {
                 cancelled();  // so that the others see it
                 waited_ = before + waited;
                 // Nearly half of the time has gone into waiting: one thread alone is as fast.
                 const Clock::duration elapsed = Clock::now() - start_;
                 if (waited_ > kPatience + elapsed * 2 / 5) fall_back_to_serial();
               });
  }

  /// Whether all parts of this loop are.
  bool complete() {
    while (state_of(part_after(parts_complete_)).completed.load(std::memory_order_acquire) >=
           loop_) {
      if (++parts_complete_ == team_.size_) return true;
    }
    return false;
  }

  void fall_back_to_serial() {
    int none = Team::kNone;
    team_.serial_worker_.compare_exchange_strong(none, index_, std::memory_order_relaxed);
  }

  Team& team_;
  const int index_;
  std::uint64_t loop_ = 0;
  int parts_complete_ = 0;       // of this loop, from this thread's own on
  bool others_are_late_ = true;  // as at first, when they wake up
  const Clock::time_point start_;
  Clock::duration waited_{0};
};

}  // namespace bptt
