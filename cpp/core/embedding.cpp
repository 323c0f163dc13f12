#include "core/embedding.hpp"

#include <algorithm>
#include <bit>
#include <type_traits>

#include "core/parallel/blocks.hpp"
#include "core/shrink.hpp"
#include "core/storage.hpp"

namespace bptt {
namespace {

constexpr Index kBlockElements = (Index{1} << 13) / kShrink;
constexpr double kElementOperations = 10;  // the memory is the limit

/// Rows of a block.
Index block_rows(Index features) {
  return std::max<Index>(1, kBlockElements / std::max<Index>(1, features));
}

LoopCost cost_of(Index rows, Index features, bool flush_denormals) {
  return {kElementOperations * static_cast<double>(rows) * static_cast<double>(features),
          flush_denormals};
}

template <class S>
void set_row(Index features, const S* from, S* to) {
  std::copy_n(from, features, to);
}
template <class W, class S>
void set_row(Index features, const W* from, S* to) {
  for (Index i = 0; i < features; ++i) to[i] = widen(from[i]);
}
template <class W, class S>
void add_row(Index features, const W* from, S* to) {
  for (Index i = 0; i < features; ++i) to[i] += widen(from[i]);
}
template <class S>
void set_row(Index features, const Int8* from, S scale, S* to) {
  for (Index i = 0; i < features; ++i) to[i] = widen(from[i]) * scale;
}
template <class S>
void add_row(Index features, const Int8* from, S scale, S* to) {
  for (Index i = 0; i < features; ++i) to[i] += widen(from[i]) * scale;
}

}  // namespace

template <class S, class W>
void embedding_forward(const RaggedBatch& batch, Index bag, Index features, const W* table,
                       const S* scales, Sequence<const std::int32_t> ids, Sequence<S> y) {
  const Index steps = batch.steps() / bag;  // of y
  const auto write = [&](Index slot, Index t) {
    const Index row = batch.row(slot), first = t * bag;
    S* const to = y.row(row, t);
    if (first >= batch.length(slot)) {
      std::fill_n(to, features, S(0));
      return;
    }
    for (Index i = 0; i < bag; ++i) {
      const Index id = *ids.row(row, first + i);
      const W* const from = table + id * features;
      if constexpr (std::is_same_v<W, Int8>) {
        i == 0 ? set_row(features, from, scales[id], to) : add_row(features, from, scales[id], to);
      } else {
        i == 0 ? set_row(features, from, to) : add_row(features, from, to);
      }
    }
  };
  for_each_range(batch.size() * steps, block_rows(features * bag),
                 cost_of(batch.total_rows(), features, false), [&](Index, Range own) {
                   for (Index i = own.first; i < own.last; ++i) write(i / steps, i % steps);
                 });
}

StepsById::StepsById(const RaggedBatch& batch, Index count, Sequence<const std::int32_t> ids) {
  // One bit for each id. The place of an id among those that occur is the number of bits before it.
  std::vector<std::uint64_t> bits(static_cast<std::size_t>((count + 63) / 64));
  const auto word_of = [](std::int32_t id) { return static_cast<std::size_t>(id) / 64; };
  const auto bit_of = [](std::int32_t id) { return std::uint64_t{1} << (id % 64); };
  batch.for_each_time([&](Index row, Index time) {
    const std::int32_t id = *ids.row(row, time);
    bits[word_of(id)] |= bit_of(id);
  });
  std::vector<std::size_t> before(bits.size());
  for (std::size_t word = 0; word < bits.size(); ++word) {
    before[word] = ids_.size();
    for (std::uint64_t left = bits[word]; left != 0; left &= left - 1) {
      ids_.push_back(static_cast<std::int32_t>(word * 64) + std::countr_zero(left));
    }
  }
  const auto place_of = [&](std::int32_t id) {
    const std::size_t word = word_of(id);
    return before[word] + static_cast<std::size_t>(std::popcount(bits[word] & (bit_of(id) - 1)));
  };
  // first_[i + 1] counts the steps of id i, then is where its next step goes, finally their end.
  first_.resize(ids_.size() + 2);
  batch.for_each_time([&](Index row, Index time) { ++first_[place_of(*ids.row(row, time)) + 2]; });
  for (std::size_t i = 1; i < first_.size(); ++i) first_[i] += first_[i - 1];
  steps_.resize(static_cast<std::size_t>(first_.back()));
  batch.for_each_time([&](Index row, Index time) {
    Index& next = first_[place_of(*ids.row(row, time)) + 1];
    steps_[static_cast<std::size_t>(next++)] = row * batch.steps() + time;
  });
}

template <class S>
void embedding_backward(const StepsById& steps, Index bag, Index features, const S* d_y,
                        S* d_rows) {
  for_each_range(steps.size(), block_rows(features), cost_of(steps.total_steps(), features, true),
                 [&](Index, Range own) {
                   std::fill_n(d_rows + own.first * features, own.size() * features, S(0));
                   for (Index i = own.first; i < own.last; ++i) {
                     for (const Index* step = steps.begin(i); step != steps.end(i); ++step) {
                       add_row(features, d_y + *step / bag * features, d_rows + i * features);
                     }
                   }
                 });
}

#define BPTT_INSTANTIATE(S, W)                                                          \
  template void embedding_forward(const RaggedBatch&, Index, Index, const W*, const S*, \
                                  Sequence<const std::int32_t>, Sequence<S>);
BPTT_INSTANTIATE(float, float)
BPTT_INSTANTIATE(double, double)
BPTT_INSTANTIATE(float, Bfloat16)
BPTT_INSTANTIATE(float, Int8)
#undef BPTT_INSTANTIATE
template void embedding_backward(const StepsById&, Index, Index, const float*, float*);
template void embedding_backward(const StepsById&, Index, Index, const double*, double*);

}  // namespace bptt
