#include "core/embedding.hpp"

#include <algorithm>
#include <type_traits>

#include "bindings/arrays.hpp"
#include "bindings/gil.hpp"
#include "core/storage.hpp"

namespace {

using namespace py::literals;

/// The steps of ids (batch, steps), of which every `bag` are one of the lengths.
bptt::RaggedBatch batch_of(const py::array& ids, py::handle lengths, Index bag) {
  if (ids.ndim() != 2) {
    throw py::value_error("ids must have shape (batch, steps), got " + shape_text(shape_of(ids)));
  }
  const Index size = ids.shape(0), steps = ids.shape(1);
  if (bag < 1 || steps % bag != 0) {
    throw py::value_error("bag must be a divisor of steps = " + std::to_string(steps) + ", got " +
                          std::to_string(bag));
  }
  auto ragged = require_lengths(lengths, size, steps / bag);
  if (!ragged) return {size, steps};
  for (Index& length : *ragged) length *= bag;
  return {size, steps, ragged->data()};
}

template <class S, class W>
py::array embed(const Dense<W>& weight, const S* scales, const py::array& ids, py::handle lengths,
                Index bag) {
  const bptt::RaggedBatch batch = batch_of(ids, lengths, bag);
  const Index features = weight.shape(1);
  const auto rows = require_ids(ids, "ids", "num_embeddings", weight.shape(0), batch);
  Dense<S> y({batch.size(), batch.steps() / bag, features});
  const auto to = sequence_view(y.mutable_data(), y, false);
  {
    const auto from = sequence_view(rows.data(), rows, false);
    // Sixteen bits come as integers.
    using Kept = std::conditional_t<std::is_same_v<W, std::uint16_t>, bptt::Bfloat16, W>;
    const auto* const table = reinterpret_cast<const Kept*>(weight.data());
    run_without_gil(
        [&] { bptt::embedding_forward<S, Kept>(batch, bag, features, table, scales, from, to); });
  }
  return y;
}

/// The ids that occur, ascending, and their rows of the gradient.
template <class S>
py::tuple embed_backward(const py::array& ids, py::handle lengths, const py::array& d_output,
                         Index count, Index bag) {
  const bptt::RaggedBatch batch = batch_of(ids, lengths, bag);
  const auto named = require_ids(ids, "ids", "num_embeddings", count, batch);
  const Index features = d_output.ndim() == 3 ? d_output.shape(2) : 0;
  const auto d_y = require_dense<S>(d_output, "d_output", "(batch, steps / bag, embedding_dim)",
                                    {batch.size(), batch.steps() / bag, features});
  const bptt::StepsById steps(batch, count, sequence_view(named.data(), named, false));
  Dense<std::int32_t> occurring(std::vector<Index>{steps.size()});
  std::copy_n(steps.ids().data(), steps.size(), occurring.mutable_data());
  Dense<S> d_rows({steps.size(), features});
  S* const to = d_rows.mutable_data();
  {
    run_without_gil([&] { bptt::embedding_backward(steps, bag, features, d_y.data(), to); });
  }
  return py::make_tuple(occurring, d_rows);
}

/// A C-contiguous matrix, used in place.
template <class W>
Dense<W> require_table(const py::array& weight) {
  if (!is_dense<W>(weight) || weight.ndim() != 2) {
    throw py::type_error(
        "weight must be a C-contiguous, aligned array (num_embeddings, embedding_dim), got " +
        shape_text(shape_of(weight)));
  }
  return py::reinterpret_borrow<Dense<W>>(weight);
}

/// The rows of a weight in full, in 16 bits, or in 8 bits with a scale for every row.
py::array embedding_rows(const py::object& weight, const py::object& ids, const py::object& lengths,
                         Index bag, const py::object& scales) {
  const py::array at = require_array(ids, "ids"), table = require_array(weight, "weight");
  if (py::isinstance<py::array_t<std::uint16_t>>(table)) {
    const float* const none = nullptr;
    return embed(require_table<std::uint16_t>(table), none, at, lengths, bag);
  }
  if (py::isinstance<py::array_t<std::int8_t>>(table)) {
    const auto rows = require_table<std::int8_t>(table);
    const auto factors =
        require_dense<float>(scales, "scales", "(num_embeddings,)", {table.shape(0)});
    return embed(rows, factors.data(), at, lengths, bag);
  }
  return visit_float_dtype(table, "weight", [&](auto zero) {
    using S = decltype(zero);
    const S* const none = nullptr;
    return embed(require_table<S>(table), none, at, lengths, bag);
  });
}

}  // namespace

void register_embedding(py::module_& m) {
  m.def("embedding_forward", &embedding_rows, "weight"_a, "ids"_a, "lengths"_a, "bag"_a = 1,
        "scales"_a = py::none());
  m.def(
      "embedding_backward",
      [](const py::object& ids, const py::object& lengths, const py::object& d_output,
         Index num_embeddings, Index bag) {
        const py::array at = require_array(ids, "ids");
        const py::array d_y = require_array(d_output, "d_output");
        return visit_float_dtype(d_y, "d_output", [&](auto zero) {
          return embed_backward<decltype(zero)>(at, lengths, d_y, num_embeddings, bag);
        });
      },
      "ids"_a, "lengths"_a, "d_output"_a, "num_embeddings"_a, "bag"_a = 1);
}
