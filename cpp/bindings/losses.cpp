#include "core/losses.hpp"

#include "bindings/arrays.hpp"
#include "bindings/gil.hpp"
#include "core/ctc.hpp"
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

/// Value and gradient. Targets are (batch, labels), padded.
template <class S>
py::tuple ctc(const py::array& logits, const py::array& targets, py::handle lengths,
              py::handle target_lengths, py::handle weights, bptt::CtcInput<S> in) {
  const Dense<S> x(require_float_array<S>(logits, "logits"));
  if (x.ndim() != 3 || x.shape(2) == 0) {
    throw py::value_error("logits must have shape (batch, steps, classes) with classes >= 1, got " +
                          shape_text(shape_of(x)));
  }
  in.batch = x.shape(0), in.steps = x.shape(1), in.classes = x.shape(2);
  in.labels = targets.ndim() == 2 ? targets.shape(1) : 0;
  require_shape(targets, "targets", "(batch, labels)", {in.batch, in.labels});
  const auto steps = require_lengths(lengths, in.batch, in.steps);
  const auto counts = require_lengths(target_lengths, in.batch, in.labels);
  const bptt::RaggedBatch ragged = counts ? bptt::RaggedBatch(in.batch, in.labels, counts->data())
                                          : bptt::RaggedBatch(in.batch, in.labels);
  const auto ids = require_ids(targets, "targets", "classes", in.classes, ragged);
  std::optional<Dense<double>> w;
  if (!weights.is_none()) w = require_dense<double>(weights, "weights", "(batch,)", {in.batch});
  in.logits = x.data(), in.targets = ids.data();
  in.lengths = steps ? steps->data() : nullptr;
  in.target_lengths = counts ? counts->data() : nullptr;
  in.weights = w ? w->data() : nullptr;
  Dense<S> gradient = new_array<S>({in.batch, in.steps, in.classes});
  S* const d = gradient.mutable_data();
  double value = 0;
  run_without_gil([&] { value = bptt::ctc_loss<S>(in, d); });
  return py::make_tuple(value, gradient);
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
      "ctc_loss",
      [](const py::object& logits, const py::object& targets, const py::object& lengths,
         const py::object& target_lengths, Index blank, bool zero_infinity,
         const py::object& weights, double divisor) {
        const py::array a = require_array(logits, "logits");
        const py::array ids = require_array(targets, "targets");
        return visit_float_dtype(a, "logits", [&](auto zero) {
          bptt::CtcInput<decltype(zero)> in{};
          in.blank = blank, in.zero_infinity = zero_infinity, in.divisor = divisor;
          return ctc(a, ids, lengths, target_lengths, weights, in);
        });
      },
      "logits"_a, "targets"_a, "lengths"_a, "target_lengths"_a, "blank"_a, "zero_infinity"_a,
      "weights"_a, "divisor"_a);
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
