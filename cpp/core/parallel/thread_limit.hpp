#pragma once

namespace bptt {

/// Threads that a call on this thread may use: the thread's own limit, else that of the process,
/// else the number of cores this process may run on; and no more than OpenMP has been told to use.
int thread_limit();
/// The same, but no more than there are cores: threads that share a core delay each other.
int usable_threads();
/// Whether calls may use more threads than there are cores, for tests.
void set_oversubscription(bool allowed);
/// Sets the limit of the process; 0 restores the default.
void set_thread_limit(int threads);
/// Sets the limit of this thread, 0 for none, and returns the one before.
int set_own_thread_limit(int threads);
/// Sets the number of cores whose time the process may use, if it is limited; 0 if not.
void set_core_quota(int cores);

}  // namespace bptt
