#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "core/parallel/lease.hpp"
#include "core/parallel/thread_limit.hpp"
#include "core/ragged_batch.hpp"
#include "core/types.hpp"

// What the targets are written with: choices and numbers of the fuzzer, arrays of their exact size,
// and checks.

namespace bptt::fuzz {

inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

/// What the fuzzer has made; 0 beyond its end.
class Choices {
 public:
  Choices(const std::uint8_t* data, std::size_t size) : data_(data), end_(data + size) {}
  unsigned byte() { return data_ == end_ ? 0U : *data_++; }
  bool flag() { return (byte() & 1U) != 0; }
  /// In [low, high], mostly near low: such inputs take microseconds, and bounds are there as well.
  Index size(Index low, Index high) {
    const Index way = static_cast<Index>(byte()), count = high - low + 1;
    return low + (way < 248 ? way % std::min<Index>(count, 7) : static_cast<Index>(byte()) % count);
  }
  template <class Kind>
  Kind kind(int count) {
    return static_cast<Kind>(byte() % static_cast<unsigned>(count));
  }

 private:
  const std::uint8_t *data_, *end_;
};

/// Exactly so many elements, on the heap; never null.
template <class T>
class Memory {
 public:
  explicit Memory(Index count, T value = T())
      : size_(count), data_(new T[static_cast<std::size_t>(count)]) {
    std::fill_n(data(), count, value);
  }
  T* data() const { return data_.get(); }
  Index size() const { return size_; }
  T& operator[](Index i) const { return data_[static_cast<std::size_t>(i)]; }

 private:
  Index size_;
  std::unique_ptr<T[]> data_;
};

/// The same bits, or NaN in both.
template <class S>
bool same(const Memory<S>& a, const Memory<S>& b) {
  if (a.size() != b.size()) return false;
  for (Index i = 0; i < a.size(); ++i) {
    if (std::memcmp(&a[i], &b[i], sizeof(S)) == 0) continue;
    if (!(std::isnan(a[i]) && std::isnan(b[i]))) return false;
  }
  return true;
}

template <class S>
bool finite(const Memory<S>& a) {
  return std::all_of(a.data(), a.data() + a.size(), [](S value) { return std::isfinite(value); });
}

/// Where numbers come from: moderate ones, or with `wild` also those at the ends of their range.
class Numbers {
 public:
  explicit Numbers(Choices& choices) : wild(choices.byte() % 4 == 3), state_(choices.byte()) {}

  template <class S>
  S draw(double scale) {
    if (wild && next() % 8 == 0) return extreme<S>();
    return static_cast<S>(scale * (static_cast<double>(next()) / 2147483648.0 - 1));
  }
  template <class S>
  Memory<S> memory(Index count, double scale) {
    Memory<S> values(count);
    for (Index i = 0; i < count; ++i) values[i] = draw<S>(scale);
    return values;
  }
  Index below(Index limit) { return static_cast<Index>(next()) % limit; }

  const bool wild;

 private:
  template <class S>
  S extreme() {
    using Limits = std::numeric_limits<S>;
    const S values[] = {Limits::quiet_NaN(),
                        Limits::infinity(),
                        -Limits::infinity(),
                        Limits::max(),
                        Limits::denorm_min(),
                        -Limits::min() / 3,
                        S(-0.0),
                        Limits::lowest()};
    return values[next() % 8];
  }

  /// D. Knuth's linear congruential generator MMIX; the upper half of its state.
  std::uint32_t next() {
    state_ = state_ * 6364136223846793005U + 1442695040888963407U;
    return static_cast<std::uint32_t>(state_ >> 32U);
  }

  std::uint64_t state_;
};

/// A (batch, step, feature) array to read, with any strides: negative, 0, with gaps.
template <class T>
class Input {
 public:
  template <class Draw>
  Input(Choices& choices, Index batch, Index steps, Index features, Draw draw)
      : Input(strides(choices, batch, steps, features), batch, steps, features) {
    for (Index i = 0; i < memory_.size(); ++i) memory_[i] = draw();
  }
  Sequence<const T> view() const { return read_only(view_); }

