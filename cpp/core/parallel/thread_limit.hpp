#pragma once

namespace bptt {

/// Threads that a call on this thread may use: the thread's own limit, else that of the process,
/// else the number of cores this process may run on; and no more than OpenMP has been told to use.
int thread_limit();
/// Sets the limit of the process; 0 restores the default.
void set_thread_limit(int threads);
/// Sets the limit of this thread, 0 for none, and returns the one before.
int set_own_thread_limit(int threads);

}  // namespace bptt
