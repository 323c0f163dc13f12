#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

#include "core/types.hpp"

namespace bptt {

/// first, first+1, … last-1
struct Range {
  Index first = 0, last = 0;
  Index size() const { return last - first; }
};

/// Part number `part` of [0, count) cut into `parts` parts of nearly equal size.
inline Range part_of(Index count, int part, int parts) {
  return {count * part / parts, count * (part + 1) / parts};
}

/// Which rows of a batch take part in each step, so that padding is never computed.
///
/// Rows are ranked longest first: the rows alive at step s are the ranks 0 … active(s)-1. A step is
/// counted from a row's own start in the direction of reading, so one plan serves both directions.
/// What is kept for every (step, rank) lies packed, in the order of `first_row`.
class RowPlan {
 public:
  /// All rows run the full T steps.
  RowPlan(Index batch, Index steps) : batch_(batch), steps_(steps), longest_(steps) {}

  RowPlan(Index batch, Index steps, const Index* lengths) : RowPlan(batch, steps) {
    if (std::all_of(lengths, lengths + batch, [steps](Index n) { return n == steps; })) return;
    order_.resize(static_cast<std::size_t>(batch));
    std::iota(order_.begin(), order_.end(), Index{0});
    std::stable_sort(order_.begin(), order_.end(),
                     [lengths](Index a, Index b) { return lengths[a] > lengths[b]; });
    for (const Index row : order_) lengths_.push_back(lengths[row]);
    count_rows();
  }

  /// The plan of the steps [first, first + steps) alone, read forward. The ranks stay.
  RowPlan slice(Index first, Index steps) const {
    RowPlan part(batch_, steps);
    if (!ragged()) return part;
    part.order_ = order_;
    for (const Index length : lengths_) {
      part.lengths_.push_back(std::clamp<Index>(length - first, 0, steps));
    }
    part.count_rows();
    return part;
  }

  Index batch() const { return batch_; }
  Index steps() const { return steps_; }      // T of the caller's arrays
  Index longest() const { return longest_; }  // steps that any row takes
  bool ragged() const { return !order_.empty(); }

  /// Rows before step s in packed order; first_row(longest()) is the number of all (step, rank).
  Index first_row(Index s) const {
    return ragged() ? first_row_[static_cast<std::size_t>(s)] : s * batch_;
  }
  Index total_rows() const { return first_row(longest_); }
  Index active(Index s) const { return s < longest_ ? first_row(s + 1) - first_row(s) : 0; }

  /// The caller's row of a rank, its length, and the time at which it takes step s.
  Index row(Index rank) const { return ragged() ? order_[static_cast<std::size_t>(rank)] : rank; }
  Index length(Index rank) const {
    return ragged() ? lengths_[static_cast<std::size_t>(rank)] : steps_;
  }
  Index time(Index rank, Index s, bool reverse) const { return reverse ? length(rank) - 1 - s : s; }

  /// Part of the ranks so that all parts take about the same number of steps.
  Range ranks(int part, int parts) const {
    if (!ragged()) return part_of(batch_, part, parts);
    return {rank_after(total_rows() * part / parts),
            part + 1 == parts ? batch_ : rank_after(total_rows() * (part + 1) / parts)};
  }
  /// Of a range of ranks: how many are alive at step s, the steps that any of them takes, and the
  /// steps that they take together.
  Index active(Range ranks, Index s) const {
    return std::clamp<Index>(active(s) - ranks.first, 0, ranks.size());
  }
  Index longest(Range ranks) const { return ranks.size() == 0 ? 0 : length(ranks.first); }
  Index total_rows(Range ranks) const {
    Index total = 0;
    for (Index rank = ranks.first; rank < ranks.last; ++rank) total += length(rank);
    return total;
  }

  /// visit(the caller's row, time) for everything that is not padding, row by row.
  template <class Visit>
  void for_each_time(Visit visit) const {
    for_each_time({0, batch_}, visit);
  }
  template <class Visit>
  void for_each_time(Range ranks, Visit visit) const {
    for (Index rank = ranks.first; rank < ranks.last; ++rank) {
      for (Index time = 0; time < length(rank); ++time) visit(row(rank), time);
    }
  }
  /// visit(rank, s) for every row of the steps [first, last), in packed order.
  template <class Visit>
  void for_each_row(Index first, Index last, Visit visit) const {
    for_each_row({0, batch_}, first, last, visit);
  }
  template <class Visit>
  void for_each_row(Range ranks, Index first, Index last, Visit visit) const {
    for (Index s = first; s < last; ++s) {
      const Index end = ranks.first + active(ranks, s);
      for (Index rank = ranks.first; rank < end; ++rank) visit(rank, s);
    }
  }

 private:
  /// What follows from the lengths.
  void count_rows() {
    longest_ = lengths_.front();
    first_row_.push_back(0);
    Index alive = batch_;
    for (Index s = 0; s < longest_; ++s) {
      while (lengths_[static_cast<std::size_t>(alive - 1)] <= s) --alive;
      first_row_.push_back(first_row_.back() + alive);
    }
  }

  /// The first rank before which `steps` steps lie.
  Index rank_after(Index steps) const {
    Index rank = 0;
    for (Index before = 0; rank < batch_ && before < steps; ++rank) before += length(rank);
    return rank;
  }

  Index batch_, steps_, longest_;
  std::vector<Index> order_, lengths_;  // by rank; empty when nothing is ragged
  std::vector<Index> first_row_;        // by step
};

/// The end of the steps from `first` on whose rows together stay within `bytes`, at least one step.
inline Index chunk_end(const RowPlan& plan, Range ranks, Index first, Index row_bytes,
                       Index bytes) {
  const Index longest = plan.longest(ranks);
  Index left = bytes / row_bytes - plan.active(ranks, first);
  Index last = first + 1;
  for (; last < longest && plan.active(ranks, last) <= left; ++last) {
    left -= plan.active(ranks, last);
  }
  return last;
}

}  // namespace bptt
