#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <limits>

#include "core/parallel/plan.hpp"
#include "core/parallel/work_time.hpp"

namespace bptt {

/// What calls have in common that take about the same time for each row.
struct CallShape {
  enum class Pass { kInference, kTraining, kBackward };

  double row_operations = 0;
  Index batch_size = 0;
  int log2_rows = 0;     // of all steps, rounded down
  int element_size = 0;  // bytes of a number
  int threads = 0;
  Pass pass{};
  bool operator==(const CallShape&) const = default;
};

/// Whether one thread is faster than several, for calls that come again and again.
///
/// What it costs threads to wait for each other and to read what another has written depends on the
/// cores that the system has put them on: two that share a cache exchange a line of it in some 50
/// ns, others in ten times as much, and a hypervisor may move virtual cores at any time. So the
/// other way is tried for two calls: after the first calls, when calls have become slower, and from
/// time to time, so rarely that trials cost one percent of the time where one thread is faster, and
/// a thousandth where several are.
class Trials {
 public:
  /// For a call that is about to begin.
  bool prefer_one_thread(const CallShape& shape) {
    const Lock lock(busy_);
    if (!lock.held) return false;
    const Entry& entry = find(shape);
    return entry.one_thread != entry.trying();
  }

  /// After a call of `rows` rows.
  void report(const CallShape& shape, bool one_thread, Index rows, Nanoseconds elapsed) {
    const Lock lock(busy_);
    if (!lock.held) return;
    Entry& entry = find(shape);
    const auto count = static_cast<double>(rows);
    const double time = static_cast<double>(elapsed.count()) / count;
    if (one_thread == entry.one_thread) {
      entry.report(time, count);
    } else if (entry.trying()) {  // a call that began before a change says nothing
      entry.report_trial(time, count);
    }
  }

  void forget() {
    while (busy_.test_and_set(std::memory_order_acquire)) spin_pause();
    entries_ = {};
    busy_.clear(std::memory_order_release);
  }

 private:
  static constexpr int kTrialCalls = 2;
  static constexpr double kFaster = 0.95;     // trials that are
  static constexpr double kSlower = 1.25;     // calls that have become so
  static constexpr double kMostSlower = 1.3;  // what a single call counts
  static constexpr double kRare = 100;        // time between trials, relative to what one costs
  static constexpr double kFirst = 20;        // calls before the first trial, and between two
  static constexpr double kLongest = 30e9;    // time between trials, in ns

  struct Entry {
    CallShape shape;
    bool one_thread = false;    // the way in use
    double usual = 0;           // time of a row, smoothed, in ns
    double reference = 0;       // the least of it since the last trial
    double since_trial = 0;     // time of calls since then, in ns
    double interval = 0;        // the least time from one trial to the next
    int trials_left = 0;        // calls
    double shortest_trial = 0;  // time of a row

    bool trying() const { return trials_left > 0; }

    void report(double time, double rows) {
      if (usual == 0) {
        usual = reference = time;
        interval = kFirst * time * rows / 10;
      }
      usual += (std::min(time, kMostSlower * usual) - usual) / 8;
      reference = std::min(reference, usual);
      since_trial += time * rows;
      const bool patient = !one_thread && usual < kSlower * reference;
      if (trying() || since_trial < std::min(interval * (patient ? 10 : 1), kLongest)) return;
      trials_left = kTrialCalls;
      shortest_trial = std::numeric_limits<double>::infinity();
    }

    void report_trial(double time, double rows) {
      shortest_trial = std::min(time, shortest_trial);
      if (--trials_left > 0) return;
      const double cost = kTrialCalls * std::abs(shortest_trial - usual);
      if (shortest_trial < kFaster * usual) {
        one_thread = !one_thread;
        usual = shortest_trial;
      }
      reference = usual;
      since_trial = 0;
      interval = std::max(kRare * cost, kFirst * usual) * rows;
    }
  };

  /// Another thread holds it only for a moment: nobody waits.
  struct Lock {
    explicit Lock(std::atomic_flag& flag) : busy(flag), held(!flag.test_and_set(order)) {}
    ~Lock() {
      if (held) busy.clear(std::memory_order_release);
    }
    static constexpr std::memory_order order = std::memory_order_acquire;
    std::atomic_flag& busy;
    const bool held;
  };

  /// The entry of a shape, new in the place of the oldest if there is none.
  Entry& find(const CallShape& shape) {
    const auto found = std::find_if(entries_.begin(), entries_.end(),
                                    [&](const Entry& entry) { return entry.shape == shape; });
    if (found != entries_.end()) return *found;
    Entry& entry = entries_[next_++ % entries_.size()];
    entry = {.shape = shape};
    return entry;
  }

  std::array<Entry, 32> entries_{};
  std::size_t next_ = 0;
  std::atomic_flag busy_;
};

inline constinit Trials trials;

/// One call, if several threads may be slower for it: a short one.
class Trial {
 public:
  Trial(const ParallelPlan& plan, const RaggedBatch& batch, CallShape::Pass pass, int element_size)
      : rows_(batch.total_rows()) {
    constexpr double kLongCall = 2e9;  // operations
    active_ = plan.threads > 1 && plan.row_operations * static_cast<double>(rows_) < kLongCall;
    if (!active_) return;
    shape_ = {plan.row_operations, batch.size(), std::ilogb(static_cast<double>(rows_)),
              element_size,        plan.threads, pass};
    one_thread_ = trials.prefer_one_thread(shape_);
  }
  bool one_thread() const { return one_thread_; }
  /// The call has not got its threads, and says nothing.
  void cancel() { active_ = false; }
  void report(Nanoseconds elapsed) const {
    if (active_) trials.report(shape_, one_thread_, rows_, elapsed);
  }

 private:
  const Index rows_;
  bool active_ = false, one_thread_ = false;
  CallShape shape_;
};

}  // namespace bptt
