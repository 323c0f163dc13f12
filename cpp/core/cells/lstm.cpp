#include "core/cells/lstm.hpp"

#include "core/backward_loop.hpp"
#include "core/forward_loop.hpp"

namespace bptt {

template std::unique_ptr<Direction<float>> make_cell_direction<Lstm, float>(const Activations&,
                                                                            Index, Index,
                                                                            const float*, bool);
template std::unique_ptr<Direction<double>> make_cell_direction<Lstm, double>(const Activations&,
                                                                              Index, Index,
                                                                              const double*, bool);

}  // namespace bptt
