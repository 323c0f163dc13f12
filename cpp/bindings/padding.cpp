#include "core/padding.hpp"

#include <algorithm>
#include <new>
#include <string>

#include "bindings/arrays.hpp"
#include "bindings/gil.hpp"

namespace {

using namespace py::literals;

using Indices = Dense<std::int64_t>;

/// The starts and lengths of the sequences that `indices` (batch,) name, which lie in [0, total).
struct Rows {
  Indices starts, lengths;  // (batch,)
  Index batch, longest = 0;

  Rows(const Indices& all_starts, const Indices& all_lengths, const Indices& indices, Index total)
      : starts(indices.size()), lengths(indices.size()), batch(indices.size()) {
    const Index count = all_starts.size();
    require_shape(all_starts, "starts", "(sequences,)", {count});
    require_shape(all_lengths, "lengths", "(sequences,)", {count});
    require_shape(indices, "indices", "(batch,)", {batch});
    for (Index b = 0; b < batch; ++b) {
      const Index i = indices.data()[b];
      if (i < 0 || i >= count) {
        throw py::value_error("indices must lie in [0, " + std::to_string(count) + "), got " +
                              std::to_string(i));
      }
      const Index first = all_starts.data()[i], length = all_lengths.data()[i];
      if (first < 0 || length < 0 || first > total || length > total - first) {
        throw py::value_error("sequences must lie in the " + std::to_string(total) +
                              " values, got " + std::to_string(length) + " from " +
                              std::to_string(first));
      }
      starts.mutable_data()[b] = first;
      lengths.mutable_data()[b] = length;
      longest = std::max(longest, length);
    }
  }
};

/// Sequences of `values` (total, ..) as one array (batch, longest, ..), 0 behind each; and their
/// lengths.
py::tuple pad(const py::array& values, const Indices& starts, const Indices& lengths,
              const Indices& indices) {
  if (std::string("biuf").find(values.dtype().kind()) == std::string::npos || values.ndim() == 0) {
    throw py::type_error("values must be an array of numbers, got " + dtype_text(values));
  }
  const py::array dense = py::array::ensure(values, py::array::c_style);
  if (!dense) throw std::bad_alloc();
  std::vector<Index> shape = shape_of(dense);
  const Rows rows(starts, lengths, indices, shape[0]);
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
  return py::make_tuple(padded, rows.lengths);
}

}  // namespace

void register_padding(py::module_& m) {
  m.def(
      "pad",
      [](const py::object& values, const py::object& starts, const py::object& lengths,
         const py::object& indices) {
        return pad(require_array(values, "values"), Indices(starts), Indices(lengths),
                   Indices(indices));
      },
      "values"_a, "starts"_a, "lengths"_a, "indices"_a);
}
