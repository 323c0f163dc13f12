#pragma once

#include "core/cell_direction.hpp"
#include "core/gemm_tn.hpp"

// What backward does once the time loop has finished a chunk of steps: all steps share the weights,
// so their gradients are products over all rows of the chunk; the input's gradient is one product.
//
// Who owns the memory:
//   caller     d_parameters and d_x, which the kernels write in place
//   Network    the accumulator: sums that are carried from chunk to chunk (and, with activation
//              checkpointing, from segment to segment), in the arena for the whole call
//   this loop  row pointers and sums of one chunk, in the arena for the whole call
//   the chunk  packed operands and gate gradients: scratch that is overwritten by every chunk, and
//              that loops which run one after the other share (allocate_chunk)
// Within a parallel_for, a thread writes only its own rows or columns of them.

namespace bptt {

/// What the time loop leaves of one chunk of steps. Scratch of the chunk; rows in the order of
/// RaggedBatch::first_row, those of gates gates_stride_ apart.
template <class S>
struct CellDirection<S>::ChunkGradients {
  S *gates, *recurrent;  // [rows][gates] dL/d(U x + b) and dL/d(W h + bias_hn), often the same
  S* products;           // [rows][gates] dL/d(W h), other than recurrent with layer normalization
  S *h_prev, *operand;   // [rows][Pp] h_{t-1}, and the left operand [rows][Hp] of phase 1
  S* dropped;            // [rows][Pp] the left operand of phase 0: h_{t-1} after dropout
  S* d_h = nullptr;      // [rows][Pp] dL/dh_t, of a projection
  S* unit_weights;       // [rows][kUnitWeights][Hp] dL/d(unit weights)
  // Allocated for the whole call:
  const S** gate_rows;                   // [rows] pointers to the rows of gates …
  const S** recurrent_rows[kMaxPhases];  // … of products, from each phase's column on …
  const S** d_h_rows = nullptr;          // … and of d_h

  void allocate_pointers(const CellDirection<S>& layer, Index count, Arena& arena) {
    gate_rows = arena.allocate<const S*>(count);
    for (int phase = 0; phase < layer.cell_.products(); ++phase) {
      recurrent_rows[phase] = arena.allocate<const S*>(count);
    }
    if (layer.projects()) d_h_rows = arena.allocate<const S*>(count);
  }
  void allocate(const CellDirection<S>& layer, Index rows, bool drops, Arena& arena) {
    const Index stride = layer.gates_stride_;
    gates = arena.allocate<S>(rows * stride);
    recurrent = layer.cell_.separate_recurrent ? arena.allocate<S>(rows * stride) : gates;
    products = layer.cell_.normalized ? arena.allocate<S>(rows * stride) : recurrent;
    h_prev = arena.allocate<S>(rows * layer.h_padded_);
    dropped = drops ? arena.allocate<S>(rows * layer.h_padded_) : h_prev;
    operand = layer.cell_.products() > 1 ? arena.allocate<S>(rows * layer.padded_) : nullptr;
    unit_weights = arena.allocate<S>(rows * layer.unit_weights_width());
    point_to_rows<S>(gate_rows, gates, stride, rows);
    for (int phase = 0; phase < layer.cell_.products(); ++phase) {
      point_to_rows<S>(recurrent_rows[phase], products + layer.phase_column(phase), stride, rows);
    }
    if (!layer.projects()) return;
    d_h = arena.allocate<S>(rows * layer.h_padded_);
    point_to_rows<S>(d_h_rows, d_h, layer.h_padded_, rows);
  }
};

template <class S>
class WeightGradients {
  using ChunkGradients = typename CellDirection<S>::ChunkGradients;

