#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <Eigen/Core>
#include <cstdlib>
#include <string_view>

#include "bindings/gil.hpp"
#include "bindings/register.hpp"
#include "core/denormals.hpp"
#include "core/parallel/engine.hpp"
#include "core/parallel/lease.hpp"
#include "core/parallel/thread_limit.hpp"

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
  return py::dict("isa"_a = BPTT_ISA, "eigen"_a = EIGEN_VERSION_STRING, "compiler"_a = compiler(),
                  "openmp"_a = bptt::openmp_library());
}

}  // namespace

void register_config(py::module_& m) {
  using namespace py::literals;
  const char* const oversubscribe = std::getenv("BPTT_OVERSUBSCRIBE");
  bptt::set_oversubscription(oversubscribe != nullptr && std::string_view(oversubscribe) == "1");
  bptt::start_engines();
  m.def("config", &config);
  m.def("thread_limit", &bptt::thread_limit);
  m.def("set_thread_limit", &bptt::set_thread_limit, "threads"_a);
  m.def("set_own_thread_limit", &bptt::set_own_thread_limit, "threads"_a);
  m.def("set_core_quota", &bptt::set_core_quota, "cores"_a);
  m.def("thread_engines", &bptt::engine_names);
  m.def("thread_engine", &bptt::engine_name);
  m.def(
      "set_thread_engine",
      [](const std::string& name) {
        const ReleaseGil release;
        bptt::set_engine(name);
      },
      "name"_a);
  m.def("flushes_denormals", [] { return bptt::flush_denormals.load(); });
  m.def("set_flush_denormals", [](bool flush) { bptt::flush_denormals = flush; }, "flush"_a);
}
