#include "core/parallel/engine.hpp"

// The only file that is compiled with OpenMP, and only where BPTT_OPENMP is on.
#if defined(_OPENMP)

#include <dlfcn.h>
#include <omp.h>

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "core/parallel/block_signals.hpp"
#include "core/thread_local.hpp"

namespace bptt {
namespace {

/// Whether the system starts `count` more threads, and has memory for what comes with them. The
/// OpenMP library ends the process where it does not, so we ask first.
bool system_starts(int count) {
  // Stays with malloc when freed: teams take a few kilobytes of it.
  constexpr std::size_t kReserve = 32 << 10;
  void* volatile const reserve = std::malloc(kReserve);
  if (reserve == nullptr) return false;
  std::free(reserve);
  std::mutex running;
  std::vector<std::thread> threads;
  bool started = true;
  {
    const std::lock_guard<std::mutex> all_at_once(running);
    try {
      threads.reserve(static_cast<std::size_t>(count));
      for (int i = 0; i < count; ++i) {
        threads.emplace_back([&running] { const std::lock_guard<std::mutex> wait(running); });
      }
    } catch (const std::exception&) {  // std::system_error, std::bad_alloc
      started = false;
    }
  }
  for (std::thread& thread : threads) thread.join();
  return started;
}

/// One parallel region a call. It ends when every thread of its team has arrived, also those that
/// found nothing left to do.
class OpenMp final : public Engine {
 public:
  const char* name() const override { return "openmp"; }

  bool run(int threads, int team, const std::function<void(int)>& body) override {
    // The library keeps one team for each calling thread. A smaller region would end some of its
    // threads, and the next one start them anew.
    static BPTT_THREAD_LOCAL int kept = 1;
    const int size = std::max(threads, std::min(team, kept));
    std::optional<BlockSignals> inherited;
    if (size > kept) {
      inherited.emplace();
      // A thread that has been joined may count for a moment longer: hence two more.
      constexpr int kMargin = 2;
      if (!system_starts(size - kept + kMargin)) return false;
    }
    kept = size;
#pragma omp parallel num_threads(size)
    {
      const int number = omp_get_thread_num();
      if (number < threads) body(number);
    }
    return true;
  }
};

/// What a thread starts with that has set nothing: the default, whatever this thread has set.
int default_limit() {
  int limit = omp_get_max_threads();
  try {
    std::thread([&limit] { limit = omp_get_max_threads(); }).join();
  } catch (const std::exception&) {
    return limit;
  }
  return limit;
}

}  // namespace

std::unique_ptr<Engine> make_openmp() { return std::make_unique<OpenMp>(); }

std::string openmp_library() {
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&omp_get_max_threads), &info) == 0) return "unknown";
  const std::string path = info.dli_fname;
  return path.substr(path.rfind('/') + 1);
}

int openmp_limit() {
  static const int standard = default_limit();
  const int limit = omp_get_max_threads();
  return limit == standard ? 0 : limit;
}

}  // namespace bptt

#else

namespace bptt {

std::unique_ptr<Engine> make_openmp() { return nullptr; }
std::string openmp_library() { return {}; }
int openmp_limit() { return 0; }

}  // namespace bptt

#endif
