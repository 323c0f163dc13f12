#include "core/parallel/pool.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <signal.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif

namespace bptt {
namespace {

std::atomic<int> process_limit{0};      // 0: the default
thread_local int thread_own_limit = 0;  // 0: none

int cores() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

/// Blocks all signals on this thread for its lifetime; threads started meanwhile inherit that.
class BlockSignals {
 public:
#if defined(__unix__) || defined(__APPLE__)
  BlockSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~BlockSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
#else
  BlockSignals() {}
#endif

 public:
  BlockSignals(const BlockSignals&) = delete;
  BlockSignals& operator=(const BlockSignals&) = delete;
};

/// Threads that sleep until there is a job; one job at a time.
class Pool {
 public:
  std::atomic<bool> leased{false};  // by a PoolLease

  void run(int threads, const std::function<void(int)>& body, bool flush) {
    // A thread that the system refuses is one that does not arrive; the next call asks again.
    while (static_cast<int>(handles_.size()) + 1 < threads && start()) {
    }
    avoid_core_of_caller();
    body_ = &body;
    threads_ = threads;
    flush_ = flush;
    open_ = true;
    ++job_;
    if (asleep_ > 0) {
      {
        const std::lock_guard<std::mutex> lock(mutex_);
      }
      wake_.notify_all();
    }
    {
      const FlushDenormals mode(flush);
      body(0);
    }
    open_ = false;  // threads that have not started by now are not needed
    for (int i = 0; inside_ > 0; ++i) i < kPauses ? Worker::pause() : Worker::yield();
  }

 private:
  static constexpr int kPauses = 1000;
  static constexpr int kIdlePauses = 4000;  // some 100 us: the time between two calls in a loop

  /// Starts one more thread; false if the system refuses.
  bool start() {
    const BlockSignals block;  // signals belong to the program's own threads
    try {
      handles_.reserve(handles_.size() + 1);
      const int number = static_cast<int>(handles_.size()) + 1;
      std::thread thread([this, number] { serve(number); });
      handles_.push_back(thread.native_handle());
      thread.detach();
    } catch (const std::exception&) {  // std::system_error, std::bad_alloc
      return false;
    }
    avoided_core_ = kNone;
    return true;
  }

  /// Keeps the pool off the caller's core, where Linux would wake its threads: for milliseconds two
  /// threads would share that core while another one is idle.
  void avoid_core_of_caller() {
#if defined(__linux__)
    const int core = sched_getcpu();
    cpu_set_t set;
    if (core == avoided_core_ || sched_getaffinity(0, sizeof set, &set) != 0) return;
    if (core < 0 || core >= CPU_SETSIZE || CPU_COUNT(&set) < 2) return;
    CPU_CLR(static_cast<std::size_t>(core), &set);
    for (const auto handle : handles_) pthread_setaffinity_np(handle, sizeof set, &set);
    avoided_core_ = core;
#endif
  }

  [[noreturn]] void serve(int number) {
    for (std::uint64_t seen = 0;;) {
      seen = next_job(seen);
      ++inside_;
      if (open_ && number < threads_) {
        const FlushDenormals mode(flush_);
        (*body_)(number);
      }
      --inside_;
    }
  }

  std::uint64_t next_job(std::uint64_t seen) {
    for (int i = 0; i < kIdlePauses; ++i) {
      if (job_ != seen) return job_;
      Worker::pause();
    }
    std::unique_lock<std::mutex> lock(mutex_);
    ++asleep_;
    wake_.wait(lock, [&] { return job_ != seen; });
    --asleep_;
    return job_;
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<std::uint64_t> job_{0};
  std::atomic<int> asleep_{0}, inside_{0};
  std::atomic<bool> open_{false}, flush_{true};
  std::atomic<int> threads_{0};
  std::atomic<const std::function<void(int)>*> body_{nullptr};
  std::vector<std::thread::native_handle_type> handles_;  // of the threads that were started
  static constexpr int kNone = -1;
  int avoided_core_ = kNone;
};

// Never destroyed: its threads outlive everything. A child of fork has none of them and starts
// its own.
std::atomic<Pool*> current_pool{nullptr};

Pool& pool() {
  static std::once_flag once;
  std::call_once(once, [] {
    current_pool = new Pool;
#if defined(__unix__) || defined(__APPLE__)
    pthread_atfork(nullptr, nullptr, [] { current_pool = new Pool; });
#endif
  });
  return *current_pool;
}

}  // namespace

int thread_limit() {
  if (thread_own_limit > 0) return thread_own_limit;
  const int limit = process_limit;
  return limit > 0 ? limit : cores();
}

void set_thread_limit(int threads) { process_limit = threads; }

int set_own_thread_limit(int threads) {
  const int before = thread_own_limit;
  thread_own_limit = threads;
  return before;
}

PoolLease::PoolLease(bool wanted) : granted_(wanted && !pool().leased.exchange(true)) {}

PoolLease::~PoolLease() {
  if (granted_) pool().leased = false;
}

void PoolLease::run_on_pool(int threads, const std::function<void(int)>& body, bool flush) {
  pool().run(threads, body, flush);
}

}  // namespace bptt
