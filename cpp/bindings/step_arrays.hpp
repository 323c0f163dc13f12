#pragma once

#include <algorithm>

#include "bindings/gil.hpp"
#include "bindings/network_arguments.hpp"

// Arrays of one time step that can be used in place: read without a copy or an allocation, through
// NumPy's own structures.

namespace bptt {

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

inline bool is_tuple_of(PyObject* value, Index size) {
  return PyTuple_Check(value) && PyTuple_GET_SIZE(value) == size;
}

/// The shapes of the states of a batch, (layers, B, P or H).
struct StateShapes {
  Index h[3], memory[3];

  StateShapes(const LayerConfig& config, Index batch)
      : h{config.num_layers, batch, config.h_size()},
        memory{config.num_layers, batch, config.hidden_size} {}
  const Index* of(std::size_t state) const { return state == 0 ? h : memory; }
};

/// The data of a state, dense; false if it cannot be used in place.
template <class S>
bool fast_state(const LayerConfig& config, PyObject* state, const StateShapes& shapes, bool writes,
                States<S>& data) {
  if (state == Py_None) return !writes;
  const auto states = static_cast<std::size_t>(cell_info(config.cell).states());
  if (states == 1) return (data[0] = dense_data<S>(state, shapes.h, 3, writes)) != nullptr;
  if (!is_tuple_of(state, static_cast<Index>(states))) return false;
  bool fits = true;
  for (std::size_t i = 0; i < states && fits; ++i) {
    PyObject* const part = PyTuple_GET_ITEM(state, static_cast<Index>(i));
    fits = (data[i] = dense_data<S>(part, shapes.of(i), 3, writes)) != nullptr;
  }
  return fits;
}

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

/// One step; long ones without the GIL.
template <class S>
void infer_step(const Network<S>& network, const NetworkForward<S>& call, Index batch) {
  // Giving the lock back and taking it again costs as much as a small step.
  constexpr Index kLongOperations = 1 << 20;
  if (batch * network.parameter_count() > kLongOperations) {
    const ReleaseGil release;
    network.infer(call);
  } else {
    network.infer(call);
  }
}

/// What call() returns; null, with the error of Python set, where it throws.
template <class Call>
PyObject* guarded(const Call& call) {
  try {
    return call();
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

}  // namespace bptt