 private:
  Input(Sequence<T> strides, Index batch, Index steps, Index features)
      : memory_(span(strides, batch, steps, features)), view_(strides) {
    const auto below = [](Index stride, Index count) {
      return count > 0 ? std::max<Index>(0, -stride * (count - 1)) : 0;
    };
    view_.data = memory_.data() + below(view_.batch_stride, batch) +
                 below(view_.step_stride, steps) + below(view_.feature_stride, features);
  }
  static Index span(Sequence<T> s, Index batch, Index steps, Index features) {
    if (batch * steps * features == 0) return 0;
    return 1 + std::abs(s.batch_stride) * (batch - 1) + std::abs(s.step_stride) * (steps - 1) +
           std::abs(s.feature_stride) * (features - 1);
  }
  static Sequence<T> strides(Choices& choices, Index batch, Index steps, Index features) {
    const unsigned kind = choices.byte();
    Index feature = 1, step = features, row = steps * features;
    if ((kind & 1U) != 0) step = batch * features, row = features;  // time-major
    if ((kind & 2U) != 0) feature = 3, step *= 3, row *= 3;         // gaps
    if ((kind & 4U) != 0) feature = -feature;                       // backwards
    if ((kind & 8U) != 0) step = -step;
    if ((kind & 16U) != 0) row = -row;
    if ((kind & 96U) == 96U) row = 0;  // broadcast
    if ((kind & 160U) == 160U) step = 0;
    if ((kind & 192U) == 192U) feature = 0;
    return {nullptr, row, step, feature};
  }

  Memory<T> memory_;
  Sequence<T> view_;
};

/// A (batch, step, feature) array to write, features adjacent, with a gap between the rows.
template <class S>
class Output {
 public:
  Output(unsigned kind, Index batch, Index steps, Index features)
      : batch_(batch), steps_(steps), features_(features), width_(features + (kind >> 1U) % 4) {
    const bool time_major = (kind & 1U) != 0;
    const Index rows = batch * steps;
    memory = Memory<S>(rows == 0 ? 0 : (rows - 1) * width_ + features, kMark);
    view = {memory.data(), time_major ? width_ : steps * width_,
            time_major ? batch * width_ : width_, 1};
  }
  /// That what lies between the rows is as it was.
  void check_gaps() const {
    for (Index row = 0; row + 1 < batch_ * steps_; ++row) {
      for (Index i = features_; i < width_; ++i) {
        require(memory[row * width_ + i] == kMark, "nothing is written between the rows");
      }
    }
  }

  Memory<S> memory{0};
  Sequence<S> view;

 private:
  static constexpr S kMark = S(-12345);
  Index batch_, steps_, features_, width_;
};

/// Results of one call.
template <class S>
using Results = std::vector<Memory<S>>;

/// The first results are those of the others, which may have further ones.
template <class S>
void require_same(const Results<S>& some, const Results<S>& others, const char* claim) {
  for (std::size_t i = 0; i < some.size(); ++i) require(same(some[i], others[i]), claim);
}

/// call() with one thread and with three has the same results, which are returned.
template <class Call>
auto with_threads(Choices& choices, const Call& call) {
  set_own_thread_limit(1);
  auto results = call();
  if (choices.byte() % 32 == 31) {
    set_engine("pool");  // forgets that cores were busy
    set_own_thread_limit(3);
    const auto again = call();
    require(results.size() == again.size(), "as many results with any number of threads");
    require_same(results, again, "the same bits with any number of threads");
  }
  return results;
}

template <class S>
void require_finite(const Results<S>& results, const Numbers& numbers) {
  if (numbers.wild) return;
  for (const auto& each : results) require(finite(each), "finite results of moderate input");
}

inline Memory<Index> draw_lengths(Choices& choices, Index batch, Index steps) {
  Memory<Index> lengths(batch);
  for (Index i = 0; i < batch; ++i) lengths[i] = choices.size(0, steps);
  return lengths;
}

inline RaggedBatch draw_batch(Choices& choices, Index batch, Index steps) {
  if (batch == 0 || !choices.flag()) return {batch, steps};
  return {batch, steps, draw_lengths(choices, batch, steps).data()};
}

}  // namespace bptt::fuzz
