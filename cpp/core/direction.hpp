#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/buffer.hpp"
#include "core/cells/cell_info.hpp"
#include "core/parallel/plan.hpp"
#include "core/parallel/team.hpp"
#include "core/ragged_batch.hpp"
#include "core/regularization.hpp"
#include "core/storage.hpp"
#include "core/types.hpp"

// One direction of one layer: what it is asked to do, and what it keeps. The work itself is in
// cell_direction.hpp, forward_loop.hpp and backward_loop.hpp, compiled once for all cells.

namespace bptt {

/// Dense features, or token ids that stand for one-hot vectors.
template <class S>
struct LayerInput {
  Sequence<const S> values;          // (B, T, I), any strides
  Sequence<const std::int32_t> ids;  // (B, T)
  Sequence<const S> decay{};         // (B, T, directions*P) factors of h_{t-1}, or null for 1

  LayerInput from_step(Index step) const {
    return {values.from_step(step), ids.from_step(step), decay.from_step(step)};
  }
  /// What one direction with P units reads: its own factors.
  LayerInput of_direction(Index d, Index h_size) const {
    return {values, ids, decay.features_from(d * h_size)};
  }
};

/// U x or W h after its normalization, without the gain.
template <class S>
struct NormalizedRows {
  Buffer<S> values;  // [rows][gates]
  Buffer<S> scales;  // [rows] 1 / sqrt(variance + epsilon)
};

/// The states of a call, of a layer or of a direction, h with P units before those of the memory
/// with H units: null for 0, or where the cell has none.
template <class T>
using States = std::array<T*, kMaxStates>;

/// What forward keeps for backward, which only reads it. Rows are those of (step, slot), in the
/// order of RaggedBatch::first_row.
template <class S>
struct DirectionSaved {
  Buffer<S> gates;                            // [rows][H/W][kSaved][W]
  std::array<Buffer<S>, kMaxMemory> memory;   // [rows][H/W][W] as the equations have left it
  std::array<Buffer<S>, kMaxMemory> zoned;    // the same after zoneout, if there is any
  Buffer<S> outputs;                          // [T][B][H padded] of the cell, if they are projected
  std::array<Buffer<S>, kMaxStates> initial;  // [slots][P or H padded]
  // Of a cell with layer normalization:
  NormalizedRows<S> input, recurrent;
  Buffer<S> cell_moments;  // [rows][2] mean and 1 / sqrt(variance + epsilon) of c

