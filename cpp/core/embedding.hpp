#pragma once

#include <cstdint>
#include <vector>

#include "core/ragged_batch.hpp"
#include "core/types.hpp"

// An embedding: y = table[id] at every step, with a table of (ids, features). A bag of F ids a step
// is a batch of F times as many steps, of which every F consecutive ones have one y, the sum of
// their rows. Features adjacent.

namespace bptt {

/// y (B, T / bag, features) = the rows of the table that `ids` (B, T) name, `bag` of them added in
/// their order; 0 in the padding. A table of 8 bits has a scale for every row, others none.
template <class S, class W>
void embedding_forward(const RaggedBatch& batch, Index bag, Index features, const W* table,
                       const S* scales, Sequence<const std::int32_t> ids, Sequence<S> y);

/// The steps of a batch, grouped by id.
class StepsById {
 public:
  /// All `ids` (B, T) lie in [0, count). Time and memory grow with count / 64.
  StepsById(const RaggedBatch& batch, Index count, Sequence<const std::int32_t> ids);

  /// The ids that occur, ascending.
  const std::vector<std::int32_t>& ids() const { return ids_; }
  Index size() const { return static_cast<Index>(ids_.size()); }
  Index total_steps() const { return static_cast<Index>(steps_.size()); }
  /// The steps with the i-th of these ids, numbered row * T + time, in the order of the batch.
  const Index* begin(Index i) const { return steps_.data() + first_[static_cast<std::size_t>(i)]; }
  const Index* end(Index i) const { return begin(i + 1); }

 private:
  std::vector<std::int32_t> ids_;
  std::vector<Index> first_;  // in steps_, one more than ids
  std::vector<Index> steps_;
};

/// d_rows (steps.size(), features): the sum of d_y (B, T / bag, features) over the steps with the
/// same id, in the order of the batch. C-contiguous.
template <class S>
void embedding_backward(const StepsById& steps, Index bag, Index features, const S* d_y, S* d_rows);

}  // namespace bptt
