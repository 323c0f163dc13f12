#pragma once

#include <atomic>
#include <chrono>
#include <exception>

#include "core/parallel/work_time.hpp"
#include "core/thread_local.hpp"

// Long calls end early where their caller wants it, such as after Ctrl-C. The calling thread asks
// between two pieces of work, at most every kInterval, and all threads of the call leave what is
// left of it. What the call has written until then is of no use.

namespace bptt {

/// Thrown by a call that ends early.
struct Interrupted : std::exception {
  const char* what() const noexcept override { return "interrupted"; }
};

/// The caller of a long call.
class InterruptSource {
 public:
  InterruptSource(const InterruptSource&) = delete;
  InterruptSource& operator=(const InterruptSource&) = delete;

  /// Whether the call is to end.
  bool poll() {
    if (requested_ || never_) return requested_;
    if (polls_ < kFreePolls) {  // the whole of a short call, which then reads no clock
      ++polls_;
      return false;
    }
    const Clock::time_point now = Clock::now();
    if (polls_ == kFreePolls) {
      ++polls_;
      next_ = now + kInterval;
    }
    if (now < next_) return false;
    requested_ = ask();
    next_ = Clock::now() + kInterval;
    return requested_;
  }

 protected:
  InterruptSource() = default;
  ~InterruptSource() = default;
  virtual bool ask() = 0;
  /// Do not ask again.
  void stop_asking() { never_ = true; }

 private:
  static constexpr std::chrono::milliseconds kInterval{100};
  static constexpr int kFreePolls = 3;

  bool requested_ = false, never_ = false;
  int polls_ = 0;
  Clock::time_point next_;
};

/// That of the call which this thread has made; null if it is not to be interrupted, and for the
/// other threads of a call.
inline constinit BPTT_THREAD_LOCAL InterruptSource* interrupt_source = nullptr;

inline bool interrupt_pending() { return interrupt_source != nullptr && interrupt_source->poll(); }

/// Whether a call of several threads has been interrupted.
class Cancellation {
 public:
  /// On the calling thread also asks its source.
  bool requested() {
    if (interrupt_pending()) requested_.store(true, std::memory_order_relaxed);
    return requested_.load(std::memory_order_relaxed);
  }
  /// Throws Interrupted if so.
  void check() const {
    if (requested_) throw Interrupted();
  }

 private:
  std::atomic<bool> requested_{false};
};

}  // namespace bptt
