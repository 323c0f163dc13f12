#pragma once

#include <cstdlib>  // defines __GLIBC__ where it is the C library

// glibc allocates the thread-local variables of a module at their first use in a thread, and ends
// the process where there is no memory. Those of the initial-exec model come with the thread's
// stack, so that a thread cannot be started instead. Other C libraries have no such model for what
// Python loads, or do not need it. Only our own variables may have it: those of libstdc++ cannot,
// if another module of the process has used them before.
#if defined(__GLIBC__)
#define BPTT_THREAD_LOCAL thread_local __attribute__((tls_model("initial-exec")))
#else
#define BPTT_THREAD_LOCAL thread_local
#endif
