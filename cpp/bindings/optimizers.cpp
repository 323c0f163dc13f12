#include "core/optimizers.hpp"

#include "bindings/arrays.hpp"

namespace {

using namespace py::literals;

/// A flat C-contiguous array of S with `count` elements (any number if negative), used in place.
template <class S>
S* flat_data(py::handle value, const char* name, Index count = -1) {
  auto a = py::reinterpret_steal<py::array>(require_array(value, name).release());
  if (!py::isinstance<Dense<S>>(a) || a.ndim() != 1 || (count >= 0 && a.size() != count)) {
    throw py::type_error(std::string(name) + " must be a flat C-contiguous array of " +
                         dtype_name<S>() + (count >= 0 ? " with " + std::to_string(count) : "") +
                         " values, got " + dtype_text(a) + " with shape " +
                         shape_text(shape_of(a)));
  }
  return static_cast<S*>(a.mutable_data());  // throws for a read-only array
}

/// Calls visit(data, count) on a flat array in its dtype, without the GIL.
template <class Visit>
auto in_place(const py::object& array, const char* name, Visit visit) {
  const py::array a = require_array(array, name);
  return visit_float_dtype(a, name, [&](auto zero) {
    using S = decltype(zero);
    return visit(flat_data<S>(a, name), static_cast<Index>(a.size()));
  });
}

/// The same for state that not every optimizer keeps: null for None.
template <class S>
S* flat_data_or_null(py::handle value, const char* name, Index count) {
  return value.is_none() ? nullptr : flat_data<S>(value, name, count);
}

void sgd_step(const py::object& parameters, const py::object& gradients, const py::object& velocity,
              double learning_rate, double momentum, double weight_decay, bool nesterov) {
  in_place(parameters, "parameters", [&](auto* p, Index count) {
    using S = std::remove_pointer_t<decltype(p)>;
    const S* const g = flat_data<S>(gradients, "gradients", count);
    S* const v = flat_data_or_null<S>(velocity, "velocity", count);
    const py::gil_scoped_release release;
    bptt::sgd_step(count, p, g, v, {learning_rate, momentum, weight_decay, nesterov});
  });
}

void rmsprop_step(const py::object& parameters, const py::object& gradients,
                  const py::object& mean_square, const py::object& velocity, double learning_rate,
                  double decay, double epsilon, double momentum) {
  in_place(parameters, "parameters", [&](auto* p, Index count) {
    using S = std::remove_pointer_t<decltype(p)>;
    const S* const g = flat_data<S>(gradients, "gradients", count);
    S* const s = flat_data<S>(mean_square, "mean_square", count);
    S* const v = flat_data_or_null<S>(velocity, "velocity", count);
    const py::gil_scoped_release release;
    bptt::rmsprop_step(count, p, g, s, v, {learning_rate, decay, epsilon, momentum});
  });
}

void adam_step(const py::object& parameters, const py::object& gradients,
               const py::object& first_moment, const py::object& second_moment,
               double learning_rate, double beta1, double beta2, double epsilon,
               double weight_decay, Index step) {
  in_place(parameters, "parameters", [&](auto* p, Index count) {
    using S = std::remove_pointer_t<decltype(p)>;
    const S* const g = flat_data<S>(gradients, "gradients", count);
    S* const m = flat_data<S>(first_moment, "first_moment", count);
    S* const v = flat_data<S>(second_moment, "second_moment", count);
    const py::gil_scoped_release release;
    bptt::adam_step(count, p, g, m, v, {learning_rate, beta1, beta2, epsilon, weight_decay}, step);
  });
}

}  // namespace

void register_optimizers(py::module_& m) {
  m.def("sgd_step", &sgd_step, "parameters"_a, "gradients"_a, "velocity"_a, "learning_rate"_a,
        "momentum"_a, "weight_decay"_a, "nesterov"_a);
  m.def("rmsprop_step", &rmsprop_step, "parameters"_a, "gradients"_a, "mean_square"_a, "velocity"_a,
        "learning_rate"_a, "decay"_a, "epsilon"_a, "momentum"_a);
  m.def("adam_step", &adam_step, "parameters"_a, "gradients"_a, "first_moment"_a, "second_moment"_a,
        "learning_rate"_a, "beta1"_a, "beta2"_a, "epsilon"_a, "weight_decay"_a, "step"_a);
  m.def(
      "sum_of_squares",
      [](const py::object& a) {
        return in_place(a, "a", [](auto* data, Index count) {
          const py::gil_scoped_release release;
          return bptt::sum_of_squares(count, data);
        });
      },
      "a"_a);
  m.def(
      "clip",
      [](const py::object& a, double limit) {
        in_place(a, "a", [limit](auto* data, Index count) { bptt::clip(count, data, limit); });
      },
      "a"_a, "limit"_a);
  m.def(
      "scale",
      [](const py::object& a, double factor) {
        in_place(a, "a", [factor](auto* data, Index count) { bptt::scale(count, data, factor); });
      },
      "a"_a, "factor"_a);
}