  /// One state of the memory at time t, of all rows.
  const S* memory_states(int i) const {
    const auto at = static_cast<std::size_t>(i);
    return zoned[at].empty() ? memory[at].data() : zoned[at].data();
  }
};

/// One direction of one layer, forward. All memory is that of the caller of the kernels, or of
/// Network, and outlives the run.
template <class S>
struct ForwardTask {
  const RaggedBatch* batch;
  bool reverse;              // reads x from each row's last step to its first
  LayerInput<S> x;           // (B, T, I)
  Sequence<S> y;             // (B, T, P), features adjacent; padding is not written
  States<const S> initial;   // (B, P or H)
  States<S> last;            // the same, may be those of initial
  DirectionSaved<S>* saved;  // allocated and filled here; null in inference
  Regularization regularization;
};

/// One step of one row of one layer, in inference. All memory is that of the caller; states have H
/// padded units. What is written is aligned, and is none of what is read.
template <class S>
struct RowStep {
  const S* x = nullptr;      // [I] features, or null for a token
  Index id = 0;              // the token
  States<const S> before{};  // h_{t-1} and the memory, at any address
  States<S> after{};         // h_t and the memory
  S* gates = nullptr;        // [gates] scratch of cells with two phases
  S* operand = nullptr;      // [Hp] the same
  bool reversed = false;     // begins with the last panels
};

/// The chunks of steps whose weight gradients backward accumulates together.
struct Chunks {
  const Index* ends;  // [count + 1] in steps, beginning with 0
  Index count;
};

/// Sums over all steps, which backward of one segment of steps after the other adds to.
template <class S>
struct GradientAccumulator {
  S* memory = nullptr;             // [accumulator_size] zeroed before the first segment
  bool first = true, last = true;  // which of the segments this is
};

/// One direction of one layer, backward. Ownership as in ForwardTask.
template <class S>
struct BackwardTask {
  const RaggedBatch* batch;
  bool reverse;
  LayerInput<S> x;                   // (B, T, I), as forward has read it
  Sequence<const S> y;               // (B, T, P), as forward has written it
  const DirectionSaved<S>* saved;    // as forward has filled it
  Sequence<const S> d_y;             // (B, T, P), or null for 0
  States<const S> d_last;            // (B, P or H)
  Sequence<S> d_x;                   // (B, T, I), or null if not wanted
  bool add_to_d_x;                   // to what the other direction has written
  States<S> d_initial;               // the same, may be those of d_last
  S* d_parameters;                   // [ParameterSizes::total()] of this direction
  Sequence<S> d_h_steps, d_c_steps;  // (B, T, P) and (B, T, H), features adjacent, or null
  Sequence<S> d_decay;               // (B, T, P), features adjacent, where x has factors
  Regularization regularization;     // that of forward
  Chunks chunks;
  GradientAccumulator<S> accumulator;
};

/// All cells, by CellKind.
const std::vector<CellInfo>& cell_infos();
inline const CellInfo& cell_info(CellKind cell) {
  return cell_infos()[static_cast<std::size_t>(cell)];
}

/// Sizes of one direction's parameters, which are adjacent, in this order.
struct ParameterSizes {
  Index weight_ih, weight_hh, bias, gains, bias_hn, unit_weights, weight_hr;
  Index total() const {
    return weight_ih + weight_hh + bias + gains + bias_hn + unit_weights + weight_hr;
  }
};
/// Of a layer with this many inputs.
inline ParameterSizes parameter_sizes(const LayerConfig& config, Index input_size) {
  const CellInfo& cell = cell_info(config.cell);
  const Index hidden = config.hidden_size, rows = cell.gates * hidden;
  return {.weight_ih = rows * input_size,
          .weight_hh = rows * (config.h_size() / config.num_heads),
          .bias = rows,
          .gains = cell.normalized ? 2 * rows : 0,
          .bias_hn = cell.separate_recurrent ? hidden : 0,
          .unit_weights = cell.unit_weights * hidden,
          .weight_hr = config.proj_size * hidden};
}

/// Rows of all weights of one direction, each of which has a scale with 8 bits: those of weight_ih,
/// weight_hh and weight_hr.
inline Index weight_rows(const LayerConfig& config) {
  return Index{2} * cell_info(config.cell).gates * config.hidden_size + config.proj_size;
}

/// One direction's loop over time, with all its memory: run by all workers of a team together, it
/// allocates nothing and throws nothing. Either all steps at once, or slices of them in the order
/// of execution.
class TimeLoop {
 public:
  /// Allocates scratch memory, which loops that run one after the other may share.
  virtual void allocate_chunk(Arena& arena) = 0;
  virtual void run(Range steps, Worker& worker) const = 0;

 protected:
  ~TimeLoop() = default;
};

/// The packed weights of one direction of one layer; immutable once packed, so that any thread may
/// use them.
template <class S>
class Direction {
 public:
  virtual ~Direction() = default;
  /// Packs one part of the weights, for which the constructor has allocated the memory. The scales
  /// are those of its weight_rows, or null.
  virtual void pack(const S* parameters, const S* scales, int part, int parts) = 0;
  /// Loops live in the arena, and read the batch and the arrays of their tasks while they run.
  virtual TimeLoop* forward(const ForwardTask<S>& task, const ParallelPlan& plan,
                            Arena& arena) const = 0;
  virtual TimeLoop* backward(const BackwardTask<S>& task, const ParallelPlan& plan,
                             Arena& arena) const = 0;

  /// Whether step_row computes what a time loop does: one row in inference, but for the decay of h
  /// and weights of fewer bits.
  virtual bool steps_rows() const = 0;
  virtual void step_row(const RowStep<S>& row) const = 0;

  /// The bytes of a row of a chunk in backward, and the elements of its GradientAccumulator.
  virtual Index chunk_row_bytes() const = 0;
  virtual Index accumulator_size(const LayerInput<S>& x) const = 0;

  /// Copies of what forward has kept: one saved column of the gates, and the cell state, at each
  /// row's own time.
  virtual Index saved_columns() const = 0;
  virtual void read_gates(const RaggedBatch& batch, bool reverse, const DirectionSaved<S>& saved,
                          Index column, Sequence<S> out) const = 0;
  virtual void read_cells(const RaggedBatch& batch, bool reverse, const DirectionSaved<S>& saved,
                          Sequence<S> out) const = 0;
};

/// One direction of a layer with this many inputs, with memory for what backward needs if
/// `training`. The biases are copied from the parameters; the weights are left to `pack`, which
/// keeps them as `storage` says.
template <class S>
std::unique_ptr<Direction<S>> make_direction(const LayerConfig& config, Index input_size,
                                             const S* parameters, bool training, Storage storage);

}  // namespace bptt
