// Trials with given times of calls, for tests/_core/test_trials.py.

#include "core/parallel/trials.hpp"

#include <cmath>

namespace {

constexpr bptt::Index kRows = 100;
bptt::Trials trials_of_test;

bptt::CallShape shape_of(int shape) {
  return {.row_operations = static_cast<double>(shape), .batch_size = 1, .threads = 2};
}

}  // namespace

extern "C" {

void forget() { trials_of_test.forget(); }

/// After a call of some ns.
void report(int shape, bool one_thread, double time) {
  trials_of_test.report(shape_of(shape), one_thread, kRows, bptt::Nanoseconds(std::lround(time)));
}

/// Makes calls of a shape, in ns on one thread and on several, and returns how many have run on one
/// thread. Every period-th call is disturbed, and takes ten times as long.
int run(int shape, int calls, double one_thread, double several, int period) {
  int count = 0;
  for (int i = 1; i <= calls; ++i) {
    const bool one = trials_of_test.prefer_one_thread(shape_of(shape));
    report(shape, one, (one ? one_thread : several) * (period > 0 && i % period == 0 ? 10 : 1));
    count += one;
  }
  return count;
}
}
