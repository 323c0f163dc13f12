#pragma once

#include <algorithm>

#include "core/parallel/work_time.hpp"

namespace bptt {

/// Fewer threads for a while after regions that were slower than one thread.
///
/// Where another program, or the spinning threads of another library, occupy a core, a region ends
/// as late as its last thread. What one thread would have taken is known: the time that the threads
/// have worked, without their waiting for each other and for a core. When the time beyond that adds
/// up to a quarter of a region, the next calls use fewer threads, until they have taken four times
/// as long as that region. If the first regions afterwards are late again, the pause doubles, up to
/// 128 times: a core that stays busy then costs one late region in more than a hundred.
class Backoff {
 public:
  /// Threads for a call that could use `wanted`.
  int allowed(int wanted, Clock::time_point now) const {
    return restrained(now) ? std::max(1, wanted - withheld_) : wanted;
  }

  /// After a call with fewer threads than it could use.
  void spend(Nanoseconds elapsed) { remaining_ -= elapsed; }

  /// After a region that began at `start`, in which threads have worked for `work` in all.
  void report(Clock::time_point start, Clock::time_point end, Nanoseconds work) {
    const Nanoseconds elapsed = end - start;
    const bool fewer = restrained(end);
    if (!fewer) undisturbed_ += elapsed;
    // A region may well take as long as one thread: hence a tenth more before it counts.
    excess_ = std::max(Nanoseconds{0}, excess_ + elapsed - work - work / 10);
    if (excess_ <= kNoise + elapsed / 4) return;
    excess_ = Nanoseconds{0};
    if (fewer) {  // and still too many
      withheld_ = std::min(2 * withheld_ + 1, kMaxWithheld);
    } else if (undisturbed_ < pause_) {
      level_ = std::min(level_ + 1, kMaxLevel);
    } else {
      level_ = 0;
      withheld_ = 1;
    }
    pause_ = remaining_ = 4 * elapsed * (1 << level_);
    expiry_ = end + kMaxPause;
    undisturbed_ = Nanoseconds{0};
  }

 private:
  static constexpr Nanoseconds kNoise{50'000};  // of a region; waking a thread takes as long
  static constexpr int kMaxLevel = 5;
  static constexpr int kMaxWithheld = 1 << 20;
  static constexpr std::chrono::seconds kMaxPause{30};

  bool restrained(Clock::time_point now) const {
    return remaining_ > Nanoseconds{0} && now < expiry_;
  }

  int withheld_ = 1;
  int level_ = 0;
  Nanoseconds excess_{0};       // beyond the time of one thread, of recent regions
  Nanoseconds pause_{0};        // the last one, in time of calls
  Nanoseconds remaining_{0};    // what is left of it
  Nanoseconds undisturbed_{0};  // time of regions since then
  Clock::time_point expiry_;
};

}  // namespace bptt
