#include "core/attention.hpp"

#include "bindings/arrays.hpp"
#include "bindings/gil.hpp"

namespace {

using namespace py::literals;

/// The checked arrays of a call. Without a score vector, keys are the values.
template <class S>
struct Attended {
  Dense<S> query, key, value;
  std::optional<Dense<S>> v;
  std::optional<std::vector<Index>> lengths;

  Attended(py::handle queries, py::handle keys, py::handle values, py::handle score,
           py::handle given)
      : query(require_float_array<S>(queries, "queries")),
        key(require_float_array<S>(keys, "keys")),
        value(require_float_array<S>(values, "values")) {
    if (query.ndim() != 3 || key.ndim() != 3 || value.ndim() != 3 ||
        key.shape(0) != query.shape(0) || key.shape(2) != query.shape(2)) {
      throw py::value_error(
          "queries (batch, steps, size) and keys (batch, steps, size) must agree in batch and "
          "size, got " +
          shape_text(shape_of(query)) + " and " + shape_text(shape_of(key)));
    }
    require_shape(value, "values", "(batch, steps, features)",
                  {key.shape(0), key.shape(1), value.shape(2)});
    if (!score.is_none()) {
      v = require_dense<S>(score, "weight_score", "(size,)", {key.shape(2)});
    } else {
      require_shape(value, "values", "(batch, steps, size)", shape_of(key));
    }
    lengths = require_lengths(given, key.shape(0), key.shape(1));
  }

  bptt::AttentionInput<S> input() const {
    return {.batch = query.shape(0),
            .queries = query.shape(1),
            .keys = key.shape(1),
            .size = key.shape(2),
            .features = value.shape(2),
            .query = query.data(),
            .key = key.data(),
            .value = value.data(),
            .v = v ? v->data() : nullptr,
            .lengths = lengths ? lengths->data() : nullptr};
  }
};

template <class S>
py::tuple forward(const Attended<S>& given) {
  const bptt::AttentionInput<S> in = given.input();
  Dense<S> weights = new_array<S>({in.batch, in.queries, in.keys});
  Dense<S> contexts = new_array<S>({in.batch, in.queries, in.features});
  S* const w = weights.mutable_data();
  S* const c = contexts.mutable_data();
  {
    run_without_gil([&] { bptt::attention_forward(in, w, c); });
  }
  return py::make_tuple(contexts, weights);
}

template <class S>
py::tuple backward(const Attended<S>& given, py::handle weights, py::handle d_contexts) {
  const bptt::AttentionInput<S> in = given.input();
  const auto w = require_dense<S>(weights, "weights", "(batch, queries, keys)",
                                  {in.batch, in.queries, in.keys});
  const auto d_c = require_dense<S>(d_contexts, "d_output", "(batch, queries, features)",
                                    {in.batch, in.queries, in.features});
  const bool additive = in.v != nullptr;
  Dense<S> d_query = new_array<S>({in.batch, in.queries, in.size});
  Dense<S> d_value = new_array<S>({in.batch, in.keys, in.features});
  std::optional<Dense<S>> d_key, d_v;
  if (additive) {
    d_key = new_array<S>({in.batch, in.keys, in.size});
    d_v = Dense<S>({in.size});
  }
  S* const to_query = d_query.mutable_data();
  S* const to_key = additive ? d_key->mutable_data() : nullptr;
  S* const to_value = d_value.mutable_data();
  S* const to_v = additive ? d_v->mutable_data() : nullptr;
  {
    run_without_gil([&] {
      bptt::attention_backward(in, w.data(), d_c.data(), to_query, to_key, to_value, to_v);
    });
  }
  if (!additive) return py::make_tuple(d_query, py::none(), d_value, py::none());
  return py::make_tuple(d_query, *d_key, d_value, *d_v);
}

/// Calls visit(arrays) in the dtype of the queries.
template <class Visit>
py::tuple with_arrays(py::handle queries, py::handle keys, py::handle values, py::handle score,
                      py::handle lengths, Visit visit) {
  return visit_float_dtype(require_array(queries, "queries"), "queries",
                           [&](auto zero) -> py::tuple {
                             using S = decltype(zero);
                             return visit(Attended<S>(queries, keys, values, score, lengths));
                           });
}

}  // namespace

void register_attention(py::module_& m) {
  m.def(
      "attention_forward",
      [](const py::object& queries, const py::object& keys, const py::object& values,
         const py::object& score, const py::object& lengths) {
        return with_arrays(queries, keys, values, score, lengths,
                           [](const auto& given) { return forward(given); });
      },
      "queries"_a, "keys"_a, "values"_a, "weight_score"_a, "lengths"_a);
  m.def(
      "attention_backward",
      [](const py::object& queries, const py::object& keys, const py::object& values,
         const py::object& score, const py::object& lengths, const py::object& weights,
         const py::object& d_output) {
        return with_arrays(queries, keys, values, score, lengths,
                           [&](const auto& given) { return backward(given, weights, d_output); });
      },
      "queries"_a, "keys"_a, "values"_a, "weight_score"_a, "lengths"_a, "weights"_a, "d_output"_a);
}
