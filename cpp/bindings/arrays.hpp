#pragma once

#include <pybind11/numpy.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bindings/register.hpp"
#include "core/buffer.hpp"
#include "core/ragged_batch.hpp"
#include "core/types.hpp"

// Argument checks: the house sentence is "<name> must <rule>, got <what came>".

using bptt::Index;
using bptt::Sequence;

/// The flag of arrays whose elements lie at multiples of their size; `isinstance` ignores it.
constexpr int kAligned = py::detail::npy_api::NPY_ARRAY_ALIGNED_;

/// C-contiguous and aligned: the constructor copies arrays that are not.
template <class S>
using Dense = py::array_t<S, py::array::c_style | kAligned>;

/// "(2, 5, 8)"
std::string shape_text(const std::vector<Index>& shape);
std::vector<Index> shape_of(const py::array& a);
std::string dtype_text(const py::array& a);
std::string type_text(py::handle value);

/// A NumPy array, or TypeError.
py::array require_array(py::handle value, const char* name);
/// `a.shape == shape`, or ValueError that quotes `symbols`, e.g. "(batch, hidden_size)".
void require_shape(const py::array& a, const std::string& name, const char* symbols,
                   const std::vector<Index>& shape);

template <class S>
const char* dtype_name() {
  return sizeof(S) == 4 ? "float32" : "float64";
}

inline bool is_aligned(const py::array& a) { return (a.flags() & kAligned) != 0; }

/// Whether an array is a Dense<S> as it is, which can be used in place.
template <class S>
bool is_dense(const py::array& a) {
  return py::isinstance<Dense<S>>(a) && is_aligned(a);
}

/// An aligned array of S with any strides that are whole elements (others are copied).
template <class S>
py::array_t<S> require_float_array(py::handle value, const char* name, const char* also = "") {
  py::array a = require_array(value, name);
  if (!py::isinstance<py::array_t<S>>(a)) {
    throw py::type_error(std::string(name) + " must have dtype " + dtype_name<S>() + also +
                         ", got " + dtype_text(a));
  }
  bool addressable = is_aligned(a);
  for (py::ssize_t i = 0; i < a.ndim(); ++i) addressable &= a.strides(i) % a.itemsize() == 0;
  if (!addressable) return Dense<S>(a);
  return py::reinterpret_borrow<py::array_t<S>>(a);
}

/// The same with a given shape, C-contiguous (copied if it was not).
template <class S>
Dense<S> require_dense(py::handle value, const std::string& name, const char* symbols,
                       const std::vector<Index>& shape) {
  const py::array_t<S> a = require_float_array<S>(value, name.c_str());
  require_shape(a, name, symbols, shape);
  return Dense<S>(a);
}

/// A writable C-contiguous gradient array, used in place.
template <class S>
S* gradient_data(py::handle value, const char* name, const char* symbols,
                 const std::vector<Index>& shape) {
  if (value.is_none()) return nullptr;
  auto a = py::reinterpret_borrow<py::array>(value);
  require_shape(a, name, symbols, shape);
  if (!is_dense<S>(a)) {
    throw py::type_error(std::string(name) +
                         " must be a C-contiguous, aligned array of the layer's dtype");
  }
  return static_cast<S*>(a.mutable_data());
}

/// An uninitialized array. Large ones are in memory of allocate_memory, which is reused when freed.
template <class S>
Dense<S> new_array(const std::vector<Index>& shape) {
  constexpr Index kLargeBytes = Index{1} << 20;
  Index count = 1;
  for (const Index size : shape) count *= size;
  if (count * static_cast<Index>(sizeof(S)) < kLargeBytes) return Dense<S>(shape);
  auto memory = std::make_unique<bptt::Buffer<S>>(count);
  S* const data = memory->data();
  const py::capsule owner(memory.get(),
                          [](void* buffer) { delete static_cast<bptt::Buffer<S>*>(buffer); });
  memory.release();  // the capsule's
  return Dense<S>(shape, data, owner);
}

/// A (batch, step, feature) view; `a` has the axes (step, batch, …) if time_major.
template <class S>
Sequence<S> sequence_view(S* data, const py::array& a, bool time_major) {
  const auto stride = [&](int axis) { return static_cast<Index>(a.strides(axis) / a.itemsize()); };
  return {data, stride(time_major ? 1 : 0), stride(time_major ? 0 : 1),
          a.ndim() > 2 ? stride(2) : 1};
}

bool is_integer_array(const py::array& a);

/// Integers (batch, steps) of any kind, or (steps, batch), as int32 (batch, steps), each checked to
/// lie in [0, limit); TypeError, ValueError. Padding is not read and becomes 0.
Dense<std::int32_t> require_ids(const py::array& a, const char* name, const char* limit_symbol,
                                Index limit, const bptt::RaggedBatch& batch,
                                bool batch_first = true);

/// Lengths of a ragged batch, or nothing for None; checked against the batch and the steps.
std::optional<std::vector<Index>> require_lengths(py::handle lengths, Index batch, Index steps);

/// Calls visit(float()) or visit(double()) for the dtype of a float array.
template <class Visit>
auto visit_float_dtype(const py::array& a, const char* name, Visit visit) {
  if (py::isinstance<py::array_t<float>>(a)) return visit(float());
  if (py::isinstance<py::array_t<double>>(a)) return visit(double());
  throw py::type_error(std::string(name) + " must have dtype float32 or float64, got " +
                       dtype_text(a));
}
