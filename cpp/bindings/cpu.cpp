// Which kernel modules this CPU can run. Compiled for the baseline, so that it runs anywhere, and
// with Python's C API alone: pybind11 and the C++ library would take 0.1 MB of a wheel.

#include <Python.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <cstdint>

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

/// A feature that an instruction set needs, by its name in /proc/cpuinfo. Those without registers
/// that the system saves are not present.
struct Feature {
  const char* name;
  int isa;  // index in kInstructionSets
  bool present;
};

// In order of preference, the best last; each needs the features of those before it.
constexpr const char* kInstructionSets[] = {"base", "v3", "v4"};

#if defined(__x86_64__)

// The features that CMakeLists.txt compiles the modules for.
constexpr int kFeatures = 9;

void read_features(Feature* features) {
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
  const Feature read[kFeatures] = {
      {"fma", 1, ymm && bit(basic.ecx, 12)},         {"bmi1", 1, bit(extended.ebx, 3)},
      {"avx2", 1, ymm && bit(extended.ebx, 5)},      {"bmi2", 1, bit(extended.ebx, 8)},
      {"avx512f", 2, zmm && bit(extended.ebx, 16)},  {"avx512dq", 2, zmm && bit(extended.ebx, 17)},
      {"avx512cd", 2, zmm && bit(extended.ebx, 28)}, {"avx512bw", 2, zmm && bit(extended.ebx, 30)},
      {"avx512vl", 2, zmm && bit(extended.ebx, 31)},
  };
  for (int i = 0; i < kFeatures; ++i) features[i] = read[i];
}

#else

constexpr int kFeatures = 0;
void read_features(Feature*) {}

#endif

bool append(PyObject* list, const char* name) {
  PyObject* const text = PyUnicode_FromString(name);
  const bool done = text != nullptr && PyList_Append(list, text) == 0;
  Py_XDECREF(text);
  return done;
}

/// A list of the names; frees it and returns null if there is no memory.
template <class Append>
PyObject* list_of(Append append_all) {
  PyObject* const list = PyList_New(0);
  if (list == nullptr || append_all(list)) return list;
  Py_DECREF(list);
  return nullptr;
}

PyObject* features(PyObject*, PyObject*) {
  Feature all[kFeatures + 1];
  read_features(all);
  return list_of([&](PyObject* list) {
    for (int i = 0; i < kFeatures; ++i) {
      if (all[i].present && !append(list, all[i].name)) return false;
    }
    return true;
  });
}

PyObject* supported(PyObject*, PyObject*) {
  Feature all[kFeatures + 1];
  read_features(all);
  int best = kFeatures == 0 ? 0 : 2;
  for (int i = 0; i < kFeatures; ++i) {
    if (!all[i].present && all[i].isa <= best) best = all[i].isa - 1;
  }
  return list_of([&](PyObject* list) {
    for (int isa = 0; isa <= best; ++isa) {
      if (!append(list, kInstructionSets[isa])) return false;
    }
    return true;
  });
}

PyMethodDef methods[] = {
    {"supported", &supported, METH_NOARGS,
     "Names of the instruction sets this CPU can run, the best last."},
    {"features", &features, METH_NOARGS,
     "Features of this CPU that the instruction sets need, as /proc/cpuinfo names them."},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef_Slot slots[] = {
#if PY_VERSION_HEX >= 0x030d0000
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, nullptr},
};

PyModuleDef definition = {PyModuleDef_HEAD_INIT,
                          "_cpu",
                          "What this CPU can run.",
                          0,
                          methods,
                          slots,
                          nullptr,
                          nullptr,
                          nullptr};

}  // namespace

// The name is Python's. NOLINTNEXTLINE(bugprone-reserved-identifier)
PyMODINIT_FUNC PyInit__cpu() { return PyModuleDef_Init(&definition); }
