#pragma once

#include "core/ragged_batch.hpp"
#include "core/types.hpp"

// An embedding: y = table[id] at every step, with a table of (ids, features). Features adjacent.

namespace bptt {

/// y (B, T, features) = the rows of the table that `ids` (B, T) name; 0 in the padding.
template <class S>
void embedding_forward(const RaggedBatch& batch, Index features, const S* table,
                       Sequence<const std::int32_t> ids, Sequence<S> y);

/// Overwrites d_table (count, features): d_table[id] = sum of d_y over the steps with this id, in
/// the order of the batch.
template <class S>
void embedding_backward(const RaggedBatch& batch, Index count, Index features,
                        Sequence<const std::int32_t> ids, Sequence<const S> d_y, S* d_table);

}  // namespace bptt
