#include "core/optimizers.hpp"

#include <algorithm>
#include <vector>

#include "fuzz/targets.hpp"
#include "fuzz/tools.hpp"

namespace bptt::fuzz {

template <class S>
void fuzz_optimizers(Choices& choices) {
  const Index rows = choices.size(0, 40), width = choices.size(1, 50), count = rows * width;
  const unsigned kind = choices.byte() % 5;
  const bool has_velocity = choices.flag(), option = choices.flag(), decays = choices.flag();
  const S scale_by = choices.flag() ? S(0.5) : S(1);
  std::vector<std::int32_t> ids;
  for (Index i = 0; i < rows; ++i) {
    if (choices.flag()) ids.push_back(static_cast<std::int32_t>(i));
  }
  const Index named = static_cast<Index>(ids.size());
  Numbers numbers(choices);
  const auto values = numbers.memory<S>(named * width, 1), start = numbers.memory<S>(count, 1);
  Memory<S> dense(count);
  for (Index i = 0; i < named; ++i) {
    std::copy_n(values.data() + i * width, width,
                dense.data() + ids[static_cast<std::size_t>(i)] * width);
  }
  const Gradient<S> of_all{.values = dense.data(), .scale = scale_by};
  const Gradient<S> of_rows{.values = values.data(),
                            .scale = scale_by,
                            .sparse = true,
                            .ids = ids.data(),
                            .rows = named,
                            .width = width};
  const bool lazy = kind == 2 && option;
  const auto update = [&](const Gradient<S>& g) {
    Memory<S> p(count), m(count), v(count), sum(1);
    std::copy_n(start.data(), count, p.data());
    S* const velocity = has_velocity ? v.data() : nullptr;
    const double decay = decays ? 0.01 : 0;
    if (kind == 0) sgd_step(count, p.data(), g, velocity, {0.1, 0.9, decay, option});
    if (kind == 1) rmsprop_step(count, p.data(), g, m.data(), velocity, {0.1, 0.9, 1e-8, 0.9});
    if (kind == 2) {
      adam_step(count, p.data(), g, m.data(), v.data(), {0.1, 0.9, 0.99, 1e-8, decay, option}, 3);
    }
    if (kind == 3) clip(count, p.data(), 0.5);
    if (kind == 4) scale(count, p.data(), 0.5);
    sum[0] = static_cast<S>(sum_of_squares(count, g));
    Results<S> all;
    for (Memory<S>* each : {&p, &m, &v, &sum}) all.push_back(std::move(*each));
    return all;
  };
  const auto results = with_threads(choices, [&] { return update(of_all); });
  require_finite(results, numbers);
  const auto sparse = with_threads(choices, [&] { return update(of_rows); });
  if (lazy || numbers.wild) return;  // lazy updates differ; 0 * inf is not 0
  for (std::size_t i = 0; i < results.size(); ++i) {
    require(same(results[i], sparse[i]), "the same bits for a sparse gradient");
  }
}

template void fuzz_optimizers<float>(Choices&);
template void fuzz_optimizers<double>(Choices&);

}  // namespace bptt::fuzz
