#pragma once

#include <array>

#include "core/direction.hpp"
#include "core/gemm_packed.hpp"
#include "core/row_normalization.hpp"

// One direction of one layer with any cell: its packed weights. The time loops are in
// forward_loop.hpp and backward_loop.hpp. All of it is compiled once, for cells that are known at
// run time: of a cell, only its equations at one step are compiled (cell_steps.hpp). Padded H is
// Hp, padded P is Pp.
//
// A projection, h_t = W_hr · (what the cell's equations leave), is outside the equations: one more
// product of the loops. Its cell sees h_{t-1} through the recurrent weights alone.

namespace bptt {

template <class S>
class ForwardLoop;
template <class S>
class BackwardLoop;
template <class S>
class WeightGradients;
template <class Cell, class S, bool kUsual>
struct CellSteps;
template <class Cell, class S, bool kUsual>
struct RowSteps;
template <class S>
class CellDirection;

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
  using Row = void (*)(const CellDirection<S>& layer, const RowStep<S>& row);
  // By phase:
  std::array<Forward, kMaxPhases> infer, train;
  std::array<Backward, kMaxPhases> backward;
  Row row;  // all phases; null for a normalized cell
};

/// Instantiated in the cell's own translation unit (cells/cell.cpp.in).
template <class Cell>
CellInfo cell_info_of();
template <class Cell, class S>
CellKernels<S> cell_kernels_of(const Activations& of);

template <class S>
class CellDirection final : public Direction<S> {
 public:
  static constexpr Index kLanes = Vec<S>::kLanes;

