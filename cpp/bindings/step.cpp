#include "bindings/gil.hpp"
#include "bindings/network_arguments.hpp"

// One time step, for streams, where the overhead around the kernel counts. On the fast path, arrays
// that can be used in place are read without a copy or an allocation, through NumPy's own
// structures; everything else takes the slow path, which checks, copies and says what is wrong.
// It bypasses pybind11's dispatcher, which would take longer than the smallest networks.

namespace {

using namespace bptt;

constexpr const char* kOutRule = "out must be what step returns: a tuple (y_t, state)";

/// The data of an array that can be used in place: of S, dense, of this shape; else null.
template <class S>
S* dense_data(PyObject* value, const Index* shape, int rank, bool writes) {
  const auto& api = py::detail::npy_api::get();
  if (!api.PyArray_Check_(value)) return nullptr;
  const auto* const array = py::detail::array_proxy(value);
  constexpr int kNumber =
      sizeof(S) == 4 ? py::detail::npy_api::NPY_FLOAT_ : py::detail::npy_api::NPY_DOUBLE_;
  const auto* const dtype = py::detail::array_descriptor1_proxy(array->descr);
  const int flags = py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ |
                    py::detail::npy_api::NPY_ARRAY_ALIGNED_ |
                    (writes ? py::detail::npy_api::NPY_ARRAY_WRITEABLE_ : 0);
  const bool fits = dtype->type_num == kNumber &&
                    (dtype->byteorder == '=' || dtype->byteorder == '|') && array->nd == rank &&
                    (array->flags & flags) == flags &&
                    std::equal(shape, shape + rank, array->dimensions);
  return fits ? reinterpret_cast<S*>(array->data) : nullptr;
}

/// The shapes of the state of a batch: h (layers, B, P) and c (layers, B, H).
struct StateShape {
  Index h[3], c[3];

  StateShape(const LayerConfig& config, Index batch)
      : h{config.num_layers, batch, config.h_size()},
        c{config.num_layers, batch, config.hidden_size} {}
};

/// One side of a step: h, and c if the cell has one, dense.
template <class S>
struct StateData {
  S *h = nullptr, *c = nullptr;
};

bool is_pair(PyObject* value) { return PyTuple_Check(value) && PyTuple_GET_SIZE(value) == 2; }

/// False if the state cannot be used in place.
template <class S>
bool fast_state(const LayerConfig& config, PyObject* state, const StateShape& shape, bool writes,
                StateData<S>& data) {
  if (state == Py_None) return !writes;
  if (!cell_info(config.cell).has_cell_state) {
    return (data.h = dense_data<S>(state, shape.h, 3, writes)) != nullptr;
  }
  if (!is_pair(state)) return false;
  data.h = dense_data<S>(PyTuple_GET_ITEM(state, 0), shape.h, 3, writes);
  data.c = dense_data<S>(PyTuple_GET_ITEM(state, 1), shape.c, 3, writes);
  return data.h != nullptr && data.c != nullptr;
}

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
  StateData<S> state;