 public:
  WeightGradients(const CellDirection<S>& layer, const BackwardTask<S>& task, Arena& arena)
      : layer_(layer),
        task_(task),
        batch_(*task.batch),
        head_size_(layer.hidden_ / layer.heads_),
        head_depth_(layer.h_size_ / layer.heads_) {
    const ParameterSizes& sizes = layer_.sizes_;
    d_weight_hh_ = task_.d_parameters + sizes.weight_ih;
    d_bias_ = d_weight_hh_ + sizes.weight_hh;
    d_gains_ = d_bias_ + sizes.bias;
    d_bias_hn_ = d_gains_ + sizes.gains;
    d_unit_weights_ = d_bias_hn_ + sizes.bias_hn;
    // A packed column is a row of the weights, or padding, or not of this phase.
    ih_rows_ = arena.allocate_zeroed<S*>(layer_.gates_width());
    const int last_phase = layer_.cell_.products() - 1;
    for (int phase = 0; phase <= last_phase; ++phase) {
      hh_rows_[phase] = arena.allocate_zeroed<S*>(layer_.heads_ * layer_.gates_width());
    }
    layer_.for_each_gate_packet([&](Index packed, Index row, Index count) {
      S** const hh_rows = hh_rows_[packed < layer_.phase_column(last_phase) ? 0 : last_phase];
      for (Index w = 0; w < count; ++w) {
        const Index head = (row + w) % layer_.hidden_ / head_size_;
        ih_rows_[packed + w] = task_.d_parameters + (row + w) * layer_.input_;
        hh_rows[head * layer_.gates_width() + packed + w] = d_weight_hh_ + (row + w) * head_depth_;
      }
    });
    if (layer_.projects()) {
      hr_rows_ = arena.allocate<S*>(layer_.h_size_);
      S* const d_weight_hr = task_.d_parameters + sizes.total() - sizes.weight_hr;
      for (Index i = 0; i < layer_.h_size_; ++i) hr_rows_[i] = d_weight_hr + i * layer_.hidden_;
    }
    d_bias_sums_ = task_.accumulator.memory;
    d_unit_weights_sums_ = d_bias_sums_ + 2 * layer_.gates_width();
    d_gains_sums_ = d_unit_weights_sums_ + layer_.unit_weights_width();
    if (task_.x.ids) d_columns_ = d_gains_sums_ + layer_.gains_count() * layer_.gates_width();
    d_bias_chunk_ = arena.allocate<S>(layer_.gates_width());
    d_unit_weights_chunk_ = arena.allocate<S>(layer_.unit_weights_width());
  }

  void allocate_chunk(Index rows, Arena& arena) {
    const Index width = layer_.gates_width();
    left_ = arena.allocate<S>(Gemm::left_size(width, rows));
    left_recurrent_ = has_own_products() ? arena.allocate<S>(Gemm::left_size(width, rows)) : left_;
    for (int phase = 0; phase < layer_.cell_.products(); ++phase) {
      right_hh_[phase] = arena.allocate<S>(layer_.heads_ * Gemm::right_size(head_depth_, rows));
    }
    if (layer_.projects()) {
      left_hr_ = arena.allocate<S>(Gemm::left_size(layer_.h_size_, rows));
      right_hr_ = arena.allocate<S>(Gemm::right_size(layer_.hidden_, rows));
      output_rows_ = arena.allocate<const S*>(rows);
    }
    if (!task_.x.ids) {
      right_ih_ = arena.allocate<S>(Gemm::right_size(layer_.input_, rows));
      x_rows_ = arena.allocate<const S*>(rows);
    }
    if (task_.d_x) d_x_ = arena.allocate<S>(rows * layer_.weight_ih_transposed_[0].width());
  }

  /// Adds the gradients of a chunk of steps, or sets them if it is the first to come; those of the
  /// input only at some steps, with which the chunk begins.
  void add(Worker& worker, const StepRange& steps, Range inputs, const ChunkGradients& chunk,
           bool first) const {
    const Index input_rows = batch_.first_row(inputs.last) - steps.first_row;
    const bool normalized = layer_.cell_.normalized;
    if (normalized) {
      worker.parallel_for([&](int part, int parts) {
        add_gate_sums(steps, chunk, part_of(layer_.gates_width(), part, parts));
      });
    }
    worker.parallel_for(
        [&](int part, int parts) { pack(steps, chunk, part_of(steps.rows, part, parts)); });
    worker.parallel_for([&](int part, int parts) {
      multiply(steps, part, parts, !first);
      const Range columns = part_of(layer_.gates_width(), part, parts);
      if (!normalized) add_gate_sums(steps, chunk, columns);
      if (layer_.cell_.unit_weights > 0) {
        const Index all = layer_.unit_weights_width();
        add_columns(chunk.unit_weights, steps.rows, all, part_of(all, part, parts),
                    d_unit_weights_chunk_, d_unit_weights_sums_);
      }
      if (task_.x.ids) scatter_ids(steps, chunk, columns);
      if (task_.d_x) input_gradient(steps, chunk, part_of(input_rows, part, parts));
    });
  }

