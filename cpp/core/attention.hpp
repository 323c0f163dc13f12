#pragma once

#include "core/types.hpp"

// Softmax attention on a batch of B sequences: S queries each, T keys with a value each. Scores are
// q·k, or with a vector v (A) v·tanh(q + k). All arrays are C-contiguous: queries (B, S, A), keys
// (B, T, A), values (B, T, K), weights (B, S, T), contexts (B, S, K). Keys and values beyond a
// sequence's length are not read; their weights and gradients are 0.

namespace bptt {

template <class S>
struct AttentionInput {
  Index batch, queries, keys, size, features;  // B, S, T, A, K
  const S* query;
  const S* key;
  const S* value;
  const S* v;            // or null
  const Index* lengths;  // (B), or null for T each
};

/// Writes the weights softmax(scores) and the contexts, their sums of values.
template <class S>
void attention_forward(const AttentionInput<S>& input, S* weights, S* contexts);

/// Writes the gradients. Without v, d_value has those of keys and values together, which are the
/// same array then, and d_key is null.
template <class S>
void attention_backward(const AttentionInput<S>& input, const S* weights, const S* d_contexts,
                        S* d_query, S* d_key, S* d_value, S* d_v);

}  // namespace bptt
