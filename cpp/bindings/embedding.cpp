#include "core/embedding.hpp"

#include <algorithm>

#include "bindings/arrays.hpp"
#include "bindings/gil.hpp"

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

template <class S>
py::array embed(const Dense<S>& weight, const py::array& ids, py::handle lengths, Index bag) {
  const bptt::RaggedBatch batch = batch_of(ids, lengths, bag);
  const Index features = weight.shape(1);
  const auto rows = require_ids(ids, "ids", "num_embeddings", weight.shape(0), batch);
  Dense<S> y({batch.size(), batch.steps() / bag, features});
  const auto to = sequence_view(y.mutable_data(), y, false);
  {
    const auto from = sequence_view(rows.data(), rows, false);
    run_without_gil(
        [&] { bptt::embedding_forward(batch, bag, features, weight.data(), from, to); });
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

/// Calls visit(a) with a C-contiguous matrix `a` in its dtype.
template <class Visit>
auto with_matrix(py::handle value, const char* name, Visit visit) {
  const py::array a = require_array(value, name);
  return visit_float_dtype(a, name, [&](auto zero) {
    using S = decltype(zero);
    if (!is_dense<S>(a) || a.ndim() != 2) {
      throw py::type_error(
          std::string(name) +
          " must be a C-contiguous, aligned array (num_embeddings, embedding_dim), got " +
          shape_text(shape_of(a)));
    }
    return visit(py::reinterpret_borrow<Dense<S>>(a));
  });
}

}  // namespace

void register_embedding(py::module_& m) {
  m.def(
      "embedding_forward",
      [](const py::object& weight, const py::object& ids, const py::object& lengths,
         Index bag) -> py::array {
        const py::array at = require_array(ids, "ids");
        return with_matrix(weight, "weight",
                           [&](const auto& table) { return embed(table, at, lengths, bag); });
      },
      "weight"_a, "ids"_a, "lengths"_a, "bag"_a = 1);
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
