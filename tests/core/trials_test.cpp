// Trials with given times of calls, for tests/_core/test_trials.py.

#include "core/parallel/trials.hpp"

#include <cmath>

namespace {

bptt::Trials simulated;

}  // namespace

extern "C" {

/// Makes calls of a shape, in ns on one thread and on several, and returns how many have run on one
/// thread. Every period-th call is disturbed, and takes ten times as long.
int run(int shape, int calls, double one_thread, double several, int period) {
  constexpr bptt::Index kRows = 100;
  const bptt::CallShape of{static_cast<double>(shape), 1, 6, 4, 2, bptt::CallShape::Pass::kInference};
  int count = 0;
  for (int i = 1; i <= calls; ++i) {
    const bool one = simulated.prefer_one_thread(of);
    const double time = (one ? one_thread : several) * (period > 0 && i % period == 0 ? 10 : 1);
    simulated.report(of, one, kRows, bptt::Nanoseconds(std::lround(time)));
    count += one;
  }
  return count;
}
}
