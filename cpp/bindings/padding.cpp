#include "core/padding.hpp"

#include <algorithm>
#include <string>

#include "bindings/arrays.hpp"
#include "bindings/gil.hpp"

namespace {

using namespace py::literals;

/// The starts and lengths of sequences, (batch,), which lie in [0, total).
struct Rows {
  Dense<std::int64_t> starts, lengths;
  Index batch, longest = 0;

  Rows(const py::object& begin, const py::object& size, Index total)
      : starts(begin), lengths(size), batch(starts.size()) {
    require_shape(starts, "starts", "(batch,)", {batch});
    require_shape(lengths, "lengths", "(batch,)", {batch});
    for (Index b = 0; b < batch; ++b) {
      const Index first = starts.at(b), length = lengths.at(b);
      if (first < 0 || length < 0 || first > total || length > total - first) {
        throw py::value_error("sequences must lie in the " + std::to_string(total) +
                              " values, got " + std::to_string(length) + " from " +
                              std::to_string(first));
      }
      longest = std::max(longest, length);
    }
  }
};

/// Sequences of `values` (total, ..) as one array (batch, longest, ..), 0 behind each.
py::array pad(const py::array& values, const py::object& starts, const py::object& lengths) {
  if (std::string("biuf").find(values.dtype().kind()) == std::string::npos || values.ndim() == 0) {
    throw py::type_error("values must be an array of numbers, got " + dtype_text(values));
  }
  const py::array dense = py::array::ensure(values, py::array::c_style);
  std::vector<Index> shape = shape_of(dense);
  const Rows rows(starts, lengths, shape[0]);
  Index bytes = dense.itemsize();
  for (std::size_t axis = 1; axis < shape.size(); ++axis) bytes *= shape[axis];
  shape[0] = rows.longest;
  shape.insert(shape.begin(), rows.batch);
  py::array padded(dense.dtype(), shape);
  const bptt::Places from{static_cast<const std::byte*>(dense.data()), bytes, rows.starts.data(),
                          rows.lengths.data()};
  auto* const to = static_cast<std::byte*>(padded.mutable_data());
  {
    const ReleaseGil release;
    bptt::pad(from, rows.batch, rows.longest, to);
  }
  return padded;
}

}  // namespace

void register_padding(py::module_& m) {
  m.def(
      "pad",
      [](const py::object& values, const py::object& starts, const py::object& lengths)
          -> py::array { return pad(require_array(values, "values"), starts, lengths); },
      "values"_a, "starts"_a, "lengths"_a);
}