  Results(const LayerConfig& config, Index batch, PyObject* out, PyTypeObject* pair) {
    const Index y_shape[] = {batch, config.output_size()};
    const StateShape shape(config, batch);
    if (out != Py_None) {
      use(config, out, y_shape, shape);
      return;
    }
    const bool has_cell = cell_info(config.cell).has_cell_state;
    const py::object y_t = new_array<S>(y_shape, 2), h = new_array<S>(shape.h, 3);
    const py::object c = has_cell ? new_array<S>(shape.c, 3) : py::object();
    y = data_of<S>(y_t);
    state.h = data_of<S>(h);
    if (!has_cell) {
      owner = pack(y_t, h);
      return;
    }
    state.c = data_of<S>(c);
    // As pair(h, c), without the detour through its __new__ in Python.
    const py::object both = pack(pack(h, c));
    PyObject* const made = PyTuple_Type.tp_new(pair, both.ptr(), nullptr);
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
           const StateShape& shape) {
    if (!is_pair(out)) throw py::type_error(kOutRule);
    PyObject* const y_t = PyTuple_GET_ITEM(out, 0);
    PyObject* const last = PyTuple_GET_ITEM(out, 1);
    y = dense_data<S>(y_t, y_shape, 2, true);
    if (y == nullptr || !fast_state(config, last, shape, true, state)) {
      refuse(config, y_t, last, y_shape[0]);
    }
    const auto overlap = [&](const S* a, Index a_size, const S* b, Index b_size) {
      return a != nullptr && b != nullptr && a < b + b_size && b < a + a_size;
    };
    const Index y_size = y_shape[0] * y_shape[1];
    const Index h_size = shape.h[0] * shape.h[1] * shape.h[2];
    const Index c_size = shape.c[0] * shape.c[1] * shape.c[2];
    if (overlap(y, y_size, state.h, h_size) || overlap(y, y_size, state.c, c_size) ||
        overlap(state.h, h_size, state.c, c_size)) {
      throw py::value_error("out must be arrays that share no memory with each other");
    }
    owner = py::reinterpret_borrow<py::object>(out);
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

/// Rows of x that can be read in place: of S, aligned; null if not.
template <class S>
bool fast_input(const LayerConfig& config, PyObject* x, Index& batch, const S*& data) {
  if (!py::detail::npy_api::get().PyArray_Check_(x)) return false;
  const auto* const array = py::detail::array_proxy(x);
  if (array->nd != 2) return false;
  batch = array->dimensions[0];
  const Index shape[] = {batch, config.input_size};
  return (data = dense_data<S>(x, shape, 2, false)) != nullptr;
}

template <class S>
py::object step(const Network<S>& network, PyObject* x, PyObject* state, PyObject* out,
                PyTypeObject* pair) {
  const LayerConfig& config = network.config();
  Index batch = 0;
  const S* x_data = nullptr;
  LayerInput<S> input;
  StateData<S> initial;
  std::optional<SlowPath<S>> slow;
  bool fast = fast_input(config, x, batch, x_data);
  if (fast) {
    fast = fast_state(config, state, StateShape(config, batch), false, initial);
    input.values = {x_data, config.input_size, 0, 1};
  }
  if (!fast) {
    slow.emplace(config, x, state);
    batch = slow->input.batch;
    input = slow->input.x;
    // Only read, in spite of the type.
    initial = {const_cast<S*>(State<S>::data(slow->initial.h)),
               const_cast<S*>(State<S>::data(slow->initial.c))};
  }
  const Results<S> results(config, batch, out, pair);
  const RaggedBatch rows(batch, 1);
  const NetworkForward<S> call{.batch = &rows,
                               .x = input,
                               .y = {.data = results.y, .batch_stride = config.output_size()},
                               .h0 = initial.h,
                               .c0 = initial.c,
                               .h_final = results.state.h,
                               .c_final = results.state.c};
  // Giving the lock back and taking it again costs as much as a small step.
  constexpr Index kLongOperations = 1 << 20;
  if (batch * network.parameter_count() > kLongOperations) {
    const ReleaseGil release;
    network.infer(call);
  } else {
    network.infer(call);
  }
  return results.owner;
}

PyObject* call_step(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
  if (count != 5) {
    PyErr_SetString(PyExc_TypeError, "step takes network, x_t, state, out, pair");
    return nullptr;
  }
  try {
    return visit_capsule<Network>(arguments[0],
                                  [&](const auto& network) {
                                    return step(network, arguments[1], arguments[2], arguments[3],
                                                reinterpret_cast<PyTypeObject*>(arguments[4]));
                                  })
        .release()
        .ptr();
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const py::builtin_exception& error) {
    error.set_error();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

PyMethodDef definition = {
    "step", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&call_step)), METH_FASTCALL,
    "step(network, x_t, state, out, pair, /)\n--\n\n"
    "`pair` is the subclass of tuple that an LSTM's state is returned as."};

}  // namespace

void register_step(py::module_& m) {
  PyObject* const function = PyCFunction_NewEx(&definition, nullptr, m.attr("__name__").ptr());
  m.add_object("step", py::reinterpret_steal<py::object>(function));
}
