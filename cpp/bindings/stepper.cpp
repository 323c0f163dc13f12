#include <Python.h>
#include <structmember.h>

#include <atomic>
#include <cstddef>
#include <new>

#include "bindings/step_arrays.hpp"

// A stream of steps with buffers of its own: a callable that keeps pointers to them, and to the
// packed weights of one version of a layer's parameters. Whatever is not a dense array of the right
// dtype and shape, and steps after a change of the parameters, are left to its method `_general`,
// in Python. A type of its own, not pybind11's: a call of that would take longer than the step.

namespace {

using namespace bptt;

struct Stepper {
  PyObject_HEAD vectorcallfunc call;
  PyObject *layer, *version, *network;  // version and network are null before the first call
  PyObject *y, *state;                  // the buffers
  void* y_data;
  void* state_data[kMaxStates];
  const void* weights;  // the Network<S> of the capsule `network`
  bool is_double;
  Index batch;
  std::atomic<bool> busy;
};

constexpr const char* kBusy =
    "a stepper serves one stream at a time: this one is in a call already";

PyObject* version_name() {
  static PyObject* const name = PyUnicode_InternFromString("_version");
  return name;
}
PyObject* general_name() {
  static PyObject* const name = PyUnicode_InternFromString("_general");
  return name;
}

/// Whether the packed weights are those of the layer's parameters; -1 for an error.
int is_current(const Stepper& self) {
  if (self.network == nullptr) return 0;
  PyObject* const version = PyObject_GetAttr(self.layer, version_name());
  if (version == nullptr) return -1;
  Py_DECREF(version);
  return version == self.version;
}

/// The step on the fast path; false if x cannot be read in place.
template <class S>
bool step(Stepper& self, PyObject* x) {
  const auto& network = *static_cast<const Network<S>*>(self.weights);
  const LayerConfig& config = network.config();
  Index batch = 0;
  const S* x_data = nullptr;
  if (!fast_input(config, x, batch, x_data) || batch != self.batch) return false;
  const RaggedBatch rows(batch, 1);
  NetworkForward<S> call{
      .batch = &rows,
      .x = {.values = {x_data, config.input_size, 0, 1}, .ids = {}},
      .y = {.data = static_cast<S*>(self.y_data), .batch_stride = config.output_size()},
      .initial = {},
      .last = {}};
  for (std::size_t i = 0; i < kMaxStates; ++i) {
    call.initial[i] = call.last[i] = static_cast<S*>(self.state_data[i]);
  }
  infer_step(network, call, batch);
  return true;
}

PyObject* run(Stepper& self, PyObject* x) {
  const int current = is_current(self);
  if (current < 0) return nullptr;
  if (current == 0 || !(self.is_double ? step<double>(self, x) : step<float>(self, x))) {
    auto* const object = reinterpret_cast<PyObject*>(&self);
    return PyObject_CallMethodObjArgs(object, general_name(), x, nullptr);
  }
  Py_INCREF(self.y);
  return self.y;
}

PyObject* call(PyObject* object, PyObject* const* arguments, std::size_t flags, PyObject* names) {
  auto& self = *reinterpret_cast<Stepper*>(object);
  const Py_ssize_t given = PyVectorcall_NARGS(flags);
  const Py_ssize_t named = names == nullptr ? 0 : PyTuple_GET_SIZE(names);
  if (given + named != 1 ||
      (named == 1 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "x_t") != 0)) {
    PyErr_SetString(PyExc_TypeError, "a stepper takes one argument, x_t");
    return nullptr;
  }
  if (self.y == nullptr) {
    PyErr_SetString(PyExc_TypeError, "a stepper is made by the method stepper of a layer");
    return nullptr;
  }
  if (self.busy.exchange(true, std::memory_order_acquire)) {
    PyErr_SetString(PyExc_RuntimeError, kBusy);
    return nullptr;
  }
  PyObject* const y = guarded([&] { return run(self, arguments[0]); });
  self.busy.store(false, std::memory_order_release);
  return y;
}

// ---- what Python's side calls

template <class S>
bool bind_buffers(Stepper& self, const Network<S>& network) {
  const LayerConfig& config = network.config();
  const auto& api = py::detail::npy_api::get();
  if (!api.PyArray_Check_(self.y) || py::detail::array_proxy(self.y)->nd != 2) return false;
  self.batch = py::detail::array_proxy(self.y)->dimensions[0];
  const Index y_shape[] = {self.batch, config.output_size()};
  States<S> state{};
  self.y_data = dense_data<S>(self.y, y_shape, 2, true);
  if (self.y_data == nullptr ||
      !fast_state(config, self.state, StateShapes(config, self.batch), true, state)) {
    return false;
  }
  std::copy(state.begin(), state.end(), self.state_data);
  self.weights = &network;
  self.is_double = sizeof(S) == 8;
  return true;
}

