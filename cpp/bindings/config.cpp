#include <pybind11/pybind11.h>

#include <Eigen/Core>

#if defined(_OPENMP)
#include <omp.h>
#endif

#include "bindings/register.hpp"

namespace {

constexpr const char* compiler() {
#if defined(__clang__)
  return "clang " __clang_version__;
#else
  return "g++ " __VERSION__;
#endif
}

py::dict config() {
  using namespace py::literals;
#if defined(_OPENMP)
  const int threads = omp_get_max_threads();
#else
  const int threads = 0;
#endif
  return py::dict("isa"_a = BPTT_ISA, "eigen"_a = EIGEN_VERSION_STRING, "compiler"_a = compiler(),
                  "openmp"_a = threads);
}

}  // namespace

void register_config(py::module_& m) { m.def("config", &config); }
