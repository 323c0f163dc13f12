// Which kernel modules this CPU can run. Compiled for the baseline, so that it runs anywhere.

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

namespace py = pybind11;

namespace {

// The CPU is asked directly: __builtin_cpu_supports answers "no" where the runtime library of the
// compiler does not initialize its model, as with zig.
#if defined(__x86_64__)

struct Registers {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
};

// Zeros if the CPU does not have the leaf.
Registers cpuid(unsigned leaf) {
  Registers r;
  __get_cpuid_count(leaf, 0, &r.eax, &r.ebx, &r.ecx, &r.edx);
  return r;
}

// XCR0: the register states that the operating system saves. xgetbv needs OSXSAVE.
std::uint64_t saved_states() {
  std::uint32_t low = 0;
  std::uint32_t high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return std::uint64_t{high} << 32 | low;
}

constexpr bool bit(unsigned word, int position) { return (word >> position & 1U) != 0; }

#endif

// Names as in /proc/cpuinfo; those without registers that the system saves are left out.
std::vector<std::string> features() {
  std::vector<std::string> names;
#if defined(__x86_64__)
  const Registers basic = cpuid(1);
  const Registers extended = cpuid(7);
  constexpr int kOsXsave = 27;
  const std::uint64_t states = bit(basic.ecx, kOsXsave) ? saved_states() : 0;
  constexpr std::uint64_t kAvx = 0x06;     // xmm, ymm
  constexpr std::uint64_t kAvx512 = 0xe6;  // and opmasks, upper halves of zmm, zmm16 to zmm31
  const bool ymm = (states & kAvx) == kAvx;
#if defined(__APPLE__)
  const bool zmm = ymm;  // Darwin enables these states when a thread first uses them
#else
  const bool zmm = (states & kAvx512) == kAvx512;
#endif
  const auto add = [&](const char* name, bool present) {
    if (present) names.emplace_back(name);
  };
  add("fma", ymm && bit(basic.ecx, 12));
  add("bmi1", bit(extended.ebx, 3));
  add("avx2", ymm && bit(extended.ebx, 5));
  add("bmi2", bit(extended.ebx, 8));
  add("avx512f", zmm && bit(extended.ebx, 16));
  add("avx512dq", zmm && bit(extended.ebx, 17));
  add("avx512cd", zmm && bit(extended.ebx, 28));
  add("avx512bw", zmm && bit(extended.ebx, 30));
  add("avx512vl", zmm && bit(extended.ebx, 31));
#endif
  return names;
}

// In order of preference, the best last. The features are those that CMakeLists.txt compiles
// each module for.
std::vector<std::string> supported() {
  const std::vector<std::string> present = features();
  const auto has = [&](std::initializer_list<const char*> needed) {
    return std::all_of(needed.begin(), needed.end(), [&](const char* name) {
      return std::find(present.begin(), present.end(), name) != present.end();
    });
  };
  std::vector<std::string> names{"base"};
  const bool v3 = has({"avx2", "fma", "bmi1", "bmi2"});
  if (v3) names.emplace_back("v3");
  if (v3 && has({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}))
    names.emplace_back("v4");
  return names;
}

}  // namespace

PYBIND11_MODULE(_cpu, module, py::mod_gil_not_used()) {
  module.doc() = "What this CPU can run.";
  module.def("supported", &supported,
             "Names of the instruction sets this CPU can run, the best last.");
  module.def("features", &features,
             "Features of this CPU that the instruction sets need, as /proc/cpuinfo names them.");
}
