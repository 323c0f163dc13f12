#include "core/dropout.hpp"

#include "bindings/arrays.hpp"
#include "bindings/gil.hpp"

namespace {

using namespace py::literals;

template <class S>
py::array dropout(const py::array& x, double rate, std::uint64_t key) {
  const Dense<S> in(require_float_array<S>(x, "x"));
  Dense<S> out(shape_of(in));
  S* const to = out.mutable_data();
  {
    const ReleaseGil release;
    bptt::DropoutMask(rate, key, 0).apply(in.data(), to, {0, static_cast<Index>(in.size())});
  }
  return out;
}

}  // namespace

void register_dropout(py::module_& m) {
  m.def(
      "dropout",
      [](const py::object& x, double rate, std::uint64_t key) -> py::array {
        const py::array a = require_array(x, "x");
        return visit_float_dtype(a, "x",
                                 [&](auto zero) { return dropout<decltype(zero)>(a, rate, key); });
      },
      "x"_a, "rate"_a, "key"_a);
}
