#include "core/optimizers.hpp"

#include "bindings/arrays.hpp"
#include "bindings/gil.hpp"

namespace {

using namespace py::literals;

/// A flat C-contiguous array of S with `count` elements (any number if negative), used in place.
template <class S>
S* flat_data(py::handle value, const char* name, Index count = -1) {
  auto a = py::reinterpret_steal<py::array>(require_array(value, name).release());
  if (!is_dense<S>(a) || a.ndim() != 1 || (count >= 0 && a.size() != count)) {
    throw py::type_error(std::string(name) + " must be a flat C-contiguous, aligned array of " +
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

/// Ascending row numbers of a table of `count` rows.
const std::int32_t* require_rows(const py::array& rows, Index count) {
  if (!is_dense<std::int32_t>(rows) || rows.ndim() != 1) {
    throw py::type_error("rows must be a flat C-contiguous, aligned array of int32, got " +
                         dtype_text(rows) + " with shape " + shape_text(shape_of(rows)));
  }
  const auto* const ids = static_cast<const std::int32_t*>(rows.data());
  for (Index i = 0; i < rows.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= count || (i > 0 && ids[i] <= ids[i - 1])) {
      throw py::value_error("rows must be ascending and in [0, " + std::to_string(count) +
                            "), got " + std::to_string(ids[i]) + " at " + std::to_string(i));
    }
  }
  return ids;
}

/// The gradient of `count` parameters: values of all of them, or with `rows` of these rows alone.
template <class S>
bptt::Gradient<S> require_gradient(py::handle gradients, py::handle rows, Index count,
                                   double scale = 1) {
  if (rows.is_none()) {
    return {.values = flat_data<S>(gradients, "gradients", count), .scale = static_cast<S>(scale)};
  }
  const py::array named = require_array(rows, "rows");
  const S* const values = flat_data<S>(gradients, "gradients");
  const Index size = py::reinterpret_borrow<py::array>(gradients).size(), n = named.size();
  const Index width = n > 0 ? size / n : 1;
  if (n * width != size || (n > 0 && (width < 1 || count % width != 0))) {
    throw py::value_error("gradients must be whole rows of " + std::to_string(count) +
                          " parameters, got " + std::to_string(size) + " values for " +
                          std::to_string(n) + " rows");
  }
  return {.values = values,
          .scale = static_cast<S>(scale),
          .sparse = true,
          .ids = require_rows(named, count / width),
          .rows = n,
          .width = width};
}

void sgd_step(const py::object& parameters, const py::object& gradients, const py::object& velocity,
              double learning_rate, double momentum, double weight_decay, bool nesterov,
              const py::object& rows, double gradient_scale) {
  in_place(parameters, "parameters", [&](auto* p, Index count) {
    using S = std::remove_pointer_t<decltype(p)>;
    const auto g = require_gradient<S>(gradients, rows, count, gradient_scale);
    S* const v = flat_data_or_null<S>(velocity, "velocity", count);
    const ReleaseGil release;
    bptt::sgd_step(count, p, g, v, {learning_rate, momentum, weight_decay, nesterov});
  });
}

void rmsprop_step(const py::object& parameters, const py::object& gradients,
                  const py::object& mean_square, const py::object& velocity, double learning_rate,
                  double decay, double epsilon, double momentum, const py::object& rows,
                  double gradient_scale) {
  in_place(parameters, "parameters", [&](auto* p, Index count) {
    using S = std::remove_pointer_t<decltype(p)>;
    const auto g = require_gradient<S>(gradients, rows, count, gradient_scale);
    S* const s = flat_data<S>(mean_square, "mean_square", count);
    S* const v = flat_data_or_null<S>(velocity, "velocity", count);
    const ReleaseGil release;
    bptt::rmsprop_step(count, p, g, s, v, {learning_rate, decay, epsilon, momentum});
  });
}

void adam_step(const py::object& parameters, const py::object& gradients,
               const py::object& first_moment, const py::object& second_moment,
               double learning_rate, double beta1, double beta2, double epsilon,
               double weight_decay, Index step, const py::object& rows, double gradient_scale,
               bool lazy) {
  in_place(parameters, "parameters", [&](auto* p, Index count) {
    using S = std::remove_pointer_t<decltype(p)>;
    const auto g = require_gradient<S>(gradients, rows, count, gradient_scale);
    S* const m = flat_data<S>(first_moment, "first_moment", count);
    S* const v = flat_data<S>(second_moment, "second_moment", count);
    const ReleaseGil release;
    bptt::adam_step(count, p, g, m, v, {learning_rate, beta1, beta2, epsilon, weight_decay, lazy},
                    step);
  });
}

double sum_of_squares(const py::object& a, const py::object& rows, Index size) {
  return in_place(a, "gradients", [&](auto* data, Index count) {
    using S = std::remove_pointer_t<decltype(data)>;
    const Index all = rows.is_none() ? count : size;
    const auto g = require_gradient<S>(a, rows, all);
    const ReleaseGil release;
    return bptt::sum_of_squares(all, g);
  });
}

}  // namespace

void register_optimizers(py::module_& m) {
  m.def("sgd_step", &sgd_step, "parameters"_a, "gradients"_a, "velocity"_a, "learning_rate"_a,
        "momentum"_a, "weight_decay"_a, "nesterov"_a, "rows"_a = py::none(),
        "gradient_scale"_a = 1.0);
  m.def("rmsprop_step", &rmsprop_step, "parameters"_a, "gradients"_a, "mean_square"_a, "velocity"_a,
        "learning_rate"_a, "decay"_a, "epsilon"_a, "momentum"_a, "rows"_a = py::none(),
        "gradient_scale"_a = 1.0);
  m.def("adam_step", &adam_step, "parameters"_a, "gradients"_a, "first_moment"_a, "second_moment"_a,
        "learning_rate"_a, "beta1"_a, "beta2"_a, "epsilon"_a, "weight_decay"_a, "step"_a,
        "rows"_a = py::none(), "gradient_scale"_a = 1.0, "lazy"_a = false);
  m.def("sum_of_squares", &sum_of_squares, "a"_a, "rows"_a = py::none(), "size"_a = 0);
  m.def(
      "clip",
      [](const py::object& a, double limit) {
        in_place(a, "a", [limit](auto* data, Index count) {
          const ReleaseGil release;
          bptt::clip(count, data, limit);
        });
      },
      "a"_a, "limit"_a);
  m.def(
      "scale",
      [](const py::object& a, double factor) {
        in_place(a, "a", [factor](auto* data, Index count) {
          const ReleaseGil release;
          bptt::scale(count, data, factor);
        });
      },
      "a"_a, "factor"_a);
}