/// Takes the packed weights of a version of the parameters.
PyObject* bind(PyObject* object, PyObject* arguments) {
  auto& self = *reinterpret_cast<Stepper*>(object);
  PyObject *version = nullptr, *network = nullptr;
  if (PyArg_ParseTuple(arguments, "OO", &version, &network) == 0) return nullptr;
  return guarded([&]() -> PyObject* {
    Py_CLEAR(self.network);
    const bool fits = self.y != nullptr && visit_capsule<Network>(network, [&](const auto& packed) {
                        return bind_buffers(self, packed);
                      });
    if (!fits) throw py::value_error("the buffers of a stepper must be those of its layer");
    Py_INCREF(version);
    Py_XSETREF(self.version, version);
    Py_INCREF(network);
    self.network = network;
    Py_RETURN_NONE;
  });
}

int initialize(PyObject* object, PyObject* arguments, PyObject* names) {
  auto& self = *reinterpret_cast<Stepper*>(object);
  PyObject *layer = nullptr, *y = nullptr, *state = nullptr;
  if (names != nullptr && PyDict_GET_SIZE(names) > 0) {
    PyErr_SetString(PyExc_TypeError, "a stepper takes layer, y, state");
    return -1;
  }
  if (PyArg_ParseTuple(arguments, "OOO", &layer, &y, &state) == 0) return -1;
  if (self.y != nullptr) {
    PyErr_SetString(PyExc_TypeError, "a stepper keeps its layer and its buffers");
    return -1;
  }
  Py_INCREF(layer);
  self.layer = layer;
  Py_INCREF(state);
  self.state = state;
  Py_INCREF(y);
  self.y = y;
  return 0;
}

PyObject* make(PyTypeObject* type, PyObject*, PyObject*) {
  PyObject* const object = type->tp_alloc(type, 0);
  if (object == nullptr) return nullptr;
  auto& self = *reinterpret_cast<Stepper*>(object);
  self.call = &call;
  new (&self.busy) std::atomic<bool>(false);
  return object;
}

int traverse(PyObject* object, visitproc visit, void* arg) {
  auto& self = *reinterpret_cast<Stepper*>(object);
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(self.layer);
  Py_VISIT(self.version);
  Py_VISIT(self.network);
  Py_VISIT(self.y);
  Py_VISIT(self.state);
  return 0;
}

int clear(PyObject* object) {
  auto& self = *reinterpret_cast<Stepper*>(object);
  Py_CLEAR(self.network);
  Py_CLEAR(self.layer);
  Py_CLEAR(self.version);
  Py_CLEAR(self.y);
  Py_CLEAR(self.state);
  return 0;
}

void free_stepper(PyObject* object) {
  PyTypeObject* const type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  clear(object);
  type->tp_free(object);
  Py_DECREF(type);
}

PyMemberDef members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Stepper, call), READONLY, nullptr},
    {"_layer", T_OBJECT_EX, offsetof(Stepper, layer), READONLY, nullptr},
    {"_y", T_OBJECT_EX, offsetof(Stepper, y), READONLY, nullptr},
    {"_buffers", T_OBJECT_EX, offsetof(Stepper, state), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr}};

PyMethodDef methods[] = {{"_bind", &bind, METH_VARARGS, nullptr}, {nullptr, nullptr, 0, nullptr}};

template <class Function>
void* slot(Function* function) {
  return reinterpret_cast<void*>(function);
}

}  // namespace

void register_stepper(py::module_& m) {
  PyType_Slot slots[] = {{Py_tp_new, slot(&make)},
                         {Py_tp_init, slot(&initialize)},
                         {Py_tp_dealloc, slot(&free_stepper)},
                         {Py_tp_traverse, slot(&traverse)},
                         {Py_tp_clear, slot(&clear)},
                         {Py_tp_call, slot(&PyVectorcall_Call)},
                         {Py_tp_members, members},
                         {Py_tp_methods, methods},
                         {0, nullptr}};
  // Before Python 3.12 the type keeps the pointer.
  static const std::string name = m.attr("__name__").cast<std::string>() + ".Stepper";
  PyType_Spec spec = {
      name.c_str(), sizeof(Stepper), 0,
      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL,
      slots};
  PyObject* const type = PyType_FromSpec(&spec);
  if (type == nullptr) throw py::error_already_set();
  m.add_object("Stepper", py::reinterpret_steal<py::object>(type));
}
