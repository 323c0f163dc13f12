#include "core/linear.hpp"

#include "bindings/arrays.hpp"
#include "bindings/gil.hpp"
#include "bindings/network_arguments.hpp"
#include "core/linear_cross_entropy.hpp"
#include "core/linear_rows.hpp"

namespace {

using namespace py::literals;

template <class S>
using Product = void(const S*, Index, Index, Index, const S*, const S*, S*);

/// y of a product of the core.
template <class S>
py::array forward(Product<S>& product, const Dense<S>& x, const Dense<S>& weight, py::handle bias) {
  const Index rows = x.shape(0), in = x.shape(1), out = weight.shape(0);
  const auto c = py::reinterpret_borrow<py::object>(bias);
  const Dense<S> b =
      c.is_none() ? Dense<S>() : require_dense<S>(c, "bias", "(out_features,)", {out});
  Dense<S> y = new_array<S>({rows, out});
  const S* const b_data = c.is_none() ? nullptr : b.data();
  S* const y_data = y.mutable_data();
  run_without_gil([&] { product(x.data(), rows, in, out, weight.data(), b_data, y_data); });
  return y;
}

template <class S>
py::object backward(const Dense<S>& x, const Dense<S>& weight, py::handle d_output,
                    py::handle d_weight, py::handle d_bias, bool input) {
  const Index rows = x.shape(0), in = x.shape(1), out = weight.shape(0);
  const auto d_y = require_dense<S>(d_output, "d_output", "(rows, out_features)", {rows, out});
  S* const d_v = gradient_data<S>(d_weight, "d_weight", "(out_features, in_features)", {out, in});
  S* const d_c = gradient_data<S>(d_bias, "d_bias", "(out_features,)", {out});
  py::object d_x = py::none();
  S* d_x_data = nullptr;
  if (input) {
    Dense<S> array = new_array<S>({rows, in});
    d_x_data = array.mutable_data();
    d_x = std::move(array);
  }
  {
    run_without_gil([&] {
      bptt::linear_backward(x.data(), rows, in, out, weight.data(), d_y.data(), d_x_data, d_v, d_c);
    });
  }
  return d_x;
}

template <class S>
Dense<S> zeros(const std::vector<Index>& shape) {
  Dense<S> array(shape);
  std::fill_n(array.mutable_data(), array.size(), S(0));
  return array;
}

/// Value, losses (batch, steps), gradient of x, or None without d_weight, and predicted ids
/// (batch, steps).
template <class S>
py::tuple cross_entropy(const py::array& x, const py::array& weight, py::handle bias,
                        const py::array& targets, py::handle weights,
                        const bptt::CrossEntropyOptions& options, py::handle d_weight,
                        py::handle d_bias) {
  const auto given = require_float_array<S>(x, "x", " as the layer");
  const Dense<S> v(require_float_array<S>(weight, "weight"));
  if (given.ndim() != 3 || v.ndim() != 2 || v.shape(0) == 0 || given.shape(2) != v.shape(1)) {
    throw py::value_error(
        "x (batch, steps, in_features) and weight (classes, in_features) must agree in "
        "in_features, with classes >= 1, got " +
        shape_text(shape_of(given)) + " and " + shape_text(shape_of(v)));
  }
  const Index batch = given.shape(0), steps = given.shape(1), in = given.shape(2);
  const Index out = v.shape(0);
  std::optional<Dense<S>> c;
  if (!bias.is_none()) c = require_dense<S>(bias, "bias", "(classes,)", {out});
  require_shape(targets, "targets", "(batch, steps)", {batch, steps});
  const auto ids = require_ids(targets, "targets", "classes", out, bptt::RaggedBatch(batch, steps));
  std::optional<Dense<double>> w;
  if (!weights.is_none()) {
    w = require_dense<double>(weights, "weights", "(batch, steps)", {batch, steps});
  }
  S* const d_v = gradient_data<S>(d_weight, "d_weight", "(classes, in_features)", {out, in});
  S* const d_c = gradient_data<S>(d_bias, "d_bias", "(classes,)", {out});
  const bool adjacent = in == 1 || given.strides(2) == given.itemsize();
  const py::array_t<S> a = adjacent ? given : py::array_t<S>(Dense<S>(given));
  auto losses = zeros<double>({batch, steps});
  std::optional<Dense<S>> d_x;
  if (d_v != nullptr) d_x = new_array<S>({batch, steps, in});
  auto predicted = zeros<std::int32_t>({batch, steps});
  double value = 0;
  {
    const auto rows = sequence_view(a.data(), a, false);
    double* const loss = losses.mutable_data();
    S* const d = d_x ? d_x->mutable_data() : nullptr;
    std::int32_t* const best = predicted.mutable_data();
    const bptt::OutputLayer<S> layer{v.data(), c ? c->data() : nullptr, in, out};
    std::vector<bptt::LossRow<S>> counted;
    counted.reserve(static_cast<std::size_t>(batch * steps));
    for (Index i = 0; i < batch * steps; ++i) {
      const double each = w ? w->data()[i] : 1;
      S* const d_row = d == nullptr ? nullptr : d + i * in;
      if (each != 0) {
        counted.push_back(
            {rows.row(i / steps, i % steps), ids.data()[i], each, loss + i, d_row, best + i});
      } else if (d_row != nullptr) {
        std::fill_n(d_row, in, S(0));
      }
    }
    run_without_gil(
        [&] { value = bptt::linear_cross_entropy<S>(counted, layer, options, d_v, d_c); });
  }
  return py::make_tuple(value, losses, d_x ? py::object(*d_x) : py::none(), predicted);
}

/// The weight in fewer bits, given as the floats that it stands for.
py::capsule compress(const py::object& weight, const py::object& storage,
                     const py::object& scales) {
  const auto v = require_float_array<float>(weight, "weight");
  if (v.ndim() != 2 || storage.is_none()) {
    throw py::value_error("weight must have shape (out_features, in_features) and a storage, got " +
                          shape_text(shape_of(v)));
  }
  const Dense<float> dense(v), factors = bptt::optional_scales<float>(scales);
  const Index out = v.shape(0), in = v.shape(1);
  const auto compression = bptt::require_compression<float>(storage, factors, out);
  std::unique_ptr<bptt::CompressedLinear<float>> layer;
  {
    const ReleaseGil release;
    layer = std::make_unique<bptt::CompressedLinear<float>>(dense.data(), in, out, compression);
  }
  return bptt::encapsulate(std::move(layer));
}

py::array compressed_forward(const py::capsule& capsule, const py::object& x,
                             const py::object& bias) {
  const auto* const layer = bptt::unwrap<bptt::CompressedLinear<float>>(capsule);
  if (layer == nullptr) throw py::type_error("layer must be what linear_compress returned");
  const auto given = require_float_array<float>(x, "x", " as the layer");
  const Index in = layer->in_features(), out = layer->out_features();
  if (given.ndim() != 2 || given.shape(1) != in) {
    throw py::value_error("x must have shape (rows, in_features), got " +
                          shape_text(shape_of(given)));
  }
  const Dense<float> a(given);
  std::optional<Dense<float>> b;
  if (!bias.is_none()) b = require_dense<float>(bias, "bias", "(out_features,)", {out});
  Dense<float> y = new_array<float>({a.shape(0), out});
  float* const to = y.mutable_data();
  {
    run_without_gil([&] { layer->forward(a.data(), a.shape(0), b ? b->data() : nullptr, to); });
  }
  return y;
}

/// Calls visit(x, weight) with both checked, in the dtype of the weight.
template <class Visit>
py::object with_inputs(py::handle x, py::handle weight, Visit visit) {
  const py::array v = require_array(weight, "weight");
  return visit_float_dtype(v, "weight", [&](auto zero) -> py::object {
    using S = decltype(zero);
    const auto input = require_float_array<S>(x, "x", " as the layer");
    if (v.ndim() != 2 || input.ndim() != 2 || input.shape(1) != v.shape(1)) {
      throw py::value_error(
          "x (rows, in_features) and weight (out_features, in_features) must "
          "agree in in_features, got " +
          shape_text(shape_of(input)) + " and " + shape_text(shape_of(v)));
    }
    return visit(Dense<S>(input), Dense<S>(v));
  });
}

}  // namespace

