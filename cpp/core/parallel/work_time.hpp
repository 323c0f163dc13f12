#pragma once

#include <chrono>
#include <cstdint>

#if defined(__SSE2__)
#include <immintrin.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <sched.h>
#include <time.h>
#endif

#include "core/thread_local.hpp"

// Time that threads work and time that they wait for each other, in nanoseconds.

namespace bptt {

using Clock = std::chrono::steady_clock;
using Nanoseconds = std::chrono::nanoseconds;

/// A hint to the processor that this thread spins.
inline void spin_pause() {
#if defined(__SSE2__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Lets other threads have this core.
inline void yield_core() {
#if defined(__unix__) || defined(__APPLE__)
  sched_yield();
#endif
}

/// Processor time of this thread.
inline Nanoseconds processor_time() {
#if defined(CLOCK_THREAD_CPUTIME_ID)
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + Nanoseconds(time.tv_nsec);
#else
  return Clock::now().time_since_epoch();
#endif
}

/// Time that a thread has waited for others in the teams it was in.
struct WaitTime {
  std::int64_t pauses = 0;         // of short waits, too short for a clock
  Nanoseconds::rep elapsed = 0;    // of longer ones
  Nanoseconds::rep processor = 0;  // the same in processor time
};
inline constinit BPTT_THREAD_LOCAL WaitTime wait_time;

/// Returns once done(): spins for tens of microseconds, as parts of a step take less, then lets
/// other threads have the core, and calls meanwhile(time waited so far).
template <class Done, class Meanwhile>
void wait_until(const Done& done, const Meanwhile& meanwhile) {
  constexpr int kPauses = 1000;
  for (int i = 0; i < kPauses; ++i) {
    if (done()) return;
    spin_pause();
    ++wait_time.pauses;
  }
  const Clock::time_point start = Clock::now();
  const Nanoseconds processor = processor_time();
  Clock::duration waited{0};
  while (!done()) {
    yield_core();
    waited = Clock::now() - start;
    meanwhile(waited);
  }
  wait_time.elapsed += Nanoseconds(waited).count();
  wait_time.processor += (processor_time() - processor).count();
}

}  // namespace bptt
