#include "core/normalization.hpp"

#include "bindings/arrays.hpp"
#include "bindings/gil.hpp"

namespace {

using namespace py::literals;

/// Calls visit(x, weight) with rows (N, D) and (D), in the dtype of the weight.
template <class Visit>
py::tuple with_rows(py::handle x, const char* name, py::handle weight, Visit visit) {
  return visit_float_dtype(require_array(weight, "weight"), "weight", [&](auto zero) -> py::tuple {
    using S = decltype(zero);
    const Dense<S> rows(require_float_array<S>(x, name, " as the layer"));
    const Dense<S> w(require_float_array<S>(weight, "weight"));
    if (rows.ndim() != 2 || w.ndim() != 1 || rows.shape(1) != w.shape(0)) {
      throw py::value_error(std::string(name) +
                            " (rows, features) and weight (features,) must agree in features");
    }
    return visit(rows, w);
  });
}

template <class S>
py::tuple forward(const Dense<S>& x, const Dense<S>& weight, py::handle bias, double epsilon) {
  const Index rows = x.shape(0), features = x.shape(1);
  const auto b = require_dense<S>(bias, "bias", "(features,)", {features});
  Dense<S> y = new_array<S>({rows, features}), z = new_array<S>({rows, features}), scale({rows});
  S* const to_y = y.mutable_data();
  S* const to_z = z.mutable_data();
  S* const to_scale = scale.mutable_data();
  {
    run_without_gil([&] {
      bptt::normalize_forward(x.data(), rows, features, weight.data(), b.data(), epsilon, to_y,
                              to_z, to_scale);
    });
  }
  return py::make_tuple(y, z, scale);
}

template <class S>
py::tuple backward(const Dense<S>& z, const Dense<S>& weight, py::handle scale, py::handle d_output,
                   bool input) {
  const Index rows = z.shape(0), features = z.shape(1);
  const auto s = require_dense<S>(scale, "scale", "(rows,)", {rows});
  const auto d_y = require_dense<S>(d_output, "d_output", "(rows, features)", {rows, features});
  Dense<S> d_weight({features}), d_bias({features});
  std::optional<Dense<S>> d_x;
  if (input) d_x = new_array<S>({rows, features});
  S* const to_x = input ? d_x->mutable_data() : nullptr;
  S* const to_weight = d_weight.mutable_data();
  S* const to_bias = d_bias.mutable_data();
  {
    run_without_gil([&] {
      bptt::normalize_backward(z.data(), s.data(), rows, features, weight.data(), d_y.data(), to_x,
                               to_weight, to_bias);
    });
  }
  return py::make_tuple(d_x ? py::object(*d_x) : py::none(), d_weight, d_bias);
}

}  // namespace

void register_normalization(py::module_& m) {
  m.def(
      "normalize_forward",
      [](const py::object& x, const py::object& weight, const py::object& bias, double epsilon) {
        return with_rows(x, "x", weight, [&](const auto& rows, const auto& w) {
          return forward(rows, w, bias, epsilon);
        });
      },
      "x"_a, "weight"_a, "bias"_a, "epsilon"_a);
  m.def(
      "normalize_backward",
      [](const py::object& z, const py::object& weight, const py::object& scale,
         const py::object& d_output, bool input) {
        return with_rows(z, "normalized", weight, [&](const auto& rows, const auto& w) {
          return backward(rows, w, scale, d_output, input);
        });
      },
      "normalized"_a, "weight"_a, "scale"_a, "d_output"_a, "input"_a);
}
