#include "core/parallel/thread_limit.hpp"

#include <algorithm>
#include <atomic>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

#include "core/parallel/engine.hpp"
#include "core/thread_local.hpp"

namespace bptt {
namespace {

std::atomic<int> process_limit{0};  // 0: the default
std::atomic<int> core_quota{0};     // 0: none
std::atomic<bool> may_oversubscribe{false};
BPTT_THREAD_LOCAL int thread_own_limit = 0;  // 0: none

int cores_to_run_on() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

int cores() {
  const int quota = core_quota, available = cores_to_run_on();
  return quota > 0 ? std::min(quota, available) : available;
}

int own_limit() {
  if (thread_own_limit > 0) return thread_own_limit;
  const int limit = process_limit;
  return limit > 0 ? limit : cores();
}

}  // namespace

int thread_limit() {
  const int limit = own_limit(), shared = openmp_limit();
  return shared > 0 ? std::min(limit, shared) : limit;
}

int usable_threads() {
  const int limit = thread_limit();
  return limit < 2 || may_oversubscribe ? limit : std::min(limit, cores());
}

void set_oversubscription(bool allowed) { may_oversubscribe = allowed; }

void set_core_quota(int cores) { core_quota = cores; }

void set_thread_limit(int threads) { process_limit = threads; }

int set_own_thread_limit(int threads) {
  const int before = thread_own_limit;
  thread_own_limit = threads;
  return before;
}

}  // namespace bptt
