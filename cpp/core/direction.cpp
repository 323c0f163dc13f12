#include "core/direction.hpp"

#include "core/cells/cell_kind.hpp"

namespace bptt {

const std::vector<CellInfo>& cell_infos() {
  static const std::vector<CellInfo> infos{
#define BPTT_CELL(Cell, header) make_cell_info<Cell>(),
#include "core/cells/cells.def"
#undef BPTT_CELL
  };
  return infos;
}

template <class S>
std::unique_ptr<Direction<S>> make_direction(const LayerConfig& config, Index input_size,
                                             const S* parameters, bool training) {
  return visit_cell(config.cell, [&](auto cell) {
    using Cell = typename decltype(cell)::type;
    return make_cell_direction<Cell, S>(config, input_size, parameters, training);
  });
}

template std::unique_ptr<Direction<float>> make_direction(const LayerConfig&, Index, const float*,
                                                          bool);
template std::unique_ptr<Direction<double>> make_direction(const LayerConfig&, Index, const double*,
                                                           bool);

}  // namespace bptt
