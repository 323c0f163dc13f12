#pragma once

#include <array>

#include "core/direction.hpp"
#include "core/gemm_packed.hpp"

// One direction of one layer with any cell: its packed weights. The time loops are in
// forward_loop.hpp and backward_loop.hpp. All of it is compiled once, for cells that are known at
// run time: of a cell, only its equations at one step are compiled (cell_steps.hpp). Padded H is
// Hp.

namespace bptt {

template <class S>
class ForwardLoop;
template <class S>
class BackwardLoop;
template <class S>
class WeightGradients;
template <class Cell, class S>
struct CellSteps;

/// Some steps, and the first and the number of their rows in the order of RaggedBatch::first_row.
struct StepRange {
  Index first, last;
  Index first_row, rows;
};

/// What is compiled for a cell: one phase of one step of a time loop, for some rows and units.
template <class S>
struct CellKernels {
  using Forward = void (*)(const ForwardLoop<S>& loop, Index s, Range slots, S* gates,
                           Range panels);
  using Backward = void (*)(const BackwardLoop<S>& loop, Index s, Range slots,
                            const StepRange& steps, Range blocks);
  // By phase:
  std::array<Forward, kMaxPhases> infer, train;
  std::array<Backward, kMaxPhases> backward;
};

/// Instantiated in the cell's own translation unit (cells/cell.cpp.in).
template <class Cell>
CellInfo cell_info_of();
template <class Cell, class S>
CellKernels<S> cell_kernels_of();

template <class S>
class CellDirection final : public Direction<S> {
 public:
  static constexpr Index kLanes = Vec<S>::kLanes;

  CellDirection(const CellInfo& cell, const CellKernels<S>& kernels, const LayerConfig& config,
                Index input_size, const S* parameters, bool training);
  void pack(const S* parameters, int part, int parts) override;
  TimeLoop* forward(const ForwardTask<S>& task, const ParallelPlan& plan,
                    Arena& arena) const override;
  TimeLoop* backward(const BackwardTask<S>& task, const ParallelPlan& plan,
                     Arena& arena) const override;
  Index chunk_row_bytes() const override {
    return (2 * gates_width() + unit_weights_width() + 2 * padded_ + 2 * input_) *
           static_cast<Index>(sizeof(S));
  }
  Index accumulator_size(const LayerInput<S>& x) const override {
    return (2 + (x.ids ? input_ : 0)) * gates_width() + unit_weights_width();
  }
  Index saved_columns() const override { return cell_.saved; }
  void read_gates(const RaggedBatch& batch, bool reverse, const DirectionSaved<S>& saved,
                  Index column, Sequence<S> out) const override;
  void read_cells(const RaggedBatch& batch, bool reverse, const DirectionSaved<S>& saved,
                  Sequence<S> out) const override;

 private:
  friend class ForwardLoop<S>;
  friend class BackwardLoop<S>;
  friend class WeightGradients<S>;
  template <class Cell, class T>
  friend struct CellSteps;
  struct ChunkGradients;

  Index phase_column(int phase) const { return cell_.phase_column(phase, padded_); }
  Index gate_column(int gate, Index block) const {
    return cell_.gate_column(gate, block, padded_, kLanes);
  }
  Index gates_width() const { return cell_.gates * padded_; }
  Index unit_weights_width() const { return cell_.unit_weights * padded_; }
  Range blocks_range() const { return {0, blocks_}; }
  Index saved_width() const { return cell_.saved * padded_; }

  /// The caller's (B, H), or zeros for null, as rows of Hp in the order of slots.
  S* read_state(const RaggedBatch& batch, const S* from, Arena& arena) const {
    S* const to = arena.allocate_zeroed<S>(batch.size() * padded_);
    for (Index slot = 0; from != nullptr && slot < batch.size(); ++slot) {
      std::copy_n(from + batch.row(slot) * hidden_, hidden_, to + slot * padded_);
    }
    return to;
  }
  /// The inverse for some slots; row_of(slot) points to a row of Hp.
  template <class RowOf>
  void write_state(const RaggedBatch& batch, Range slots, S* to, RowOf row_of) const {
    for (Index slot = slots.first; slot < slots.last; ++slot) {
      std::copy_n(row_of(slot), hidden_, to + batch.row(slot) * hidden_);
    }
  }

  /// copy(column in a packed row, unit, how many of its lanes are real units) for all of one gate.
  template <class Copy>
  void for_each_packet(int gate, Copy copy) const {
    for (Index block = 0; block < blocks_; ++block) {
      const Index unit = block * kLanes;
      copy(gate_column(gate, block), unit, std::min(kLanes, hidden_ - unit));
    }
  }
  /// The same for all gates, with the row in (G*H) instead of the unit.
  template <class Copy>
  void for_each_gate_packet(Copy copy) const {
    for (int gate = 0; gate < cell_.gates; ++gate) {
      for_each_packet(gate, [&](Index packed, Index unit, Index count) {
        copy(packed, gate * hidden_ + unit, count);
      });
    }
  }

  const CellInfo cell_;
  const CellKernels<S> kernels_;
  const ParameterSizes sizes_;
  /// The factors of recurrent dropout, [slots][Hp]; 0 beyond H.
  S* dropout_factors(const Regularization& of, const RaggedBatch& batch, Arena& arena) const {
    S* const factors = arena.allocate_zeroed<S>(batch.size() * padded_);
    const DropoutMask mask = of.dropout_mask();
    for (Index slot = 0; slot < batch.size(); ++slot) {
      mask.factors(batch.row(slot) * hidden_, hidden_, factors + slot * padded_);
    }
    return factors;
  }
  /// to = from * factors, for some rows and blocks of [..][Hp].
  void multiply_rows(const S* from, const S* factors, Range rows, Range blocks, S* to) const {
    for (Index row = rows.first; row < rows.last; ++row) {
      const Index end = row * padded_ + blocks.last * kLanes;
      for (Index i = row * padded_ + blocks.first * kLanes; i < end; ++i)
        to[i] = from[i] * factors[i];
    }
  }

