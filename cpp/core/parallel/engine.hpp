#pragma once

#include <functional>
#include <memory>
#include <string>

// What runs a body on several threads. OpenMP is the default; the thread pool serves where OpenMP
// cannot: in builds without it, in a child of fork, and where the system refuses to start threads.

namespace bptt {

class Engine {
 public:
  Engine() = default;
  virtual ~Engine() = default;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  virtual const char* name() const = 0;

  /// Runs body(0) on this thread, and body(1) … body(threads-1) on others as soon as the system
  /// schedules them, or never. Returns when all bodies that have begun are complete. `body` must
  /// not throw. Of the threads of earlier calls, up to `team` may take part without a body. Returns
  /// false, with nothing run, if the system refuses the threads that the engine cannot do without.
  virtual bool run(int threads, int team, const std::function<void(int)>& body) = 0;
};

/// Threads of our own (pool.cpp). The object must outlive its threads, which never end.
std::unique_ptr<Engine> make_pool();

/// Parallel regions (openmp.cpp); null in a build without OpenMP.
std::unique_ptr<Engine> make_openmp();
/// The library that implements OpenMP, such as "libgomp.so.1"; empty in a build without it.
std::string openmp_library();
/// Threads that OpenMP allows a region of this thread, if a program has set that number (as
/// omp_set_num_threads and threadpoolctl do); 0 if it is the default.
int openmp_limit();

}  // namespace bptt
