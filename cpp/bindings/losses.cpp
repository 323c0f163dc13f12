#include "core/losses.hpp"

#include "bindings/arrays.hpp"

namespace {

using namespace py::literals;

template <class S>
py::tuple cross_entropy(const py::array& logits, const py::array& targets, py::handle weights,
                        const bptt::CrossEntropyOptions& options) {
  const auto a = require_float_array<S>(logits, "logits");
  if (a.ndim() != 3 || a.shape(2) == 0) {
    throw py::value_error("logits must have shape (batch, steps, classes) with classes >= 1, got " +
                          shape_text(shape_of(a)));
  }
  const Index batch = a.shape(0), steps = a.shape(1), classes = a.shape(2);
  require_shape(targets, "targets", "(batch, steps)", {batch, steps});
  const auto ids =
      require_ids(targets, "targets", "classes", classes, bptt::RaggedBatch(batch, steps));
  std::optional<Dense<double>> w;
  if (!weights.is_none()) {
    w = require_dense<double>(weights, "weights", "(batch, steps)", {batch, steps});
  }
  const bool adjacent = classes == 1 || a.strides(2) == a.itemsize();
  const py::array_t<S> rows = adjacent ? a : py::array_t<S>(Dense<S>(a));
  Dense<S> d_logits = new_array<S>({batch, steps, classes});
  const auto d = sequence_view(d_logits.mutable_data(), d_logits, false);
  double value = 0;
  {
    const auto x = sequence_view(rows.data(), rows, false);
    const auto y = sequence_view(ids.data(), ids, false);
    const double* const each = w ? w->data() : nullptr;
    const py::gil_scoped_release release;
    value = bptt::softmax_cross_entropy<S>(batch, steps, classes, x, y, each, options, d);
  }
  return py::make_tuple(value, d_logits);
}

}  // namespace

void register_losses(py::module_& m) {
  m.def(
      "softmax_cross_entropy",
      [](const py::object& logits, const py::object& targets, const py::object& weights,
         double label_smoothing, double divisor) {
        const py::array a = require_array(logits, "logits");
        const py::array ids = require_array(targets, "targets");
        return visit_float_dtype(a, "logits", [&](auto zero) {
          return cross_entropy<decltype(zero)>(a, ids, weights, {label_smoothing, divisor});
        });
      },
      "logits"_a, "targets"_a, "weights"_a, "label_smoothing"_a, "divisor"_a);
}
