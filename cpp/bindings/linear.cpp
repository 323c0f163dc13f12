#include "core/linear.hpp"

#include "bindings/arrays.hpp"

namespace {

using namespace py::literals;

template <class S>
py::array forward(const Dense<S>& x, const Dense<S>& weight, py::handle bias) {
  const Index rows = x.shape(0), in = x.shape(1), out = weight.shape(0);
  const auto c = py::reinterpret_borrow<py::object>(bias);
  const Dense<S> b =
      c.is_none() ? Dense<S>() : require_dense<S>(c, "bias", "(out_features,)", {out});
  Dense<S> y({rows, out});
  const S* const b_data = c.is_none() ? nullptr : b.data();
  S* const y_data = y.mutable_data();
  {
    const py::gil_scoped_release release;
    bptt::linear_forward(x.data(), rows, in, out, weight.data(), b_data, y_data);
  }
  return y;
}

/// A writable C-contiguous gradient array, used in place.
template <class S>
S* gradient_data(py::handle value, const char* name, const char* symbols,
                 const std::vector<Index>& shape) {
  if (value.is_none()) return nullptr;
  auto a = py::reinterpret_borrow<py::array>(value);
  require_shape(a, name, symbols, shape);
  if (!py::isinstance<Dense<S>>(a)) {
    throw py::type_error(std::string(name) + " must be a C-contiguous array of the layer's dtype");
  }
  return static_cast<S*>(a.mutable_data());
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
    Dense<S> array({rows, in});
    d_x_data = array.mutable_data();
    d_x = std::move(array);
  }
  {
    const py::gil_scoped_release release;
    bptt::linear_backward(x.data(), rows, in, out, weight.data(), d_y.data(), d_x_data, d_v, d_c);
  }
  return d_x;
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
      "linear_forward",
      [](const py::object& x, const py::object& weight, const py::object& bias) {
        return with_inputs(x, weight,
                           [&](const auto& a, const auto& v) { return forward(a, v, bias); });
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
}