  /// The input's gradient at some steps of a chunk: of a cell whose chunk.gates are that of U x.
  void add_input(const StepRange& steps, Range inputs, const ChunkGradients& chunk) const {
    const Range rows{batch_.first_row(inputs.first), batch_.first_row(inputs.last)};
    const Index first = steps.first_row;
    if (task_.d_x) input_gradient(steps, chunk, {rows.first - first, rows.last - first});
  }

  void finish(Worker& worker, bool nothing_added) const {
    worker.parallel_for([&](int part, int parts) {
      if (nothing_added) {
        const Range own = part_of(layer_.sizes_.total(), part, parts);
        std::fill(task_.d_parameters + own.first, task_.d_parameters + own.last, S(0));
        return;
      }
      if (task_.x.ids) write_columns(part, parts);
      if (part == 0) write_vectors();
    });
  }

 private:
  using Gemm = GemmTn<S>;

  bool has_own_products() const {
    return layer_.cell_.separate_recurrent || layer_.cell_.normalized;
  }

  /// Of some columns of the biases and the gains.
  void add_gate_sums(const StepRange& steps, const ChunkGradients& chunk, Range columns) const {
    const Index width = layer_.gates_width(), stride = layer_.gates_stride_, rows = steps.rows;
    add_columns(chunk.gates, rows, stride, columns, d_bias_chunk_, d_bias_sums_);
    if (layer_.cell_.separate_recurrent) {
      add_columns(chunk.recurrent, rows, stride, columns, d_bias_chunk_, d_bias_sums_ + width);
    }
    if (!layer_.cell_.normalized) return;
    const Index first = steps.first_row * width;
    add_column_products(chunk.gates, task_.saved->input.values.data() + first, rows, columns,
                        d_gains_sums_);
    add_column_products(chunk.recurrent, task_.saved->recurrent.values.data() + first, rows,
                        columns, d_gains_sums_ + width);
  }

  /// From here on, chunk.gates is dL/d(U x).
  void normalization_gradients(const StepRange& steps, const ChunkGradients& chunk,
                               Range own) const {
    const NormalizedRows<S>& input = task_.saved->input;
    const Index width = layer_.gates_width();
    for (Index r = own.first; r < own.last; ++r) {
      const Index row = steps.first_row + r;
      S* const d = chunk.gates + r * layer_.gates_stride_;
      layer_.normalization_gradient(layer_.gain_ih_.data(), input.values.data() + row * width,
                                    input.scales.data()[row], d, d);
    }
  }

  void pack(const StepRange& steps, const ChunkGradients& chunk, Range own) const {
    const Index width = layer_.gates_width(), stride = layer_.gates_stride_, rows = steps.rows;
    if (layer_.cell_.normalized) normalization_gradients(steps, chunk, own);
    Gemm::pack_left(chunk.gates, stride, width, own, rows, left_);
    if (has_own_products()) {
      Gemm::pack_left(chunk.products, stride, width, own, rows, left_recurrent_);
    }
    for (int phase = 0; phase < layer_.cell_.products(); ++phase) {
      const S* const operand = phase == 0 ? chunk.dropped : chunk.operand;
      for (Index head = 0; head < layer_.heads_; ++head) {
        const S* const first = operand + head * head_depth_;
        Gemm::pack_right([&](Index r) { return first + r * layer_.h_padded_; }, 1, head_depth_, own,
                         rows, right_hh_[phase] + head * Gemm::right_size(head_depth_, rows));
      }
    }
    if (layer_.projects()) pack_projection(steps, chunk, own);
    if (task_.x.ids) return;
    for_each_row(steps, own, [&](Index r, Index row, Index time) {
      x_rows_[r] = task_.x.values.row(row, time);
    });
    Gemm::pack_right([&](Index r) { return x_rows_[r]; }, task_.x.values.feature_stride,
                     layer_.input_, own, rows, right_ih_);
  }

