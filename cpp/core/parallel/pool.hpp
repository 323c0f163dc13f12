#pragma once

#include <functional>

#include "core/denormals.hpp"
#include "core/parallel/team.hpp"

// The thread pool of this process. It is not OpenMP's, whose parallel regions end only when every
// thread has arrived: with another program on one core that is milliseconds after the work is done.
// Here the caller never waits for a thread that has not started.

namespace bptt {

/// Threads that a call on this thread may use: the thread's own limit, else that of the process,
/// else the number of cores this process may run on.
int thread_limit();
/// Sets the limit of the process; 0 restores the default.
void set_thread_limit(int threads);
/// Sets the limit of this thread, 0 for none, and returns the one before.
int set_own_thread_limit(int threads);

/// The right to use the pool for one call. Only one call holds it at a time, so that concurrent
/// calls do not use more threads than there are cores; the others run on the calling thread alone.
class PoolLease {
 public:
  explicit PoolLease(bool wanted);
  ~PoolLease();
  PoolLease(const PoolLease&) = delete;
  PoolLease& operator=(const PoolLease&) = delete;
  bool granted() const { return granted_; }

  /// Runs body(0) on this thread and body(1) … body(threads-1) on others, with denormals flushed
  /// unless told otherwise, as soon as the system schedules them, or never where it refuses to
  /// start a thread. Returns when body(0) and all those that have started have returned: by then
  /// the work of the others must be done. `body` must not throw.
  template <class Body>
  void run(int threads, const Body& body, bool flush = true) const {
    if (threads > 1) return run_on_pool(threads, body, flush);
    const FlushDenormals mode(flush);
    body(0);
  }

 private:
  static void run_on_pool(int threads, const std::function<void(int)>& body, bool flush);

  bool granted_;
};

}  // namespace bptt
