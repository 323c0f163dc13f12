#include "core/direction.hpp"

#include "core/cells/table.hpp"

namespace bptt {

Index gates_of(CellKind kind) {
  return visit_cell(kind, [](auto cell) -> Index { return cell.kGates; });
}

ParameterSizes parameter_sizes(CellKind kind, Index input_size, Index hidden_size) {
  return visit_cell(kind, [=](auto cell) -> ParameterSizes {
    const Index rows = cell.kGates * hidden_size;
    return {rows * input_size, rows * hidden_size, rows, cell.kSeparateRecurrent ? hidden_size : 0};
  });
}

template <class S>
std::unique_ptr<Direction<S>> make_direction(CellKind kind, const Activations& activations,
                                             Index input_size, Index hidden_size,
                                             const S* parameters, bool training) {
  return visit_cell(kind, [&](auto cell) {
    return make_cell_direction<decltype(cell), S>(activations, input_size, hidden_size, parameters,
                                                  training);
  });
}

template std::unique_ptr<Direction<float>> make_direction<float>(CellKind, const Activations&,
                                                                 Index, Index, const float*, bool);
template std::unique_ptr<Direction<double>> make_direction<double>(CellKind, const Activations&,
                                                                   Index, Index, const double*,
                                                                   bool);

}  // namespace bptt
