#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
#endif
#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif

#include "core/parallel/block_signals.hpp"
#include "core/parallel/engine.hpp"
#include "core/parallel/work_time.hpp"

namespace bptt {
namespace {

/// Threads that sleep until there is a job; one job at a time.
///
/// Unlike a parallel region, a call never waits for a thread that has not started: with another
/// program on its core that would be milliseconds after the work is done.
class Pool final : public Engine {
 public:
  const char* name() const override { return "pool"; }

  bool run(int threads, int, const std::function<void(int)>& body) override {
    // A thread that the system refuses is one that does not arrive; the next call asks again.
    while (static_cast<int>(handles_.size()) + 1 < threads && start()) {
    }
    avoid_core_of_caller();
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
    body(0);
    open_ = false;  // threads that have not started by now are not needed
    for (int i = 0; inside_ > 0; ++i) i < kPauses ? spin_pause() : yield_core();
    return true;
  }

 private:
  static constexpr int kPauses = 1000;
  static constexpr int kIdlePauses = 4000;  // some 100 us: the time between two calls in a loop

  /// Starts one more thread; false if the system refuses, or has no memory for what comes with it:
  /// the first use of a thread-local variable allocates with some C libraries, and ends the process
  /// where it cannot. Hence a thread uses one before anything else is allocated.
  bool start() {
    if (!has_memory()) return false;
    const BlockSignals inherited;
    std::atomic<bool> ready{false};
    try {
      handles_.reserve(handles_.size() + 1);
      const int number = static_cast<int>(handles_.size()) + 1;
      std::thread thread([this, number, &ready] {
        wait_time = {};
        ready = true;
        serve(number);
      });
      handles_.push_back(thread.native_handle());
      thread.detach();
    } catch (const std::exception&) {  // std::system_error, std::bad_alloc
      return false;
    }
    while (!ready) yield_core();
    avoided_core_ = kNone;
    return true;
  }

  static bool has_memory() {
#if defined(__unix__) || defined(__APPLE__)
    constexpr std::size_t kReserve = 1 << 20;
    void* const memory =
        mmap(nullptr, kReserve, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return false;
    munmap(memory, kReserve);
#endif
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
      if (open_ && number < threads_) (*body_)(number);
      --inside_;
    }
  }

  std::uint64_t next_job(std::uint64_t seen) {
    for (int i = 0; i < kIdlePauses; ++i) {
      if (job_ != seen) return job_;
      spin_pause();
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
  std::vector<std::thread::native_handle_type> handles_;  // of the threads that were started
  static constexpr int kNone = -1;
  int avoided_core_ = kNone;
};

}  // namespace

std::unique_ptr<Engine> make_pool() { return std::make_unique<Pool>(); }

}  // namespace bptt
