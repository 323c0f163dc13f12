#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/denormals.hpp"
#include "core/parallel/work_time.hpp"

namespace bptt {

class Engine;
struct EngineState;

/// The right to use several threads for one call. Only one call holds it at a time, so that
/// concurrent calls do not use more threads than there are cores; the others run on the calling
/// thread alone.
class ThreadLease {
 public:
  explicit ThreadLease(int wanted);
  ~ThreadLease();
  ThreadLease(const ThreadLease&) = delete;
  ThreadLease& operator=(const ThreadLease&) = delete;

  /// 1 if another call holds the lease; fewer than wanted while cores are busy (backoff.hpp).
  int threads() const { return threads_; }

  /// Runs body(0) on this thread and body(1) … body(threads-1) on others, with denormals flushed
  /// unless told otherwise, as soon as the system schedules them, or never where it refuses to
  /// start a thread. Returns when body(0) and all those that have started have returned: by then
  /// the work of the others must be done. `body` must not throw. At most `threads()`.
  template <class Body>
  void run(int threads, const Body& body, bool flush = true) const {
    if (threads > 1) return run_on_engine(threads, std::cref(body), flush);
    const FlushDenormals mode(flush);
    body(0);
  }

 private:
  void run_on_engine(int threads, const std::function<void(int)>& body, bool flush) const;

  EngineState* held_ = nullptr;
  int wanted_;
  int threads_ = 1;
  Clock::time_point start_;
};

/// Prepares the engines, and for fork. To be called once, before any lease.
void start_engines();
/// Names of the engines in this build, the default first.
std::vector<std::string> engine_names();
/// Name of the engine in use.
std::string engine_name();
/// Uses another engine from the next call on, and forgets how fast calls have been. Throws
/// std::invalid_argument if there is none of this name, or it cannot be used in this process.
void set_engine(const std::string& name);

}  // namespace bptt
