#include "bindings/arrays.hpp"

#include <algorithm>

std::string shape_text(const std::vector<Index>& shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  }
  return text + (shape.size() == 1 ? ",)" : ")");
}

std::vector<Index> shape_of(const py::array& a) { return {a.shape(), a.shape() + a.ndim()}; }

std::string dtype_text(const py::array& a) { return py::str(py::object(a.dtype())); }

std::string type_text(py::handle value) { return py::str(py::type::of(value).attr("__name__")); }

py::array require_array(py::handle value, const char* name) {
  if (!py::isinstance<py::array>(value)) {
    throw py::type_error(std::string(name) + " must be a NumPy array, got " + type_text(value));
  }
  return py::reinterpret_borrow<py::array>(value);
}

void require_shape(const py::array& a, const std::string& name, const char* symbols,
                   const std::vector<Index>& shape) {
  if (shape_of(a) == shape) return;
  throw py::value_error(name + " must have shape " + symbols + " = " + shape_text(shape) +
                        ", got " + shape_text(shape_of(a)));
}

bool is_integer_array(const py::array& a) {
  const char kind = a.dtype().kind();
  return kind == 'i' || kind == 'u';
}

namespace {

using Int64s = py::array_t<std::int64_t, py::array::c_style | py::array::forcecast | kAligned>;

/// The sentence for an integer out of range. Those of uint64 beyond int64 arrive here negative.
py::value_error out_of_range(const py::array& a, const std::string& rule, std::int64_t value) {
  const bool wrapped = a.dtype().kind() == 'u' && value < 0;
  return py::value_error(
      rule + ", got " +
      (wrapped ? std::to_string(static_cast<std::uint64_t>(value)) : std::to_string(value)));
}

}  // namespace

Dense<std::int32_t> require_ids(const py::array& a, const char* name, const char* limit_symbol,
                                Index limit, const bptt::RaggedBatch& batch, bool batch_first) {
  if (!is_integer_array(a)) {
    throw py::type_error(std::string(name) + " must be integers, got dtype " + dtype_text(a));
  }
  const Int64s wide(a);
  Dense<std::int32_t> ids({batch.size(), batch.steps()});
  std::fill_n(ids.mutable_data(), ids.size(), 0);
  batch.for_each_time([&](Index row, Index time) {
    const Index at = row * batch.steps() + time;
    const std::int64_t id = wide.data()[batch_first ? at : time * batch.size() + row];
    if (id < 0 || id >= limit) {
      throw out_of_range(a,
                         std::string(name) + " must lie in [0, " + limit_symbol + ") = [0, " +
                             std::to_string(limit) + ")",
                         id);
    }
    ids.mutable_data()[at] = static_cast<std::int32_t>(id);
  });
  return ids;
}

namespace {

/// What NumPy makes of a value, or null where it makes nothing of it. array::ensure does not say
/// whether memory was missing.
py::array as_array(py::handle value) {
  using Api = py::detail::npy_api;
  PyObject* const made =
      Api::get().PyArray_FromAny_(value.ptr(), nullptr, 0, 0, Api::NPY_ARRAY_ENSUREARRAY_, nullptr);
  if (made == nullptr) {
    if (PyErr_ExceptionMatches(PyExc_MemoryError) != 0) throw py::error_already_set();
    PyErr_Clear();
  }
  return py::reinterpret_steal<py::array>(made);
}

}  // namespace

std::optional<std::vector<Index>> require_lengths(py::handle lengths, Index batch, Index steps) {
  if (lengths.is_none()) return std::nullopt;
  const py::array a = as_array(lengths);
  if (!a) {
    throw py::type_error("lengths must be an array of integers, got " + type_text(lengths));
  }
  if (!is_integer_array(a) && a.size() > 0) {
    throw py::type_error("lengths must be integers, got dtype " + dtype_text(a));
  }
  require_shape(a, "lengths", "(batch,)", {batch});
  const Int64s values(a);
  std::vector<Index> result(values.data(), values.data() + values.size());
  for (const Index length : result) {
    if (length < 0 || length > steps) {
      throw out_of_range(a, "lengths must lie in [0, steps] = [0, " + std::to_string(steps) + "]",
                         length);
    }
  }
  return result;
}
