#pragma once

#include <functional>

#include "core/denormals.hpp"
#include "core/parallel/team.hpp"

// The threads of this process. They are not OpenMP's, whose parallel regions end only when every
// thread has come: with another program on one core that is milliseconds after the work is done.
// Here the caller never waits for a thread that has not begun.

namespace bptt {

/// Threads a call of this thread may use: its own limit, else the one of the process, else the
/// cores this process may run on.
int thread_limit();
/// Sets the limit of the process; 0 restores the default.
void set_thread_limit(int threads);
/// Sets the limit of this thread, 0 for none, and returns the one before.
int set_own_thread_limit(int threads);

/// The right to use the threads for one call. Only one call has it at a time, so that calls side by
/// side do not use more threads than there are cores; the others run on their own thread alone.
class Reservation {
 public:
  explicit Reservation(bool wanted);
  ~Reservation();
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;
  bool granted() const { return granted_; }

  /// Runs body(0) on this thread and body(1) … body(threads-1) on others, with denormals flushed,
  /// as soon as the system lets them run. Returns when body(0) has, and those that have begun: what
  /// the others would have done must be done by then. `body` must not throw.
  template <class Body>
  void run(int threads, const Body& body) const {
    if (threads > 1) return run_together(threads, body);
    const FlushDenormals flush;
    body(0);
  }

 private:
  static void run_together(int threads, const std::function<void(int)>& body);

  bool granted_;
};

}  // namespace bptt
