#include "core/activations.hpp"

#include "bindings/arrays.hpp"
#include "bindings/network_arguments.hpp"

namespace {

using namespace py::literals;

// The functions that the kernels use, on a whole array: for the tests that sweep them.
template <class S, class Kind>
py::array apply_to(Kind kind, const Dense<S>& x) {
  Dense<S> y(shape_of(x));
  const Index count = x.size();
  for (Index i = 0; i < count; i += bptt::Vec<S>::kLanes) {
    const auto lanes = bptt::Vec<S>::load_some(x.data() + i, 1, count - i);
    bptt::apply(kind, lanes).store_some(y.mutable_data() + i, count - i);
  }
  return y;
}

/// log(sigmoid(x)) and its derivative, [2][shape of x].
template <class S>
py::array log_sigmoid_of(const Dense<S>& x) {
  std::vector<Index> shape = shape_of(x);
  shape.insert(shape.begin(), 2);
  Dense<S> y(shape);
  const Index count = x.size();
  for (Index i = 0; i < count; i += bptt::Vec<S>::kLanes) {
    const auto lanes = bptt::Vec<S>::load_some(x.data() + i, 1, count - i);
    const bptt::LogSigmoid<S> found = bptt::log_sigmoid(lanes);
    found.value.store_some(y.mutable_data() + i, count - i);
    found.slope.store_some(y.mutable_data() + count + i, count - i);
  }
  return y;
}

}  // namespace

void register_activations(py::module_& m) {
  m.def(
      "activate",
      [](const std::string& name, const py::object& x) {
        const py::array a = require_array(x, "x");
        return visit_float_dtype(a, "x", [&](auto zero) -> py::array {
          const Dense<decltype(zero)> dense(a);
          for (const auto& [gate_name, kind] : bptt::kGateActivations) {
            if (name == gate_name) return apply_to(kind, dense);
          }
          if (name == "log_sigmoid") return log_sigmoid_of(dense);
          return apply_to(bptt::kind_of("name", name, bptt::kActivations), dense);
        });
      },
      "name"_a, "x"_a);
}