  CellDirection(const CellInfo& cell, const CellKernels<S>& kernels, const LayerConfig& config,
                Index input_size, const S* parameters, bool training, Storage storage);
  void pack(const S* parameters, const S* scales, int part, int parts) override;
  TimeLoop* forward(const ForwardTask<S>& task, const ParallelPlan& plan,
                    Arena& arena) const override;
  TimeLoop* backward(const BackwardTask<S>& task, const ParallelPlan& plan,
                     Arena& arena) const override;
  bool steps_rows() const override {
    const bool widens = weight_hh_[0].storage() != Storage::kFull;
    return kernels_.row != nullptr && !projects() && !zones_out_ && !widens;
  }
  void step_row(const RowStep<S>& row) const override { kernels_.row(*this, row); }
  Index chunk_row_bytes() const override {
    const Index projected = projects() ? 2 * h_padded_ + padded_ : 0;
    return ((2 + cell_.normalized) * gates_width() + unit_weights_width() + 2 * h_padded_ +
            2 * input_ + projected) *
           static_cast<Index>(sizeof(S));
  }
  Index accumulator_size(const LayerInput<S>& x) const override {
    return (2 + gains_count() + (x.ids ? input_ : 0)) * gates_width() + unit_weights_width();
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
  template <class Cell, class T, bool kUsual>
  friend struct CellSteps;
  template <class Cell, class T, bool kUsual>
  friend struct RowSteps;
  template <class Cell, class T>
  friend struct BackwardRow;
  struct ChunkGradients;

  Index phase_column(int phase) const { return cell_.phase_column(phase, padded_); }
  Index gate_column(int gate, Index block) const {
    return cell_.gate_column(gate, block, padded_, kLanes);
  }
  Index gates_width() const { return cell_.gates * padded_; }
  Index unit_weights_width() const { return cell_.unit_weights * padded_; }
  int gains_count() const { return cell_.normalized ? 2 : 0; }
  Range blocks_range() const { return {0, blocks_}; }
  Range h_blocks_range() const { return {0, h_padded_ / kLanes}; }
  Index saved_width() const { return cell_.saved * padded_; }

  bool projects() const { return sizes_.weight_hr > 0; }

  /// The recurrent weights whose panels have the units of a phase.
  const PackedWeights<S>& recurrent_weights(int phase) const {
    return weight_hh_[phase < cell_.products() ? phase : 0];
  }

  // With layer normalization: rows of U x or W h, and of c.
  NormalizedRow<S> normalized_row() const { return {hidden_, cell_.gates}; }
  NormalizedRow<S> normalized_cell_row() const { return {hidden_, 1}; }

  /// The gradient of a row before its normalization, from that of gain * z.
  void normalization_gradient(const S* gain, const S* z, S scale, const S* d, S* to) const {
    const auto d_z = [=](Index at) { return Vec<S>::load(d + at) * Vec<S>::load(gain + at); };
    const auto z_of = [=](Index at) { return Vec<S>::load(z + at); };
    const NormalizationGradient<S> gradient = normalized_row().gradient(scale, d_z, z_of);
    for (Index at = 0; at < gates_width(); at += kLanes) gradient(d_z(at), z_of(at)).store(to + at);
  }

  // Of h (0), or of a state of the memory: units, and the same padded.
  Index state_size(int i) const { return i == 0 ? h_size_ : hidden_; }
  Index state_width(int i) const { return i == 0 ? h_padded_ : padded_; }

  /// One of the caller's states, (B, P or H), or zeros for null, as padded rows in the order of
  /// slots.
  S* read_state(const RaggedBatch& batch, const States<const S>& states, int i,
                Arena& arena) const {
    const S* const from = states[static_cast<std::size_t>(i)];
    const Index units = state_size(i), width = state_width(i);
    S* const to = arena.allocate_zeroed<S>(batch.size() * width);
    for (Index slot = 0; from != nullptr && slot < batch.size(); ++slot) {
      std::copy_n(from + batch.row(slot) * units, units, to + slot * width);
    }
    return to;
  }
  /// The inverse for some slots; row_of(slot) points to a padded row.
  template <class RowOf>
  void write_state(const RaggedBatch& batch, Range slots, const States<S>& states, int i,
                   RowOf row_of) const {
    S* const to = states[static_cast<std::size_t>(i)];
    const Index units = state_size(i);
    for (Index slot = slots.first; slot < slots.last; ++slot) {
      std::copy_n(row_of(slot), units, to + batch.row(slot) * units);
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
  /// The factors of recurrent dropout, [slots][Pp]; 0 beyond P.
  S* dropout_factors(const Regularization& of, const RaggedBatch& batch, Arena& arena) const {
    S* const factors = arena.allocate_zeroed<S>(batch.size() * h_padded_);
    const DropoutMask mask = of.dropout_mask();
    for (Index slot = 0; slot < batch.size(); ++slot) {
      mask.factors(batch.row(slot) * h_size_, h_size_, factors + slot * h_padded_);
    }
    return factors;
  }
  /// to = from * factors, for some rows and blocks of [..][Pp].
  void multiply_rows(const S* from, const S* factors, Range rows, Range blocks, S* to) const {
    for (Index row = rows.first; row < rows.last; ++row) {
      const Index end = row * h_padded_ + blocks.last * kLanes;
      for (Index i = row * h_padded_ + blocks.first * kLanes; i < end; ++i)
        to[i] = from[i] * factors[i];
    }
  }

  const ParameterSizes sizes_;
  const bool zones_out_;
  Activations activations_;
  Index input_, hidden_, heads_, blocks_, padded_;
  Index gates_stride_;       // of the rows of gates that products write
  Index h_size_, h_padded_;  // P and Pp
  PackedWeights<S> weight_ih_[kMaxPhases], weight_hh_[kMaxPhases];
  Buffer<S> bias_;               // [gates]
  Buffer<S> gain_ih_, gain_hh_;  // [gates], with layer normalization
  Buffer<S> bias_hn_;            // [gates], where the cell keeps the recurrent part apart
  Buffer<S> unit_weights_;       // [kUnitWeights][Hp]
  PackedWeights<S> weight_ih_transposed_[kMaxPhases], weight_hh_transposed_[kMaxPhases];
  PackedWeights<S> weight_hr_, weight_hr_transposed_;  // of a projection
};

template <class S>
CellDirection<S>::CellDirection(const CellInfo& cell, const CellKernels<S>& kernels,
                                const LayerConfig& config, Index input_size, const S* parameters,
                                bool training, Storage storage)
    : cell_(cell),
      kernels_(kernels),
      sizes_(parameter_sizes(config, input_size)),
      zones_out_(config.zoneout > 0),
      activations_(config.activations),
      input_(input_size),
      hidden_(config.hidden_size),
      heads_(config.num_heads),
      blocks_((hidden_ + kLanes - 1) / kLanes),
      padded_(blocks_ * kLanes),
      gates_stride_(row_stride<S>(gates_width())),
      h_size_(config.h_size()),
      h_padded_((h_size_ + kLanes - 1) / kLanes * kLanes),
      bias_(gates_width()),
      gain_ih_(cell.normalized ? gates_width() : 0),
      gain_hh_(gain_ih_.size()),
      bias_hn_(cell.separate_recurrent ? gates_width() : 0),
      unit_weights_(unit_weights_width()) {
  const S* const bias = parameters + sizes_.weight_ih + sizes_.weight_hh;
  const S* const gains = bias + sizes_.bias;
  const S* const bias_hn = gains + sizes_.gains;
  for (int phase = 0; phase < cell_.products(); ++phase) {
    const int gates = cell_.phase_gates(phase);
    weight_ih_[phase] = PackedWeights<S>(hidden_, gates, input_, 1, 0, storage);
    weight_hh_[phase] = PackedWeights<S>(hidden_, gates, h_size_, heads_, 0, storage);
    if (!training) continue;
    weight_ih_transposed_[phase] = PackedWeights<S>(input_, 1, gates * padded_);
    weight_hh_transposed_[phase] = PackedWeights<S>(h_size_, 1, gates * padded_, heads_, gates);
  }
  if (projects()) {
    weight_hr_ = PackedWeights<S>(h_size_, 1, hidden_, 1, 0, storage);
    if (training) weight_hr_transposed_ = PackedWeights<S>(hidden_, 1, h_padded_);
  }
  const auto copy_gates = [&](const S* from, Buffer<S>& to) {
    to.set_zero();
    for_each_gate_packet([&](Index packed, Index row, Index count) {
      std::copy_n(from + row, count, to.data() + packed);
    });
  };
  copy_gates(bias, bias_);
  if (cell_.normalized) {
    copy_gates(gains, gain_ih_);
    copy_gates(gains + sizes_.bias, gain_hh_);
  }
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
void CellDirection<S>::pack(const S* parameters, const S* scales, int part, int parts) {
  const S* const weight_ih = parameters;
  const S* const weight_hh = weight_ih + sizes_.weight_ih;
  const S* const weight_hr = parameters + sizes_.total() - sizes_.weight_hr;
  const Index rows = cell_.gates * hidden_;
  const S* const scales_hh = scales == nullptr ? nullptr : scales + rows;
  const S* const scales_hr = scales == nullptr ? nullptr : scales_hh + rows;
  for (int phase = 0; phase < cell_.products(); ++phase) {
    const int gates = cell_.phase_gates(phase);
    const Index first_row = cell_.first_gate(phase) * hidden_;
    const Range panels = part_of(weight_hh_[phase].count(), part, parts);
    weight_ih_[phase].pack(weight_ih, first_row, panels, scales);
    weight_hh_[phase].pack(weight_hh, first_row, panels, scales_hh);
    if (weight_hh_transposed_[phase].count() == 0) continue;
    const Range blocks = part_of(blocks_, part, parts);
    weight_ih_transposed_[phase].pack_transposed(weight_ih, first_row, hidden_, gates, blocks);
    weight_hh_transposed_[phase].pack_transposed(weight_hh, first_row, hidden_, gates, blocks);
  }
  weight_hr_.pack(weight_hr, 0, part_of(weight_hr_.count(), part, parts), scales_hr);
  if (weight_hr_transposed_.count() == 0) return;
  const Range blocks = part_of(h_padded_ / kLanes, part, parts);
  weight_hr_transposed_.pack_transposed(weight_hr, 0, h_size_, 1, blocks);
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
