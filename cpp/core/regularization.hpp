#pragma once

#include "core/dropout.hpp"

// What regularizes the recurrence of any cell, outside its equations: zoneout and recurrent
// dropout. As for dropout, every mask is a function of the call's key and of what it belongs to, so
// that backward, recomputation and any number of threads see the same.
//
//   D. Krueger et al. (2017), Zoneout: regularizing RNNs by randomly preserving hidden activations.
//   Y. Gal and Z. Ghahramani (2016), A theoretically grounded application of dropout in recurrent
//   neural networks.

namespace bptt {

/// Of one direction of one layer, in one call.
struct Regularization {
  double zoneout = 0.0;            // the fraction of a state's units that keep their previous value
  double recurrent_dropout = 0.0;  // the fraction of h_{t-1} that the recurrent weights do not see
  bool random = false;             // otherwise the expected values
  std::uint64_t key = 0;
  Index direction = 0;   // layer * directions + direction
  Index first_step = 0;  // of the batch, if it is a slice of a longer one

  bool zones_out() const { return zoneout > 0; }
  bool drops() const { return random && recurrent_dropout > 0; }

  /// One factor for each row of the batch and unit of h, at (row * P + unit): 0 or 1/(1-p).
  DropoutMask dropout_mask() const { return {recurrent_dropout, key, stream(0)}; }
  /// Of h (0) or the memory (1), for each step, row and unit: 0 to keep the previous value, or 1.
  DropoutMask zoneout_mask(int state) const { return {zoneout, key, stream(1 + state), 0, 1.0}; }

 private:
  /// Apart from those of the dropout between layers, which are the numbers of the layers.
  Index stream(int kind) const { return (Index{1} + kind) * (Index{1} << 32) + direction; }
};

/// The masks of zoneout for h with P units and the memory with H units, in a batch of B rows.
template <class S>
class Zoneout {
 public:
  Zoneout(const Regularization& of, Index rows, Index h_size, Index hidden)
      : keep_(static_cast<S>(of.zoneout)),
        active_(of.zones_out()),
        random_(of.random),
        rows_(rows),
        sizes_{h_size, hidden},
        first_step_(of.first_step) {
    for (int state = 0; active_ && state < 2; ++state) masks_[state] = of.zoneout_mask(state);
  }

  bool active() const { return active_; }
  /// p of expected values: h_t = (1-p) * (what the cell has computed) + p * h_{t-1}; otherwise 0.
  S expected() const { return random_ ? S(0) : keep_; }

  /// Forward of some units of one row at one step: `after` becomes what zoneout leaves of it.
  void mix(int state, Index step, Index row, Index unit, Index count, const S* before,
           S* after) const {
    for_each_tile(state, step, row, unit, count, [&](Index at, Index size, const S* update) {
      for (Index j = at; j < at + size; ++j) {
        if (random_) {
          after[j] = update[j - at] == S(0) ? before[j] : after[j];
        } else {
          after[j] += keep_ * (before[j] - after[j]);
        }
      }
    });
  }

  /// Backward: divides the gradient d of the state between what the cell has computed (d) and the
  /// previous state (kept).
  void divide(int state, Index step, Index row, Index unit, Index count, S* d, S* kept) const {
    for_each_tile(state, step, row, unit, count, [&](Index at, Index size, const S* update) {
      for (Index j = at; j < at + size; ++j) {
        if (random_) {
          const bool keeps = update[j - at] == S(0);
          kept[j] = keeps ? d[j] : S(0);
          d[j] = keeps ? S(0) : d[j];
        } else {
          kept[j] = keep_ * d[j];
          d[j] -= kept[j];
        }
      }
    });
  }

 private:
  /// visit(first unit, units, factors), as many units at once as fit a small array.
  template <class Visit>
  void for_each_tile(int state, Index step, Index row, Index unit, Index count, Visit visit) const {
    constexpr Index kTile = 128;
    S update[kTile];
    const Index place = ((first_step_ + step) * rows_ + row) * sizes_[state] + unit;
    for (Index at = 0; at < count; at += kTile) {
      const Index size = std::min(kTile, count - at);
      if (random_) masks_[state].factors(place + at, size, update);
      visit(at, size, update);
    }
  }

  DropoutMask masks_[2];
  S keep_;
  bool active_, random_;
  Index rows_, sizes_[2], first_step_;
};

}  // namespace bptt
