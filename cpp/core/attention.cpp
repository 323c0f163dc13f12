#include "core/attention.hpp"

#include <algorithm>

#include "core/activations.hpp"
#include "core/buffer.hpp"
#include "core/gemm.hpp"
#include "core/parallel/blocks.hpp"
#include "core/softmax_rows.hpp"

// Threads take sequences. The hidden layer tanh(q + k) of all pairs would need S·T·A numbers for
// each: it is not kept, but computed again in backward.

namespace bptt {
namespace {

/// What one sequence has of the arrays.
template <class S>
struct Item {
  Item(const AttentionInput<S>& in, Index b)
      : queries(in.queries),
        stride(in.keys),
        keys(in.lengths == nullptr ? in.keys : in.lengths[b]),
        size(in.size),
        features(in.features),
        query(in.query + b * in.queries * in.size),
        key(in.key + b * in.keys * in.size),
        value(in.value + b * in.keys * in.features),
        v(in.v) {}

  Index queries, stride, keys, size, features;  // `stride` between rows of weights
  const S* query;
  const S* key;
  const S* value;
  const S* v;
};

template <class S>
double cost_of(const AttentionInput<S>& in) {
  constexpr double kPairOperations = 40;  // of a hidden unit
  const double pairs = static_cast<double>(in.batch * in.queries * in.keys);
  return pairs * (2.0 * static_cast<double>(in.features) +
                  (in.v == nullptr ? 2.0 : kPairOperations) * static_cast<double>(in.size));
}

template <class S>
S additive_score(const Item<S>& item, Index s, Index t) {
  const S* const q = item.query + s * item.size;
  const S* const k = item.key + t * item.size;
  Vec<S> sum = Vec<S>::zero();
  for (Index a = 0; a < item.size; a += Vec<S>::kLanes) {
    const Index count = item.size - a;  // beyond it, tanh(0 + 0) is 0
    const Vec<S> hidden =
        tanh(Vec<S>::load_some(q + a, 1, count) + Vec<S>::load_some(k + a, 1, count));
    sum = fma(Vec<S>::load_some(item.v + a, 1, count), hidden, sum);
  }
  return sum_of_lanes(sum);
}

template <class S>
void softmax_in_place(S* row, Index count) {
  scaled_exponentials(row, count, highest_of(row, count), S(1), S(0), row);
  const S scale = static_cast<S>(1.0 / shifted_sum(row, count, S(0)));
  for (Index i = 0; i < count; ++i) row[i] *= scale;
}

template <class S>
void forward(const Item<S>& item, S* weights, S* contexts) {
  if (item.v == nullptr) {
    multiply_by_transposed<S>({item.query, item.queries, item.size, item.size},
                              {item.key, item.keys, item.size, item.size},
                              {weights, item.queries, item.keys, item.stride});
  }
  for (Index s = 0; s < item.queries; ++s) {
    S* const row = weights + s * item.stride;
    if (item.v != nullptr) {
      for (Index t = 0; t < item.keys; ++t) row[t] = additive_score(item, s, t);
    }
    if (item.keys > 0) softmax_in_place(row, item.keys);
    std::fill(row + item.keys, row + item.stride, S(0));
  }
  multiply<S>({weights, item.queries, item.keys, item.stride},
              {item.value, item.keys, item.features, item.features},
              {contexts, item.queries, item.features, item.features});
}

/// Gradients of v·tanh(q + k), from those of the scores.
template <class S>
void additive_backward(const Item<S>& item, const S* d_scores, S* d_query, S* d_key, S* d_v) {
  constexpr Index kLanes = Vec<S>::kLanes;
  std::fill_n(d_query, item.queries * item.size, S(0));
  for (Index a = 0; a < item.size; a += kLanes) {
    const Index count = std::min(item.size - a, kLanes);
    const Vec<S> v = Vec<S>::load_some(item.v + a, 1, count);
    Vec<S> sum_v = Vec<S>::zero();
    for (Index t = 0; t < item.keys; ++t) {
      const Vec<S> k = Vec<S>::load_some(item.key + t * item.size + a, 1, count);
      Vec<S> sum_k = Vec<S>::zero();
      for (Index s = 0; s < item.queries; ++s) {
        const Index at = s * item.size + a;
        const Vec<S> hidden = tanh(Vec<S>::load_some(item.query + at, 1, count) + k);
        const Vec<S> d(d_scores[s * item.keys + t]);
        sum_v = fma(d, hidden, sum_v);
        const Vec<S> d_sum = d * v * (Vec<S>(S(1)) - hidden * hidden);
        sum_k += d_sum;
        (Vec<S>::load_some(d_query + at, 1, count) + d_sum).store_some(d_query + at, count);
      }
      sum_k.store_some(d_key + t * item.size + a, count);
    }
    sum_v.store_some(d_v + a, count);
  }
}

template <class S>
void backward(const Item<S>& item, const S* weights, const S* d_contexts, S* d_query, S* d_key,
              S* d_value, S* d_v) {
  Arena& arena = scratch();
  const Arena::Scope scope(arena);
  const Index queries = item.queries, keys = item.keys, features = item.features;
  S* const d_scores = arena.allocate<S>(queries * keys);
  multiply_by_transposed<S>({d_contexts, queries, features, features},
                            {item.value, keys, features, features},
                            {d_scores, queries, keys, keys});
  for (Index s = 0; s < queries; ++s) {
    const S* const w = weights + s * item.stride;
    S* const d = d_scores + s * keys;
    double mean = 0;
    for (Index t = 0; t < keys; ++t) mean += static_cast<double>(w[t] * d[t]);
    for (Index t = 0; t < keys; ++t) d[t] = w[t] * (d[t] - static_cast<S>(mean));
  }
  multiply_transposed<S>({weights, queries, keys, item.stride},
                         {d_contexts, queries, features, features},
                         {d_value, keys, features, features});
  if (item.v == nullptr) {
    multiply<S>({d_scores, queries, keys, keys}, {item.key, keys, item.size, item.size},
                {d_query, queries, item.size, item.size});
    multiply_transposed<S>({d_scores, queries, keys, keys},
                           {item.query, queries, item.size, item.size},
                           {d_value, keys, features, features}, true);
  } else {
    additive_backward(item, d_scores, d_query, d_key, d_v);
    std::fill(d_key + keys * item.size, d_key + item.stride * item.size, S(0));
  }
  std::fill(d_value + keys * features, d_value + item.stride * features, S(0));
}

}  // namespace

template <class S>
void attention_forward(const AttentionInput<S>& in, S* weights, S* contexts) {
  for_each_block(in.batch, {cost_of(in)}, [&](Index b) {
    forward(Item<S>(in, b), weights + b * in.queries * in.keys,
            contexts + b * in.queries * in.features);
  });
}

template <class S>
void attention_backward(const AttentionInput<S>& in, const S* weights, const S* d_contexts,
                        S* d_query, S* d_key, S* d_value, S* d_v) {
  Buffer<S> sums(d_v == nullptr ? 0 : in.batch * in.size);
  for_each_block(in.batch, {2 * cost_of(in)}, [&](Index b) {
    backward(Item<S>(in, b), weights + b * in.queries * in.keys,
             d_contexts + b * in.queries * in.features, d_query + b * in.queries * in.size,
             d_key == nullptr ? nullptr : d_key + b * in.keys * in.size,
             d_value + b * in.keys * in.features,
             d_v == nullptr ? nullptr : sums.data() + b * in.size);
  });
  if (d_v == nullptr) return;
  std::fill_n(d_v, in.size, S(0));
  for (Index b = 0; b < in.batch; ++b) {
    for (Index a = 0; a < in.size; ++a) d_v[a] += sums.data()[b * in.size + a];
  }
}

#define BPTT_INSTANTIATE(S)                                          \
  template void attention_forward(const AttentionInput<S>&, S*, S*); \
  template void attention_backward(const AttentionInput<S>&, const S*, const S*, S*, S*, S*, S*);
BPTT_INSTANTIATE(float)
BPTT_INSTANTIATE(double)
#undef BPTT_INSTANTIATE

}  // namespace bptt
