#include "core/parallel/pool.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
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

std::atomic<int> process_limit{0};  // 0: the default
thread_local int own_limit = 0;     // 0: none

int cores() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

/// Threads that sleep until there is a job, and the one job at a time that they have.
class Pool {
 public:
  std::atomic<bool> taken{false};  // by a Reservation

  void run(int threads, const std::function<void(int)>& body) {
    while (started_ + 1 < threads) start();
    leave_core();
    body_ = &body;
    threads_ = threads;
    open_ = true;
    ++job_;
    if (asleep_ > 0) {
      {
        const std::lock_guard<std::mutex> lock(mutex_);
      }
      wake_.notify_all();
    }
    {
      const FlushDenormals flush;
      body(0);
    }
    open_ = false;  // who has not begun by now need not
    for (int i = 0; inside_ > 0; ++i) i < kPauses ? Member::pause() : Member::yield();
  }

 private:
  static constexpr int kPauses = 1000;
  static constexpr int kIdlePauses = 4000;  // some 100 us: the time between two calls in a loop

  void start() {
    const int number = ++started_;
#if defined(__unix__) || defined(__APPLE__)
    sigset_t all, before;  // signals belong to the program's own threads
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
#endif
    std::thread thread([this, number] { serve(number); });
    handles_.push_back(thread.native_handle());
    thread.detach();
    left_core_ = kNone;
#if defined(__unix__) || defined(__APPLE__)
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
#endif
  }

  /// Keeps the other threads off the caller's core, where Linux would wake them: for milliseconds
  /// the two would take turns beside an idle core.
  void leave_core() {
#if defined(__linux__)
    const int core = sched_getcpu();
    cpu_set_t set;
    if (core == left_core_ || sched_getaffinity(0, sizeof set, &set) != 0) return;
    if (core < 0 || core >= CPU_SETSIZE || CPU_COUNT(&set) < 2) return;
    CPU_CLR(static_cast<std::size_t>(core), &set);
    for (const auto handle : handles_) pthread_setaffinity_np(handle, sizeof set, &set);
    left_core_ = core;
#endif
  }

  [[noreturn]] void serve(int number) {
    for (std::uint64_t seen = 0;;) {
      seen = next_job(seen);
      ++inside_;
      if (open_ && number < threads_) {
        const FlushDenormals flush;
        (*body_)(number);
      }
      --inside_;
    }
  }

  std::uint64_t next_job(std::uint64_t seen) {
    for (int i = 0; i < kIdlePauses; ++i) {
      if (job_ != seen) return job_;
      Member::pause();
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
  std::atomic<bool> open_{false};
  std::atomic<int> threads_{0};
  std::atomic<const std::function<void(int)>*> body_{nullptr};
  int started_ = 0;
  std::vector<std::thread::native_handle_type> handles_;
  static constexpr int kNone = -1;
  int left_core_ = kNone;
};

// Never destroyed: its threads outlive everything. A child of fork has none of them and begins
// anew.
std::atomic<Pool*> pool{nullptr};

Pool& the_pool() {
  static std::once_flag once;
  std::call_once(once, [] {
    pool = new Pool;
#if defined(__unix__) || defined(__APPLE__)
    pthread_atfork(nullptr, nullptr, [] { pool = new Pool; });
#endif
  });
  return *pool;
}

}  // namespace

int thread_limit() {
  if (own_limit > 0) return own_limit;
  const int limit = process_limit;
  return limit > 0 ? limit : cores();
}

void set_thread_limit(int threads) { process_limit = threads; }

int set_own_thread_limit(int threads) {
  const int before = own_limit;
  own_limit = threads;
  return before;
}

Reservation::Reservation(bool wanted) : granted_(wanted && !the_pool().taken.exchange(true)) {}

Reservation::~Reservation() {
  if (granted_) the_pool().taken = false;
}

void Reservation::run_together(int threads, const std::function<void(int)>& body) {
  the_pool().run(threads, body);
}

}  // namespace bptt
