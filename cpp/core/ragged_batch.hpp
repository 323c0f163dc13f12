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
  bool operator==(const Range&) const = default;
};

/// Part number `part` of [0, count) cut into `parts` parts of nearly equal size.
inline Range part_of(Index count, int part, int parts) {
  return {count * part / parts, count * (part + 1) / parts};
}

/// The lengths of a batch's sequences: which rows take part in each step, so that padding is never
/// computed.
///
/// A *slot* is the place of a row in the order of length, longest first: the rows active at step s
/// are those in the slots 0 … active(s)-1. Steps are counted from a row's own start in the
/// direction of reading, so one object serves both directions. What is kept for every (step, slot)
/// is stored without gaps, in the order of `first_row`.
class RaggedBatch {
 public:
  /// All rows run the full T steps.
  RaggedBatch(Index size, Index steps) : size_(size), steps_(steps), longest_(steps) {}

  RaggedBatch(Index size, Index steps, const Index* lengths) : RaggedBatch(size, steps) {
    if (std::all_of(lengths, lengths + size, [steps](Index n) { return n == steps; })) return;
    order_.resize(static_cast<std::size_t>(size));
    std::iota(order_.begin(), order_.end(), Index{0});
    std::sort(order_.begin(), order_.end(), [lengths](Index a, Index b) {
      return lengths[a] != lengths[b] ? lengths[a] > lengths[b] : a < b;
    });
    for (const Index row : order_) lengths_.push_back(lengths[row]);
    count_rows();
  }

  /// The steps [first, first + steps) alone, read forward. Every row keeps its slot.
  RaggedBatch slice(Index first, Index steps) const {
    RaggedBatch part(size_, steps);
    if (!ragged()) return part;
    part.order_ = order_;
    for (const Index length : lengths_) {
      part.lengths_.push_back(std::clamp<Index>(length - first, 0, steps));
    }
    part.count_rows();
    return part;
  }

  Index size() const { return size_; }        // B
  Index steps() const { return steps_; }      // T of the caller's arrays
  Index longest() const { return longest_; }  // steps that any row takes
  bool ragged() const { return !order_.empty(); }

  /// Rows before step s in packed order; first_row(longest()) is the number of all (step, slot).
  Index first_row(Index s) const {
    return ragged() ? first_row_[static_cast<std::size_t>(s)] : s * size_;
  }
  Index total_rows() const { return first_row(longest_); }
  Index active(Index s) const { return s < longest_ ? first_row(s + 1) - first_row(s) : 0; }

  /// The caller's row of a slot, its length, and the time at which it takes step s.
  Index row(Index slot) const { return ragged() ? order_[static_cast<std::size_t>(slot)] : slot; }
  Index length(Index slot) const {
    return ragged() ? lengths_[static_cast<std::size_t>(slot)] : steps_;
  }
  Index time(Index slot, Index s, bool reverse) const { return reverse ? length(slot) - 1 - s : s; }

  /// One part of the slots, such that all parts take about the same number of steps.
  Range slots(int part, int parts) const {
    if (!ragged()) return part_of(size_, part, parts);
    return {slot_after(total_rows() * part / parts),
            part + 1 == parts ? size_ : slot_after(total_rows() * (part + 1) / parts)};
  }
  /// Of a range of slots: how many are active at step s, the steps that any of them takes, and the
  /// rows that they are at all steps.
  Index active(Range slots, Index s) const {
    return std::clamp<Index>(active(s) - slots.first, 0, slots.size());
  }
  Index longest(Range slots) const { return slots.size() == 0 ? 0 : length(slots.first); }
  Index total_rows(Range slots) const {
    Index total = 0;
    for (Index slot = slots.first; slot < slots.last; ++slot) total += length(slot);
    return total;
  }
  /// Those of the steps [first, last).
  Index rows(Range slots, Index first, Index last) const {
    Index total = 0;
    for (Index s = first; s < last; ++s) total += active(slots, s);
    return total;
  }

  /// visit(the caller's row, time) for everything that is not padding, row by row.
  template <class Visit>
  void for_each_time(Visit visit) const {
    for_each_time({0, size_}, visit);
  }
  template <class Visit>
  void for_each_time(Range slots, Visit visit) const {
    for (Index slot = slots.first; slot < slots.last; ++slot) {
      for (Index time = 0; time < length(slot); ++time) visit(row(slot), time);
    }
  }
  /// visit(slot, s) for every row of the steps [first, last), in packed order.
  template <class Visit>
  void for_each_row(Index first, Index last, Visit visit) const {
    for_each_row({0, size_}, first, last, visit);
  }
  template <class Visit>
  void for_each_row(Range slots, Index first, Index last, Visit visit) const {
    for (Index s = first; s < last; ++s) {
      const Index end = slots.first + active(slots, s);
      for (Index slot = slots.first; slot < end; ++slot) visit(slot, s);
    }
  }

 private:
  /// longest_ and first_row_ from the lengths.
  void count_rows() {
    longest_ = lengths_.front();
    first_row_.push_back(0);
    Index active = size_;
    for (Index s = 0; s < longest_; ++s) {
      while (lengths_[static_cast<std::size_t>(active - 1)] <= s) --active;
      first_row_.push_back(first_row_.back() + active);
    }
  }

  /// The first slot before which `steps` steps lie.
  Index slot_after(Index steps) const {
    Index slot = 0;
    for (Index before = 0; slot < size_ && before < steps; ++slot) before += length(slot);
    return slot;
  }

  Index size_, steps_, longest_;
  std::vector<Index> order_, lengths_;  // by slot; empty when nothing is ragged
  std::vector<Index> first_row_;        // by step
};

/// The end of the steps from `first` on whose rows together stay within `bytes`, at least one step.
inline Index chunk_end(const RaggedBatch& batch, Range slots, Index first, Index row_bytes,
                       Index bytes) {
  const Index longest = batch.longest(slots);
  Index left = bytes / row_bytes - batch.active(slots, first);
  Index last = first + 1;
  for (; last < longest && batch.active(slots, last) <= left; ++last) {
    left -= batch.active(slots, last);
  }
  return last;
}

}  // namespace bptt
