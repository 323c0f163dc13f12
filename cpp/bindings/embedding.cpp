#include "core/embedding.hpp"

#include "bindings/arrays.hpp"

namespace {

using namespace py::literals;

/// The steps of ids (batch, steps).
bptt::RaggedBatch batch_of(const py::array& ids, py::handle lengths) {
  if (ids.ndim() != 2) {
    throw py::value_error("ids must have shape (batch, steps), got " + shape_text(shape_of(ids)));
  }
  const Index size = ids.shape(0), steps = ids.shape(1);
  const auto ragged = require_lengths(lengths, size, steps);
  return ragged ? bptt::RaggedBatch(size, steps, ragged->data()) : bptt::RaggedBatch(size, steps);
}

template <class S>
py::array embed(const Dense<S>& weight, const py::array& ids, py::handle lengths) {
  const bptt::RaggedBatch batch = batch_of(ids, lengths);
  const Index features = weight.shape(1);
  const auto rows = require_ids(ids, "ids", "num_embeddings", weight.shape(0), batch);
  Dense<S> y({batch.size(), batch.steps(), features});
  const auto to = sequence_view(y.mutable_data(), y, false);
  {
    const auto from = sequence_view(rows.data(), rows, false);
    const py::gil_scoped_release release;
    bptt::embedding_forward(batch, features, weight.data(), from, to);
  }
  return y;
}

template <class S>
void embed_backward(const py::array& ids, py::handle lengths, py::handle d_output,
                    Dense<S> d_weight) {
  const bptt::RaggedBatch batch = batch_of(ids, lengths);
  const Index count = d_weight.shape(0), features = d_weight.shape(1);
  const auto rows = require_ids(ids, "ids", "num_embeddings", count, batch);
  const auto d_y = require_dense<S>(d_output, "d_output", "(batch, steps, embedding_dim)",
                                    {batch.size(), batch.steps(), features});
  S* const to = d_weight.mutable_data();  // throws for a read-only array
  const auto at = sequence_view(rows.data(), rows, false);
  const auto from = sequence_view(d_y.data(), d_y, false);
  const py::gil_scoped_release release;
  bptt::embedding_backward(batch, count, features, at, from, to);
}

/// Calls visit(a) with a C-contiguous matrix `a` in its dtype.
template <class Visit>
auto with_matrix(py::handle value, const char* name, Visit visit) {
  const py::array a = require_array(value, name);
  return visit_float_dtype(a, name, [&](auto zero) {
    using S = decltype(zero);
    if (!py::isinstance<Dense<S>>(a) || a.ndim() != 2) {
      throw py::type_error(std::string(name) +
                           " must be a C-contiguous array (num_embeddings, embedding_dim), got " +
                           shape_text(shape_of(a)));
    }
    return visit(py::reinterpret_borrow<Dense<S>>(a));
  });
}

}  // namespace

void register_embedding(py::module_& m) {
  m.def(
      "embedding_forward",
      [](const py::object& weight, const py::object& ids, const py::object& lengths) -> py::array {
        const py::array at = require_array(ids, "ids");
        return with_matrix(weight, "weight",
                           [&](const auto& table) { return embed(table, at, lengths); });
      },
      "weight"_a, "ids"_a, "lengths"_a);
  m.def(
      "embedding_backward",
      [](const py::object& ids, const py::object& lengths, const py::object& d_output,
         const py::object& d_weight) {
        const py::array at = require_array(ids, "ids");
        with_matrix(d_weight, "d_weight",
                    [&](const auto& table) { embed_backward(at, lengths, d_output, table); });
      },
      "ids"_a, "lengths"_a, "d_output"_a, "d_weight"_a);
}
