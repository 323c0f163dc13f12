#pragma once

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <signal.h>
#endif

namespace bptt {

/// Blocks all signals on this thread for its lifetime. Threads started meanwhile inherit that:
/// signals belong to the program's own threads.
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

}  // namespace bptt