  /// The outputs of the cell are the right operand.
  void pack_projection(const StepRange& steps, const ChunkGradients& chunk, Range own) const {
    Gemm::pack_left(chunk.d_h, layer_.h_padded_, layer_.h_size_, own, steps.rows, left_hr_);
    const S* const outputs = task_.saved->outputs.data();
    for_each_row(steps, own, [&](Index r, Index row, Index time) {
      output_rows_[r] = outputs + (time * batch_.size() + row) * layer_.padded_;
    });
    Gemm::pack_right([&](Index r) { return output_rows_[r]; }, 1, layer_.hidden_, own, steps.rows,
                     right_hr_);
  }

  void multiply(const StepRange& steps, int part, int parts, bool add) const {
    const Index width = layer_.gates_width(), rows = steps.rows;
    for (int phase = 0; phase < layer_.cell_.products(); ++phase) {
      const Index block = layer_.cell_.phase_gates(phase) * CellDirection<S>::kLanes;
      for (Index head = 0; head < layer_.heads_; ++head) {
        const Range blocks = blocks_of(head);
        const Index column = layer_.phase_column(phase);
        const Index begin = (column + blocks.first * block) / Gemm::kTileColumns;
        const Index end = Gemm::tiles(column + blocks.last * block);
        const Range own = part_of(end - begin, part, parts);
        Gemm::run(left_recurrent_, right_hh_[phase] + head * Gemm::right_size(head_depth_, rows),
                  rows, {begin + own.first, begin + own.last}, width, head_depth_,
                  hh_rows_[phase] + head * width, add);
      }
    }
    if (layer_.projects()) {
      const Index tiles = Gemm::tiles(layer_.h_size_);
      Gemm::run(left_hr_, right_hr_, rows, part_of(tiles, part, parts), layer_.h_size_,
                layer_.hidden_, hr_rows_, add);
    }
    if (task_.x.ids) return;
    Gemm::run(left_, right_ih_, rows, part_of(Gemm::tiles(width), part, parts), width,
              layer_.input_, ih_rows_, add);
  }

  /// The blocks of units that a head has a part in.
  Range blocks_of(Index head) const {
    constexpr Index kLanes = CellDirection<S>::kLanes;
    return {head * head_size_ / kLanes, ((head + 1) * head_size_ + kLanes - 1) / kLanes};
  }

  /// visit(row of the chunk, the caller's row, time) for some rows of the chunk.
  template <class Visit>
  void for_each_row(const StepRange& steps, Range own, Visit visit) const {
    Index row = 0;
    batch_.for_each_row(steps.first, steps.last, [&](Index slot, Index s) {
      if (row >= own.first && row < own.last) {
        visit(row, batch_.row(slot), batch_.time(slot, s, task_.reverse));
      }
      ++row;
    });
  }

  /// Adds the sums of some columns of from [rows][stride] to `to`; `sum` is scratch of that width.
  void add_columns(const S* from, Index rows, Index stride, Range columns, S* sum, S* to) const {
    std::fill(sum + columns.first, sum + columns.last, S(0));
    for (Index r = 0; r < rows; ++r, from += stride) {
      for (Index i = columns.first; i < columns.last; ++i) sum[i] += from[i];
    }
    for (Index i = columns.first; i < columns.last; ++i) to[i] += sum[i];
  }

  /// The same with the products of the gradients and of what is saved, for the gradient of a gain.
  void add_column_products(const S* d, const S* saved, Index rows, Range columns, S* to) const {
    S* const sum = d_bias_chunk_;
    std::fill(sum + columns.first, sum + columns.last, S(0));
    for (Index r = 0; r < rows; ++r, d += layer_.gates_stride_, saved += layer_.gates_width()) {
      for (Index i = columns.first; i < columns.last; ++i) sum[i] += d[i] * saved[i];
    }
    for (Index i = columns.first; i < columns.last; ++i) to[i] += sum[i];
  }

  /// One-hot rows: the gradient of U is a sum over the columns that were read. Kept as [I][gates].
  void scatter_ids(const StepRange& steps, const ChunkGradients& chunk, Range columns) const {
    for_each_row(steps, {0, steps.rows}, [&](Index r, Index row, Index time) {
      S* const to = d_columns_ + *task_.x.ids.row(row, time) * layer_.gates_width();
      const S* const from = chunk.gates + r * layer_.gates_stride_;
      for (Index i = columns.first; i < columns.last; ++i) to[i] += from[i];
    });
  }

