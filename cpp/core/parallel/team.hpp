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
    if (size > 1) claims_ = std::make_unique<Claim[]>(static_cast<std::size_t>(size));
  }
  int size() const { return size_; }

 private:
  friend class Worker;
  struct alignas(64) Claim {
    std::atomic<std::uint64_t> loop{0};  // the last loop in which this part was claimed
  };
  static constexpr int kNone = -1;

  const int size_;
  Cancellation* const cancellation_;
  std::unique_ptr<Claim[]> claims_;                      // one a part
  alignas(64) std::atomic<std::uint64_t> completed_{0};  // parts, of all loops
  alignas(64) std::atomic<int> serial_worker_{kNone};    // set by the serial fallback
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
    for (int i = 0; i < parts; ++i) {
      const int part = index_ + i < parts ? index_ + i : index_ + i - parts;
      if (!claim(part)) continue;
      body(part, parts);
      team_.completed_.fetch_add(1, std::memory_order_release);
    }
    wait();
  }

 private:
  static constexpr std::chrono::microseconds kPatience{200};

  /// Whether another worker has fallen back to serial execution: it computes all that is left.
  bool superseded() const {
    const int serial = team_.serial_worker_.load(std::memory_order_relaxed);
    return serial != Team::kNone && serial != index_;
  }

  bool claim(int part) {
    std::atomic<std::uint64_t>& claimed = team_.claims_[static_cast<std::size_t>(part)].loop;
    std::uint64_t before = loop_ - 1;
    return claimed.load(std::memory_order_relaxed) == before &&
           claimed.compare_exchange_strong(before, loop_, std::memory_order_relaxed);
  }

  void wait() {
    const std::uint64_t all = loop_ * static_cast<std::uint64_t>(team_.size_);
    const Clock::duration before = waited_;
    wait_until([&] { return complete(all); },
               [&](Clock::duration waited) {
                 cancelled();  // so that the others see it
                 waited_ = before + waited;
                 // Nearly half of the time has gone into waiting: one thread alone is as fast.
                 const Clock::duration elapsed = Clock::now() - start_;
                 if (waited_ > kPatience + elapsed * 2 / 5) fall_back_to_serial();
               });
  }

  bool complete(std::uint64_t parts) const {
    return team_.completed_.load(std::memory_order_acquire) >= parts;
  }

  void fall_back_to_serial() {
    int none = Team::kNone;
    team_.serial_worker_.compare_exchange_strong(none, index_, std::memory_order_relaxed);
  }

  Team& team_;
  const int index_;
  std::uint64_t loop_ = 0;
  const Clock::time_point start_;
  Clock::duration waited_{0};
};

}  // namespace bptt
