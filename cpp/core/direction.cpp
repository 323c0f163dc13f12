#include "core/direction.hpp"

#include "core/backward_loop.hpp"
#include "core/cells/cell_kind.hpp"
#include "core/forward_loop.hpp"

namespace bptt {

const std::vector<CellInfo>& cell_infos() {
  // Never destroyed: daemon threads may be inside of calls when the process ends.
  static const auto* const infos = new std::vector<CellInfo>{
#define BPTT_CELL(Cell, header) cell_info_of<Cell>(),
#include "core/cells/cells.def"
#undef BPTT_CELL
  };
  return *infos;
}

template <class S>
std::unique_ptr<Direction<S>> make_direction(const LayerConfig& config, Index input_size,
                                             const S* parameters, bool training, Storage storage) {
  const CellKernels<S> kernels = visit_cell(config.cell, [&](auto cell) {
    return cell_kernels_of<typename decltype(cell)::type, S>(config.activations);
  });
  return std::make_unique<CellDirection<S>>(cell_info(config.cell), kernels, config, input_size,
                                            parameters, training, storage);
}

template std::unique_ptr<Direction<float>> make_direction(const LayerConfig&, Index, const float*,
                                                          bool, Storage);
template std::unique_ptr<Direction<double>> make_direction(const LayerConfig&, Index, const double*,
                                                           bool, Storage);

}  // namespace bptt
