#include "core/losses.hpp"

#include "bindings/arrays.hpp"
#include "bindings/gil.hpp"
#include "core/row_losses.hpp"

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
    run_without_gil([&] {
      value = bptt::softmax_cross_entropy<S>(batch, steps, classes, x, y, each, options, d);
    });
  }
  return py::make_tuple(value, d_logits);
}

bptt::RowLoss row_loss_kind(const std::string& name) {
  if (name == "squared_error") return bptt::RowLoss::kSquaredError;
  if (name == "binary_cross_entropy") return bptt::RowLoss::kBinaryCrossEntropy;
  if (name == "cross_entropy") return bptt::RowLoss::kCrossEntropy;
  throw py::value_error("unknown loss " + name);
}

/// An array whose last axis is adjacent: `a` or a copy.
template <class S>
py::array_t<S> with_adjacent_features(const py::array_t<S>& a) {
  const bool adjacent = a.shape(2) == 1 || a.strides(2) == a.itemsize();
  return adjacent ? a : py::array_t<S>(Dense<S>(a));
}

/// Value, gradient, and whether all targets that count are in range.
template <class S>
py::tuple row_loss(bptt::RowLoss loss, const py::array& output, py::handle targets,
                   py::handle weights, const bptt::RowLossOptions& options) {
  const auto a = require_float_array<S>(output, "output");
  const auto b = require_float_array<S>(targets, "targets");
  if (a.ndim() != 3 || a.shape(2) == 0) {
    throw py::value_error("output must have shape (batch, steps, outputs) with outputs >= 1, got " +
                          shape_text(shape_of(a)));
  }
  require_shape(b, "targets", "(batch, steps, outputs)", shape_of(a));
  const Index batch = a.shape(0), steps = a.shape(1), outputs = a.shape(2);
  std::optional<Dense<double>> w;
  if (!weights.is_none()) {
    w = require_dense<double>(weights, "weights", "(batch, steps)", {batch, steps});
  }
  const py::array_t<S> rows = with_adjacent_features(a), wanted = with_adjacent_features(b);
  Dense<S> gradient = new_array<S>({batch, steps, outputs});
  const auto d = sequence_view(gradient.mutable_data(), gradient, false);
  bptt::RowLossResult result;
  {
    const auto y = sequence_view(rows.data(), rows, false);
    const auto z = sequence_view(wanted.data(), wanted, false);
    const double* const each = w ? w->data() : nullptr;
    run_without_gil(
        [&] { result = bptt::row_loss<S>(loss, batch, steps, outputs, y, z, each, options, d); });
  }
  return py::make_tuple(result.value, gradient, result.valid);
}

}  // namespace

void register_losses(py::module_& m) {
  m.def(
      "row_loss",
      [](const std::string& loss, const py::object& output, const py::object& targets,
         const py::object& weights, double label_smoothing, double divisor) {
        const py::array a = require_array(output, "output");
        require_array(targets, "targets");
        return visit_float_dtype(a, "output", [&](auto zero) {
          return row_loss<decltype(zero)>(row_loss_kind(loss), a, targets, weights,
                                          {label_smoothing, divisor});
        });
      },
      "loss"_a, "output"_a, "targets"_a, "weights"_a, "label_smoothing"_a, "divisor"_a);
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
