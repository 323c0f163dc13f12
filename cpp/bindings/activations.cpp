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
          return apply_to(bptt::kind_of("name", name, bptt::kActivations), dense);
        });
      },
      "name"_a, "x"_a);
}
