#include "bindings/step_arrays.hpp"

// One time step, for streams, where the overhead around the kernel counts. On the fast path, arrays
// that can be used in place are read without a copy or an allocation, through NumPy's own
// structures; everything else takes the slow path, which checks, copies and says what is wrong.
// It bypasses pybind11's dispatcher, which would take longer than the smallest networks.

namespace {

using namespace bptt;

constexpr const char* kOutRule = "out must be what step returns: a tuple (y_t, state)";

template <class S>
py::object new_array(const Index* shape, int rank) {
  const auto& api = py::detail::npy_api::get();
  static PyObject* const dtype = py::dtype::of<S>().release().ptr();
  Py_INCREF(dtype);
  PyObject* const array = api.PyArray_NewFromDescr_(
      api.PyArray_Type_, dtype, rank, const_cast<Index*>(shape), nullptr, nullptr, 0, nullptr);
  if (array == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(array);
}

template <class S>
S* data_of(const py::object& array) {
  return reinterpret_cast<S*>(py::detail::array_proxy(array.ptr())->data);
}

/// What a step writes: the arrays of the caller, or new ones.
template <class S>
struct Results {
  py::object owner;  // what step returns
  S* y = nullptr;
  States<S> state{};

  Results(const LayerConfig& config, Index batch, PyObject* out, PyTypeObject* kind) {
    const Index y_shape[] = {batch, config.output_size()};
    const StateShapes shapes(config, batch);
    if (out != Py_None) {
      use(config, out, y_shape, shapes);
      return;
    }
    const py::object y_t = new_array<S>(y_shape, 2);
    y = data_of<S>(y_t);
    const int states = cell_info(config.cell).states();
    if (states == 1) {
      const py::object h = new_array<S>(shapes.h, 3);
      state[0] = data_of<S>(h);
      owner = pack(y_t, h);
      return;
    }
    const py::tuple all(static_cast<std::size_t>(states));
    for (std::size_t i = 0; i < all.size(); ++i) {
      py::object part = new_array<S>(shapes.of(i), 3);
      state[i] = data_of<S>(part);
      PyTuple_SET_ITEM(all.ptr(), static_cast<Index>(i), part.release().ptr());
    }
    // As kind(h, c), without the detour through its __new__ in Python.
    PyObject* const made = PyTuple_Type.tp_new(kind, pack(all).ptr(), nullptr);
    if (made == nullptr) throw py::error_already_set();
    owner = pack(y_t, py::reinterpret_steal<py::object>(made));
  }

 private:
  template <class... Objects>
  static py::object pack(const Objects&... objects) {
    PyObject* const tuple = PyTuple_Pack(sizeof...(objects), objects.ptr()...);
    if (tuple == nullptr) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(tuple);
  }

  void use(const LayerConfig& config, PyObject* out, const Index* y_shape,
           const StateShapes& shapes) {
    if (!is_tuple_of(out, 2)) throw py::type_error(kOutRule);
    PyObject* const y_t = PyTuple_GET_ITEM(out, 0);
    PyObject* const last = PyTuple_GET_ITEM(out, 1);
    y = dense_data<S>(y_t, y_shape, 2, true);
    if (y == nullptr || !fast_state(config, last, shapes, true, state)) {
      refuse(config, y_t, last, y_shape[0]);
    }
    if (overlap(y_shape[0] * y_shape[1], shapes)) {
      throw py::value_error("out must be arrays that share no memory with each other");
    }
    owner = py::reinterpret_borrow<py::object>(out);
  }

  /// Whether any two of y and the states share memory.
  bool overlap(Index y_size, const StateShapes& shapes) const {
    const auto end = [&](std::size_t i) {
      const Index* const shape = shapes.of(i);
      return state[i] + shape[0] * shape[1] * shape[2];
    };
    for (std::size_t i = 0; i < kMaxStates && state[i] != nullptr; ++i) {
      if (y < end(i) && state[i] < y + y_size) return true;
      for (std::size_t k = 0; k < i; ++k) {
        if (state[k] < end(i) && state[i] < end(k)) return true;
      }
    }
    return false;
  }

  /// Says what is wrong with `out`.
  [[noreturn]] static void refuse(const LayerConfig& config, py::handle y_t, py::handle state,
                                  Index batch) {
    require_shape(require_float_array<S>(y_t, "out's y_t"), "out's y_t", "(batch, output_size)",
                  {batch, config.output_size()});
    if (state.is_none()) throw py::type_error(kOutRule);
    require_state<S>(config, batch, state, "out's state");
    throw py::value_error(
        "out must be writeable, aligned, C-contiguous arrays in the machine's byte order");
  }
};

/// Input and state that cannot be used in place: checked, and copied where they must be.
template <class S>
struct SlowPath {
  Input<S> input;
  State<S> initial;

  SlowPath(const LayerConfig& config, PyObject* x, PyObject* state)
      : input(require_input<S>(config, x, true)) {
    read_ids(input, config, RaggedBatch(input.batch, 1));
    initial = require_state<S>(config, input.batch, state, "state");
  }
};

template <class S>
py::object step(const Network<S>& network, PyObject* x, PyObject* state, PyObject* out,
                PyTypeObject* kind) {
  const LayerConfig& config = network.config();
  Index batch = 0;
  const S* x_data = nullptr;
  LayerInput<S> input;
  States<const S> initial{};
  std::optional<SlowPath<S>> slow;
  bool fast = fast_input(config, x, batch, x_data);
  if (fast) {
    States<S> given{};
    fast = fast_state(config, state, StateShapes(config, batch), false, given);
    std::copy(given.begin(), given.end(), initial.begin());
    input.values = {x_data, config.input_size, 0, 1};
  }
  if (!fast) {
    slow.emplace(config, x, state);
    batch = slow->input.batch;
    input = slow->input.x;
    initial = slow->initial.data();
  }
  const Results<S> results(config, batch, out, kind);
  const RaggedBatch rows(batch, 1);
  const NetworkForward<S> call{.batch = &rows,
                               .x = input,
                               .y = {.data = results.y, .batch_stride = config.output_size()},
                               .initial = initial,
                               .last = results.state};
  infer_step(network, call, batch);
  return results.owner;
}

PyObject* call_step(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
  if (count != 5) {
    PyErr_SetString(PyExc_TypeError, "step takes network, x_t, state, out, kind");
    return nullptr;
  }
  return guarded([&] {
    return visit_capsule<Network>(arguments[0],
                                  [&](const auto& network) {
                                    return step(network, arguments[1], arguments[2], arguments[3],
                                                reinterpret_cast<PyTypeObject*>(arguments[4]));
                                  })
        .release()
        .ptr();
  });
}

PyMethodDef definition = {
    "step", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&call_step)), METH_FASTCALL,
    "step(network, x_t, state, out, kind, /)\n--\n\n"
    "`kind` is the subclass of tuple that a state of several arrays is returned as."};

}  // namespace

void register_step(py::module_& m) {
  PyObject* const function = PyCFunction_NewEx(&definition, nullptr, m.attr("__name__").ptr());
  m.add_object("step", py::reinterpret_steal<py::object>(function));
}
