#include "core/parallel/lease.hpp"

#include <algorithm>
#include <atomic>
#include <memory>
#include <stdexcept>
#include <utility>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

#include "core/parallel/backoff.hpp"
#include "core/parallel/engine.hpp"
#include "core/parallel/thread_limit.hpp"
#include "core/parallel/trials.hpp"

namespace bptt {

/// The engines of this process. What is not atomic belongs to the holder of the lease.
struct EngineState {
  std::unique_ptr<Engine> openmp;  // null where it cannot be used
  std::unique_ptr<Engine> pool = make_pool();
  std::atomic<Engine*> engine;  // one of them
  std::atomic<bool> leased{false};
  Backoff backoff;

  explicit EngineState(std::unique_ptr<Engine> regions)
      : openmp(std::move(regions)), engine(openmp ? openmp.get() : pool.get()) {}
};

namespace {

std::atomic<EngineState*> state{nullptr};  // never destroyed: threads outlive everything

constexpr int kPauses = 200;
Nanoseconds pause_time;  // of kPauses calls of spin_pause

Nanoseconds measure_pauses() {
  Nanoseconds shortest = Nanoseconds::max();
  for (int i = 0; i < 5; ++i) {
    const Clock::time_point start = Clock::now();
    for (int k = 0; k < kPauses; ++k) spin_pause();
    shortest = std::min<Nanoseconds>(shortest, Clock::now() - start);
  }
  return shortest;
}

/// Measures how long this thread works, which is the time without what it waits for others.
class WorkTimer {
 public:
  /// The caller counts the time without its core, which one thread alone would also have lost. The
  /// others do not.
  explicit WorkTimer(bool caller) : caller_(caller), waited_(waited()), start_(now()) {}

  Nanoseconds elapsed() const {
    return std::max(Nanoseconds{0}, now() - start_ - (waited() - waited_));
  }

 private:
  Nanoseconds now() const { return caller_ ? Clock::now().time_since_epoch() : processor_time(); }
  Nanoseconds waited() const {
    return Nanoseconds(caller_ ? wait_time.elapsed : wait_time.processor) +
           wait_time.pauses * pause_time / kPauses;
  }

  const bool caller_;
  const Nanoseconds waited_, start_;
};

}  // namespace

ThreadLease::ThreadLease(int wanted) : wanted_(wanted) {
  if (wanted < 2) return;
  EngineState* const current = state;
  if (current->leased.exchange(true)) return;
  held_ = current;
  start_ = Clock::now();
  threads_ = held_->backoff.allowed(wanted, start_);
}

ThreadLease::~ThreadLease() {
  if (held_ == nullptr) return;
  if (threads_ < wanted_) held_->backoff.spend(Clock::now() - start_);
  held_->leased = false;
}

void ThreadLease::run_on_engine(int threads, const std::function<void(int)>& body,
                                bool flush) const {
  std::atomic<Nanoseconds::rep> work{0};
  const auto timed = [&](int thread) {
    const FlushDenormals mode(flush);
    const WorkTimer timer(thread == 0);
    body(thread);
    work.fetch_add(timer.elapsed().count(), std::memory_order_relaxed);
  };
  const int team = std::max(threads, usable_threads() - (wanted_ - threads_));
  const Clock::time_point start = Clock::now();
  if (!held_->engine.load()->run(threads, team, std::cref(timed))) {
    held_->engine = held_->pool.get();  // from now on: the system may refuse threads again
    held_->pool->run(threads, team, std::cref(timed));
  }
  held_->backoff.report(start, Clock::now(), Nanoseconds(work.load()));
}

void start_engines() {
  pause_time = measure_pauses();
  openmp_limit();  // finds out what the default is
  state = new EngineState(make_openmp());
#if defined(__unix__) || defined(__APPLE__)
  // A child of fork has none of its parent's threads, and the OpenMP library does not know that.
  pthread_atfork(nullptr, nullptr, [] { state = new EngineState(nullptr); });
#endif
}

std::vector<std::string> engine_names() {
  std::vector<std::string> names;
  for (const auto& engine : {make_openmp(), make_pool()}) {
    if (engine) names.emplace_back(engine->name());
  }
  return names;
}

std::string engine_name() { return state.load()->engine.load()->name(); }

void set_engine(const std::string& name) {
  EngineState& current = *state;
  Engine* const engine = name == current.pool->name() ? current.pool.get() : current.openmp.get();
  if (engine == nullptr || engine->name() != name) {
    throw std::invalid_argument("thread engine must be one that this process can use, got '" +
                                name + "'");
  }
  while (current.leased.exchange(true)) yield_core();
  current.engine = engine;
  current.backoff = Backoff();
  trials.forget();
  current.leased = false;
}

}  // namespace bptt
