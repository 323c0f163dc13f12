#include "core/embedding.hpp"

#include <algorithm>

#include "core/denormals.hpp"

namespace bptt {

template <class S>
void embedding_forward(const RaggedBatch& batch, Index features, const S* table,
                       Sequence<const std::int32_t> ids, Sequence<S> y) {
  for (Index slot = 0; slot < batch.size(); ++slot) {
    const Index row = batch.row(slot);
    for (Index t = 0; t < batch.steps(); ++t) {
      if (t < batch.length(slot)) {
        std::copy_n(table + *ids.row(row, t) * features, features, y.row(row, t));
      } else {
        std::fill_n(y.row(row, t), features, S(0));
      }
    }
  }
}

template <class S>
void embedding_backward(const RaggedBatch& batch, Index count, Index features,
                        Sequence<const std::int32_t> ids, Sequence<const S> d_y, S* d_table) {
  const FlushDenormals flush;
  std::fill_n(d_table, count * features, S(0));
  batch.for_each_time([&](Index row, Index time) {
    S* const to = d_table + *ids.row(row, time) * features;
    const S* const from = d_y.row(row, time);
    for (Index i = 0; i < features; ++i) to[i] += from[i];
  });
}

#define BPTT_INSTANTIATE(S)                                                                        \
  template void embedding_forward(const RaggedBatch&, Index, const S*,                             \
                                  Sequence<const std::int32_t>, Sequence<S>);                      \
  template void embedding_backward(const RaggedBatch&, Index, Index, Sequence<const std::int32_t>, \
                                   Sequence<const S>, S*);
BPTT_INSTANTIATE(float)
BPTT_INSTANTIATE(double)
#undef BPTT_INSTANTIATE

}  // namespace bptt