  Activations activations_;
  Index input_, hidden_, heads_, blocks_, padded_;
  PackedWeights<S> weight_ih_[kMaxPhases], weight_hh_[kMaxPhases];
  Buffer<S> bias_;          // [gates]
  Buffer<S> bias_hn_;       // [gates], where the cell keeps the recurrent part apart
  Buffer<S> unit_weights_;  // [kUnitWeights][Hp]
  PackedWeights<S> weight_ih_transposed_[kMaxPhases], weight_hh_transposed_[kMaxPhases];
};

template <class S>
CellDirection<S>::CellDirection(const CellInfo& cell, const CellKernels<S>& kernels,
                                const LayerConfig& config, Index input_size, const S* parameters,
                                bool training)
    : cell_(cell),
      kernels_(kernels),
      sizes_(parameter_sizes(config, input_size)),
      activations_(config.activations),
      input_(input_size),
      hidden_(config.hidden_size),
      heads_(config.num_heads),
      blocks_((hidden_ + kLanes - 1) / kLanes),
      padded_(blocks_ * kLanes),
      bias_(gates_width()),
      bias_hn_(cell.separate_recurrent ? gates_width() : 0),
      unit_weights_(unit_weights_width()) {
  const S* const bias = parameters + sizes_.weight_ih + sizes_.weight_hh;
  const S* const bias_hn = bias + sizes_.bias;
  for (int phase = 0; phase < cell_.phases; ++phase) {
    const int gates = cell_.phase_gates(phase);
    weight_ih_[phase] = PackedWeights<S>(hidden_, gates, input_);
    weight_hh_[phase] = PackedWeights<S>(hidden_, gates, hidden_, heads_);
    if (!training) continue;
    weight_ih_transposed_[phase] = PackedWeights<S>(input_, 1, gates * padded_);
    weight_hh_transposed_[phase] = PackedWeights<S>(hidden_, 1, gates * padded_, heads_, gates);
  }
  bias_.set_zero();
  for_each_gate_packet([&](Index packed, Index row, Index count) {
    std::copy_n(bias + row, count, bias_.data() + packed);
  });
  if (cell_.separate_recurrent) {
    bias_hn_.set_zero();
    for_each_packet(cell_.recurrent_bias_gate, [&](Index packed, Index unit, Index count) {
      std::copy_n(bias_hn + unit, count, bias_hn_.data() + packed);
    });
  }
  if (cell_.unit_weights > 0) {
    const S* const unit_weights = bias_hn + sizes_.bias_hn;
    unit_weights_.set_zero();
    for (int i = 0; i < cell_.unit_weights; ++i) {
      std::copy_n(unit_weights + i * hidden_, hidden_, unit_weights_.data() + i * padded_);
    }
  }
}

template <class S>
void CellDirection<S>::pack(const S* parameters, int part, int parts) {
  const S* const weight_ih = parameters;
  const S* const weight_hh = weight_ih + sizes_.weight_ih;
  for (int phase = 0; phase < cell_.phases; ++phase) {
    const int gates = cell_.phase_gates(phase);
    const Index first_row = cell_.first_gate(phase) * hidden_;
    const Range panels = part_of(weight_hh_[phase].count(), part, parts);
    weight_ih_[phase].pack(weight_ih, first_row, panels);
    weight_hh_[phase].pack(weight_hh, first_row, panels);
    if (weight_hh_transposed_[phase].count() == 0) continue;
    const Range blocks = part_of(blocks_, part, parts);
    weight_ih_transposed_[phase].pack_transposed(weight_ih, first_row, hidden_, gates, blocks);
    weight_hh_transposed_[phase].pack_transposed(weight_hh, first_row, hidden_, gates, blocks);
  }
}

template <class S>
void point_to_rows(const S** pointers, const S* first, Index stride, Index rows) {
  for (Index r = 0; r < rows; ++r) pointers[r] = first + r * stride;
}
template <class S>
const S** row_pointers(Arena& arena, const S* first, Index stride, Index rows) {
  const S** const pointers = arena.allocate<const S*>(rows);
  point_to_rows(pointers, first, stride, rows);
  return pointers;
}

template <class S, class Visit>
void for_each_saved_row(const RaggedBatch& batch, bool reverse, Sequence<S> out, Visit visit) {
  Index row = 0;
  batch.for_each_row(0, batch.longest(), [&](Index slot, Index s) {
    visit(row++, out.row(batch.row(slot), batch.time(slot, s, reverse)));
  });
}

template <class S>
void CellDirection<S>::read_gates(const RaggedBatch& batch, bool reverse,
                                  const DirectionSaved<S>& saved, Index column,
                                  Sequence<S> out) const {
  for_each_saved_row(batch, reverse, out, [&](Index row, S* to) {
    const S* const from = saved.gates.data() + row * saved_width() + column * kLanes;
    for (Index unit = 0; unit < hidden_; ++unit) {
      to[unit] = from[unit / kLanes * cell_.saved * kLanes + unit % kLanes];
    }
  });
}

template <class S>
void CellDirection<S>::read_cells(const RaggedBatch& batch, bool reverse,
                                  const DirectionSaved<S>& saved, Sequence<S> out) const {
  for_each_saved_row(batch, reverse, out, [&](Index row, S* to) {
    std::copy_n(saved.memory_states(0) + row * padded_, hidden_, to);
  });
}

}  // namespace bptt
