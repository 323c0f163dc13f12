#include "core/losses.hpp"

#include "bindings/arrays.hpp"

namespace {

using namespace py::literals;

template <class S>
py::tuple cross_entropy(const py::array& logits, const py::array& targets, py::handle lengths) {
  const auto a = require_float_array<S>(logits, "logits");
  if (a.ndim() != 3 || a.shape(2) == 0) {
    throw py::value_error("logits must have shape (batch, steps, classes) with classes >= 1, got " +
                          shape_text(shape_of(a)));
  }
  const Index batch = a.shape(0), steps = a.shape(1), classes = a.shape(2);
  const auto ragged = require_lengths(lengths, batch, steps);
  const bptt::RowPlan plan =
      ragged ? bptt::RowPlan(batch, steps, ragged->data()) : bptt::RowPlan(batch, steps);
  if (is_integer_array(targets)) {
    require_shape(targets, "targets", "(batch, steps)", {batch, steps});
  }
  const auto ids = require_ids(targets, "targets", "classes", classes, plan);
  const bool walkable = classes == 1 || a.strides(2) == a.itemsize();
  const py::array_t<S> rows = walkable ? a : py::array_t<S>(Dense<S>(a));
  Dense<S> d_logits({batch, steps, classes});
  const auto d = sequence_view(d_logits.mutable_data(), d_logits, false);
  double value = 0;
  {
    const auto x = sequence_view(rows.data(), rows, false);
    const auto y = sequence_view(ids.data(), ids, false);
    const py::gil_scoped_release release;
    value = bptt::softmax_cross_entropy<S>(plan, classes, x, y, d);
  }
  return py::make_tuple(value, d_logits, plan.total_rows());
}

}  // namespace

void register_losses(py::module_& m) {
  m.def(
      "softmax_cross_entropy",
      [](py::object logits, py::object targets, py::object lengths) {
        const py::array a = require_array(logits, "logits");
        const py::array ids = require_array(targets, "targets");
        return visit_float_dtype(
            a, "logits", [&](auto zero) { return cross_entropy<decltype(zero)>(a, ids, lengths); });
      },
      "logits"_a, "targets"_a, "lengths"_a);
}
