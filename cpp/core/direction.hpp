#pragma once

#include <cstdint>
#include <memory>

#include "core/buffer.hpp"
#include "core/parallel/plan.hpp"
#include "core/parallel/team.hpp"
#include "core/ragged_batch.hpp"
#include "core/types.hpp"

// One direction of one layer: what it is asked to do, and what it keeps. The work itself is in
// cell_direction.hpp, forward_loop.hpp and backward_loop.hpp, written once for all cells.

namespace bptt {

/// Dense features, or token ids that stand for one-hot vectors.
template <class S>
struct LayerInput {
  Sequence<const S> values;
  Sequence<const std::int32_t> ids;

  LayerInput from_step(Index step) const { return {values.from_step(step), ids.from_step(step)}; }
};

/// What forward keeps for backward, read-only there; rows packed as RaggedBatch says.
template <class S>
struct DirectionSaved {
  Buffer<S> gates;   // [rows][H/W][saved columns][W]
  Buffer<S> cells;   // [rows][H/W][W], only with a cell state
  Buffer<S> h0, c0;  // [B by slot][H padded]
};

template <class S>
struct ForwardTask {
  const RaggedBatch* batch;
  bool reverse;
  LayerInput<S> x;
  Sequence<S> y;             // features adjacent; padding is not written
  const S *h0, *c0;          // (B, H), or null for 0
  S *h_final, *c_final;      // (B, H)
  DirectionSaved<S>* saved;  // null in inference
};

/// The chunks of steps whose gradients of the weights backward adds up together.
struct Chunks {
  const Index* ends;  // in steps, after a 0
  Index count;
};

/// Sums over all steps, to which the backward loops over one segment of steps after another add.
template <class S>
struct GradientAccumulator {
  S* memory = nullptr;             // zeroed before the first segment
  bool first = true, last = true;  // which of the segments this is
};

template <class S>
struct BackwardTask {
  const RaggedBatch* batch;
  bool reverse;
  LayerInput<S> x;
  Sequence<const S> y;
  const DirectionSaved<S>* saved;
  Sequence<const S> d_y;             // or null for 0
  const S *d_h_final, *d_c_final;    // (B, H), or null for 0
  Sequence<S> d_x;                   // or null if not wanted
  bool add_to_d_x;                   // the other direction has written it already
  S *d_h0, *d_c0;                    // (B, H)
  S* d_parameters;                   // this direction's parameters, in their order
  Sequence<S> d_h_steps, d_c_steps;  // or null if not wanted; features adjacent
  Chunks chunks;
  GradientAccumulator<S> accumulator;
};

/// Sizes of one direction's parameters, which lie one after the other in this order.
struct ParameterSizes {
  Index weight_ih, weight_hh, bias, bias_hn;
  Index total() const { return weight_ih + weight_hh + bias + bias_hn; }
};
Index gates_of(CellKind cell);
ParameterSizes parameter_sizes(CellKind cell, Index input_size, Index hidden_size);

/// One direction's loop over time, with all its memory: run by all workers of a team together, it
/// allocates nothing and throws nothing.
class TimeLoop {
 public:
  /// Allocates scratch memory, which loops that run one after the other may share.
  virtual void allocate_chunk(Arena& arena) = 0;
  virtual void run(Worker& worker) const = 0;

 protected:
  ~TimeLoop() = default;
};

/// The packed weights of one direction of one layer; once packed immutable, so that any thread may
/// use it.
template <class S>
class Direction {
 public:
  virtual ~Direction() = default;
  /// Packs a part of the parameters, after the constructor has taken the memory.
  virtual void pack(const S* parameters, int part, int parts) = 0;
  /// Loops live in the arena, and read their tasks' batch and arrays while they run.
  virtual TimeLoop* forward(const ForwardTask<S>& task, const ParallelPlan& plan,
                            Arena& arena) const = 0;
  virtual TimeLoop* backward(const BackwardTask<S>& task, const ParallelPlan& plan,
                             Arena& arena) const = 0;

  /// The bytes of a row of a chunk in backward, and the elements of its `GradientAccumulator`.
  virtual Index chunk_row_bytes() const = 0;
  virtual Index accumulator_size(const LayerInput<S>& x) const = 0;

  /// Copies of what forward kept: gate columns to out[column] and cell states, at each row's own
  /// time.
  virtual Index saved_columns() const = 0;
  virtual void read_gates(const RaggedBatch& batch, bool reverse, const DirectionSaved<S>& saved,
                          Index column, Sequence<S> out) const = 0;
  virtual void read_cells(const RaggedBatch& batch, bool reverse, const DirectionSaved<S>& saved,
                          Sequence<S> out) const = 0;
};

/// Memory for the packed parameters of one direction, with what backward needs if `training`; the
/// weights are left to `pack`.
template <class S>
std::unique_ptr<Direction<S>> make_direction(CellKind cell, const Activations& activations,
                                             Index input_size, Index hidden_size,
                                             const S* parameters, bool training);

/// The same for one cell; instantiated in the .cpp file of the cell's name.
template <class Cell, class S>
std::unique_ptr<Direction<S>> make_cell_direction(const Activations& activations, Index input_size,
                                                  Index hidden_size, const S* parameters,
                                                  bool training);

}  // namespace bptt
