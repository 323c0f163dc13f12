#pragma once

#include <array>
#include <cmath>
#include <limits>

#include "core/vec.hpp"

// Layer normalization inside a cell, of one row at a time: z = (x - mean) / sqrt(variance +
// epsilon) over all gates of all units. A row is stored as [H/W blocks][gates][W] with H padded to
// whole blocks. Its sums run over packets in order, whatever part of the row a thread goes on with.

namespace bptt {

inline constexpr double kNormalizationEpsilon = 1e-5;

/// The mean of a row, and 1 / sqrt(variance + epsilon).
template <class S>
struct Moments {
  S mean, scale;
  Vec<S> normalize(Vec<S> x) const { return (x - Vec<S>(mean)) * scale; }
};

/// dL/dx = scale * (d - mean(d) - z * mean(d z)), with d = dL/dz.
template <class S>
struct NormalizationGradient {
  S mean, slope, scale;
  Vec<S> operator()(Vec<S> d, Vec<S> z) const { return (d - Vec<S>(mean) - z * slope) * scale; }
};

template <class S>
class NormalizedRow {
 public:
  static constexpr Index kLanes = Vec<S>::kLanes;

  NormalizedRow(Index units, int gates)
      : units_(units), gates_(gates), full_(units / kLanes * gates), rest_(units % kLanes) {}

  Moments<S> moments(const S* x) const {
    const S share = S(1) / count();
    const S mean = share * sums<1>([x](Index at) { return std::array{Vec<S>::load(x + at)}; })[0];
    const S variance = share * sums<1>([x, mean](Index at) {
                         const Vec<S> d = Vec<S>::load(x + at) - Vec<S>(mean);
                         return std::array{d * d};
                       })[0];
    // Squares overflow long before what is normalized does.
    if (!(variance <= std::numeric_limits<S>::max())) return wide_moments(x);
    return {mean, S(1) / std::sqrt(variance + S(kNormalizationEpsilon))};
  }

  /// d(at) and z(at) are the packets of dL/dz and of z that begin at an element of the row.
  template <class D, class Z>
  NormalizationGradient<S> gradient(S scale, D d, Z z) const {
    const std::array<S, 2> total = sums<2>([&](Index at) {
      const Vec<S> here = d(at);
      return std::array{here, here * z(at)};
    });
    const S share = S(1) / count();
    return {total[0] * share, total[1] * share, scale};
  }

 private:
  S count() const { return static_cast<S>(units_ * gates_); }

  /// The sums of term(at), kCount packets, over the units. Several at once, so that additions
  /// overlap.
  template <int kCount, class Term>
  std::array<S, kCount> sums(Term term) const {
    constexpr int kPartial = 4;
    Vec<S> sum[kPartial][kCount];
    for (auto& partial : sum) {
      for (Vec<S>& packet : partial) packet = Vec<S>::zero();
    }
    const auto add = [&](int partial, const std::array<Vec<S>, kCount>& terms) {
      for (int i = 0; i < kCount; ++i) sum[partial][i] += terms[static_cast<std::size_t>(i)];
    };
    Index p = 0;
    for (; p + kPartial <= full_; p += kPartial) {
#pragma GCC unroll 4
      for (int j = 0; j < kPartial; ++j) add(j, term((p + j) * kLanes));
    }
    for (; p < full_; ++p) add(0, term(p * kLanes));
    if (rest_ > 0) {
      constexpr S kOne = 1;
      const Vec<S> real = Vec<S>::load_some(&kOne, 0, rest_);
      for (; p < full_ + gates_; ++p) {
        std::array<Vec<S>, kCount> terms = term(p * kLanes);
        for (Vec<S>& packet : terms) packet = packet * real;
        add(0, terms);
      }
    }
    std::array<S, kCount> total;
    for (int i = 0; i < kCount; ++i) {
      total[static_cast<std::size_t>(i)] =
          sum_of_lanes((sum[0][i] + sum[1][i]) + (sum[2][i] + sum[3][i]));
    }
    return total;
  }

  [[gnu::noinline]] Moments<S> wide_moments(const S* x) const {
    const auto mean_of = [&](auto term) {
      double sum = 0;
      for (Index p = 0; p < full_ + (rest_ > 0 ? gates_ : 0); ++p) {
        const Index lanes = p < full_ ? kLanes : rest_;
        for (Index i = 0; i < lanes; ++i) sum += term(static_cast<double>(x[p * kLanes + i]));
      }
      return sum / static_cast<double>(count());
    };
    const double mean = mean_of([](double value) { return value; });
    const double variance =
        mean_of([mean](double value) { return (value - mean) * (value - mean); });
    return {static_cast<S>(mean),
            static_cast<S>(1.0 / std::sqrt(variance + kNormalizationEpsilon))};
  }

  Index units_;
  int gates_;
  Index full_, rest_;  // packets without padding, units in the packets after them
};

}  // namespace bptt
