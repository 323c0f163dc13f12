#include <algorithm>

#include "core/attention.hpp"
#include "core/dropout.hpp"
#include "core/embedding.hpp"
#include "core/normalization.hpp"
#include "fuzz/targets.hpp"
#include "fuzz/tools.hpp"

namespace bptt::fuzz {

template <class S>
void fuzz_attention(Choices& choices) {
  const Index batch = choices.size(0, 6), queries = choices.size(0, 8), keys = choices.size(0, 9);
  const bool additive = choices.flag(), ragged = choices.flag();
  const Index size = choices.size(0, 20), features = additive ? choices.size(0, 20) : size;
  const Memory<Index> lengths = draw_lengths(choices, batch, keys);
  Numbers numbers(choices);
  const auto query = numbers.memory<S>(batch * queries * size, 1);
  const auto key = numbers.memory<S>(batch * keys * size, 1);
  const auto value = numbers.memory<S>(batch * keys * features, 1);
  const auto v = numbers.memory<S>(size, 1);
  const auto d_contexts = numbers.memory<S>(batch * queries * features, 1);
  const AttentionInput<S> in{.batch = batch,
                             .queries = queries,
                             .keys = keys,
                             .size = size,
                             .features = features,
                             .query = query.data(),
                             .key = additive ? key.data() : value.data(),
                             .value = value.data(),
                             .v = additive ? v.data() : nullptr,
                             .lengths = ragged ? lengths.data() : nullptr};
  const auto results = with_threads(choices, [&] {
    Memory<S> weights(batch * queries * keys), contexts(batch * queries * features);
    Memory<S> d_query(query.size()), d_key(key.size()), d_value(value.size()), d_v(size);
    attention_forward(in, weights.data(), contexts.data());
    attention_backward(in, weights.data(), d_contexts.data(), d_query.data(),
                       additive ? d_key.data() : nullptr, d_value.data(),
                       additive ? d_v.data() : nullptr);
    Results<S> all;
    for (Memory<S>* each : {&weights, &contexts, &d_query, &d_key, &d_value, &d_v}) {
      all.push_back(std::move(*each));
    }
    return all;
  });
  require_finite(results, numbers);
}

template <class S>
void fuzz_embedding(Choices& choices) {
  const Index bag = choices.size(1, 3), count = choices.size(1, 200);
  const Index features = choices.size(0, 20), steps = bag * choices.size(0, 6);
  const RaggedBatch batch = draw_batch(choices, choices.size(0, 9), steps);
  const unsigned output_kind = choices.byte();
  Numbers numbers(choices);
  const auto table = numbers.memory<S>(count * features, 1);
  const auto d_y = numbers.memory<S>(batch.size() * steps / bag * features, 1);
  const Input<std::int32_t> ids(choices, batch.size(), steps, 1,
                                [&] { return static_cast<std::int32_t>(numbers.below(count)); });
  const auto results = with_threads(choices, [&] {
    Output<S> y(output_kind, batch.size(), steps / bag, features);
    embedding_forward<S, S>(batch, bag, features, table.data(), nullptr, ids.view(), y.view);
    y.check_gaps();
    const StepsById grouped(batch, count, ids.view());
    require(grouped.total_steps() == batch.total_rows(), "every step has an id");
    require(std::is_sorted(grouped.ids().begin(), grouped.ids().end()), "ids ascend");
    Memory<S> d_rows(grouped.size() * features);
    embedding_backward(grouped, bag, features, d_y.data(), d_rows.data());
    Results<S> all;
    all.push_back(std::move(y.memory));
    all.push_back(std::move(d_rows));
    return all;
  });
  require_finite(results, numbers);
}

template <class S>
void fuzz_normalization(Choices& choices) {
  const Index rows = choices.size(0, 40), features = choices.size(1, 40);
  const bool wants_input = choices.flag();
  Numbers numbers(choices);
  const auto x = numbers.memory<S>(rows * features, 2), d_y = numbers.memory<S>(rows * features, 1);
  const auto weight = numbers.memory<S>(features, 1), bias = numbers.memory<S>(features, 1);
  const auto results = with_threads(choices, [&] {
    Memory<S> y(x.size()), z(x.size()), scale(rows), d_x(wants_input ? x.size() : 0);
    Memory<S> d_weight(features), d_bias(features);
    normalize_forward(x.data(), rows, features, weight.data(), bias.data(), 1e-5, y.data(),
                      z.data(), scale.data());
    normalize_backward(z.data(), scale.data(), rows, features, weight.data(), d_y.data(),
                       wants_input ? d_x.data() : nullptr, d_weight.data(), d_bias.data());
    Results<S> all;
    for (Memory<S>* each : {&y, &z, &scale, &d_x, &d_weight, &d_bias}) {
      all.push_back(std::move(*each));
    }
    return all;
  });
  require_finite(results, numbers);
}

template <class S>
void fuzz_dropout(Choices& choices) {
  const Index count = 20 * choices.size(0, 255), cut = choices.size(0, 255);
  const Index origin = 100 * choices.size(0, 255);
  const DropoutMask mask(0.5, choices.byte(), 0, origin);
  Numbers numbers(choices);
  const auto x = numbers.memory<S>(count, 1);
  Memory<S> whole(count), parts(count), factors(count);
  mask.apply(x.data(), whole.data(), {0, count});
  const Index middle = std::min(cut * 20, count);
  mask.apply(x.data(), parts.data(), {0, middle});
  mask.apply(x.data(), parts.data(), {middle, count});
  mask.factors(0, count, factors.data());
  require(same(whole, parts), "the same mask in parts");
  for (Index i = 0; i < count; ++i) {
    require(factors[i] == 0 || factors[i] == 2, "a value is dropped or scaled");
  }
}

template void fuzz_attention<float>(Choices&);
template void fuzz_attention<double>(Choices&);
template void fuzz_embedding<float>(Choices&);
template void fuzz_embedding<double>(Choices&);
template void fuzz_normalization<float>(Choices&);
template void fuzz_normalization<double>(Choices&);
template void fuzz_dropout<float>(Choices&);
template void fuzz_dropout<double>(Choices&);

}  // namespace bptt::fuzz