void register_linear(py::module_& m) {
  m.def(
      "new_array",
      [](Index size, const py::dtype& dtype) -> py::array {
        if (dtype.itemsize() == sizeof(float)) return new_array<float>({size});
        return new_array<double>({size});
      },
      "size"_a, "dtype"_a);
  m.def(
      "linear_forward",
      [](const py::object& x, const py::object& weight, const py::object& bias) {
        return with_inputs(x, weight, [&](const auto& a, const auto& v) {
          return forward(bptt::linear_forward, a, v, bias);
        });
      },
      "x"_a, "weight"_a, "bias"_a);
  m.def(
      "linear_rows",
      [](const py::object& x, const py::object& weight, const py::object& bias) {
        return with_inputs(x, weight, [&](const auto& a, const auto& v) {
          return forward(bptt::linear_rows, a, v, bias);
        });
      },
      "x"_a, "weight"_a, "bias"_a);
  m.def(
      "linear_backward",
      [](const py::object& x, const py::object& weight, const py::object& d_output,
         const py::object& d_weight, const py::object& d_bias, bool input) {
        return with_inputs(x, weight, [&](const auto& a, const auto& v) {
          return backward(a, v, d_output, d_weight, d_bias, input);
        });
      },
      "x"_a, "weight"_a, "d_output"_a, "d_weight"_a, "d_bias"_a, "input"_a);
  m.def("linear_compress", &compress, "weight"_a, "storage"_a, "scales"_a = py::none());
  m.def("linear_compressed_forward", &compressed_forward, "layer"_a, "x"_a, "bias"_a);
  m.def(
      "linear_cross_entropy",
      [](const py::object& x, const py::object& weight, const py::object& bias,
         const py::object& targets, const py::object& weights, double label_smoothing,
         double divisor, const py::object& d_weight, const py::object& d_bias) {
        const py::array a = require_array(x, "x"), v = require_array(weight, "weight");
        const py::array ids = require_array(targets, "targets");
        return visit_float_dtype(v, "weight", [&](auto zero) {
          return cross_entropy<decltype(zero)>(a, v, bias, ids, weights, {label_smoothing, divisor},
                                               d_weight, d_bias);
        });
      },
      "x"_a, "weight"_a, "bias"_a, "targets"_a, "weights"_a, "label_smoothing"_a, "divisor"_a,
      "d_weight"_a, "d_bias"_a);
}
