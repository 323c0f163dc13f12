// Which kernel modules this CPU can run. Compiled for the baseline, so that it runs anywhere.

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

namespace py = pybind11;

namespace {

// In order of preference, the best last. The features are those that CMakeLists.txt compiles
// each module for; __builtin_cpu_supports also asks whether the system saves the registers.
std::vector<std::string> supported() {
  std::vector<std::string> names{"base"};
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                  __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  if (v3) names.emplace_back("v3");
  if (v4) names.emplace_back("v4");
#endif
  return names;
}

}  // namespace

PYBIND11_MODULE(_cpu, module, py::mod_gil_not_used()) {
  module.doc() = "What this CPU can run.";
  module.def("supported", &supported,
             "Names of the instruction sets this CPU can run, the best last.");
}