  void write_columns(int part, int parts) const {
    const Range own = part_of(layer_.gates_width(), part, parts);
    for (Index column = own.first; column < own.last; ++column) {
      if (ih_rows_[column] == nullptr) continue;
      for (Index i = 0; i < layer_.input_; ++i) {
        ih_rows_[column][i] = d_columns_[i * layer_.gates_width() + column];
      }
    }
  }

  /// The gradients of the biases, the gains and the unit weights.
  void write_vectors() const {
    const Index width = layer_.gates_width(), rows = layer_.cell_.gates * layer_.hidden_;
    layer_.for_each_gate_packet([&](Index packed, Index row, Index count) {
      std::copy_n(d_bias_sums_ + packed, count, d_bias_ + row);
      for (int i = 0; i < layer_.gains_count(); ++i) {
        std::copy_n(d_gains_sums_ + i * width + packed, count, d_gains_ + i * rows + row);
      }
    });
    if (layer_.cell_.separate_recurrent) {
      const S* const sums = d_bias_sums_ + width;
      layer_.for_each_packet(layer_.cell_.recurrent_bias_gate,
                             [&](Index packed, Index unit, Index count) {
                               std::copy_n(sums + packed, count, d_bias_hn_ + unit);
                             });
    }
    for (int i = 0; i < layer_.cell_.unit_weights; ++i) {
      std::copy_n(d_unit_weights_sums_ + i * layer_.padded_, layer_.hidden_,
                  d_unit_weights_ + i * layer_.hidden_);
    }
  }

  void input_gradient(const StepRange& steps, const ChunkGradients& chunk, Range own) const {
    const Index width = layer_.weight_ih_transposed_[0].width();
    S* const d_x = d_x_ + own.first * width;
    for (int phase = 0; phase < layer_.cell_.products(); ++phase) {
      const PackedWeights<S>& weights = layer_.weight_ih_transposed_[phase];
      // Phase 0's rows of gates are those of gate_rows, a later phase's lie further on.
      const S* const* const gates =
          layer_.cell_.products() > 1 ? chunk.recurrent_rows[phase] : chunk.gate_rows;
      gemm_packed(weights, 0, weights.count(), RowPointers<S>{gates + own.first}, own.size(),
                  phase == 0 ? nullptr : d_x, width, d_x, width);
    }
    for_each_row(steps, own, [&](Index r, Index row, Index time) {
      const S* const from = d_x_ + r * width;
      S* const to = task_.d_x.row(row, time);
      if (task_.add_to_d_x) {
        for (Index i = 0; i < layer_.input_; ++i) to[i] += from[i];
      } else {
        std::copy_n(from, layer_.input_, to);
      }
    });
  }

  const CellDirection<S>& layer_;
  const BackwardTask<S>& task_;
  const RaggedBatch& batch_;
  const Index head_size_, head_depth_;  // units of a head, and those of h that it sees
  // Where the caller's d_parameters hold them:
  S *d_weight_hh_, *d_bias_, *d_gains_, *d_bias_hn_, *d_unit_weights_;
  // In the accumulator:
  S* d_bias_sums_;          // [2][gates] of gates and of recurrent
  S* d_unit_weights_sums_;  // [kUnitWeights][Hp]
  S* d_gains_sums_;         // [gains][gates]
  S* d_columns_ = nullptr;  // [I][gates] for ids
  // In the arena, for the whole call:
  S **ih_rows_, **hh_rows_[kMaxPhases];  // [gates], [heads][gates] rows of d_parameters
  S** hr_rows_ = nullptr;                // [P] rows of d_parameters, of a projection
  S* d_bias_chunk_;                      // [gates]
  S* d_unit_weights_chunk_;              // [kUnitWeights][Hp]
  // Scratch of the chunk, the operands packed for GemmTn:
  S *left_ = nullptr, *left_recurrent_ = nullptr;       // [left_size] gate gradients
  S *right_hh_[kMaxPhases] = {}, *right_ih_ = nullptr;  // [heads][right_size] operand, x
  S *left_hr_ = nullptr, *right_hr_ = nullptr;  // the same of a projection: dL/dh_t, outputs
  const S** x_rows_ = nullptr;                  // [rows] pointers to rows of x
  const S** output_rows_ = nullptr;             // [rows] … and of the cell's outputs
  S* d_x_ = nullptr;                            // [rows][I padded]
};

}  // namespace bptt
