#pragma once

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "core/direction.hpp"
#include "core/dropout.hpp"

namespace bptt {

/// Everything one forward call keeps for its backward call.
template <class S>
struct Saved {
  struct Layer {
    std::array<DirectionSaved<S>, 2> directions;
    std::array<Buffer<S>, 2> h;  // (T, B, P) of each direction, if they are merged
    Buffer<S> output;            // (T, B, D) of a layer that feeds another
    Buffer<S> dropped;           // the same after dropout
  };
  Saved(const RaggedBatch& rows, std::optional<std::uint64_t> key, Index first = 0)
      : batch(rows), dropout_key(key), first_step(first) {}

  RaggedBatch batch;
  std::optional<std::uint64_t> dropout_key;  // without: expected values, as inference has them
  Index first_step;                          // of the batch, if it is a slice of a longer one
  std::vector<Layer> layers;
  // Instead of layers, if backward is to recompute them (recompute.hpp):
  std::vector<Index> segments;               // the steps at which segments begin, and T
  std::array<Buffer<S>, kMaxStates> states;  // [segment][layer][B][P or H] at which they begin
};

/// A forward call. All memory is the caller's.
template <class S>
struct NetworkForward {
  const RaggedBatch* batch;
  LayerInput<S> x;          // (B, T, I), any strides
  Sequence<S> y;            // (B, T, D), features adjacent
  States<const S> initial;  // (layers*directions, B, P or H)
  States<S> last;           // the same shapes
};

/// A backward call. All memory is the caller's.
template <class S>
struct NetworkBackward {
  const Saved<S>* saved;                          // of the forward call
  LayerInput<S> x;                                // its input
  Sequence<const S> y;                            // its output
  Sequence<const S> d_y;                          // (B, T, D), any strides, or null for 0
  States<const S> d_last;                         // (layers*directions, B, P or H)
  Sequence<S> d_x;                                // (B, T, I), or null if not wanted
  States<S> d_initial;                            // the same shapes
  S* d_parameters;                                // [parameter_count]
  std::vector<Sequence<S>> d_h_steps, d_c_steps;  // (B, T, P or H) a layer and direction, or none
  Sequence<S> d_decay{};                          // (B, T, directions*P), where x has factors
  GradientAccumulator<S> accumulator{};           // without memory: Network's own
};

/// Stacked, possibly bidirectional layers with packed weights. Immutable: new parameters make a new
/// one.
template <class S>
class Network {
 public:
  Network(const LayerConfig& config, const S* parameters, bool training,
          const Compression<S>& compression = {});

  const LayerConfig& config() const { return config_; }
  bool training() const { return training_; }
  Index parameter_count() const { return parameter_count_; }
  const Direction<S>& direction(Index layer, Index direction) const {
    return *directions_[static_cast<std::size_t>(layer * config_.directions() + direction)];
  }

  /// Inference: keeps nothing.
  void infer(const NetworkForward<S>& call) const;
  /// Training: keeps in saved.layers what backward needs. The network is one for training.
  void forward(const NetworkForward<S>& call, Saved<S>& saved) const;
  void backward(const NetworkBackward<S>& call) const;

  /// The mask that the output of a layer is multiplied with.
  DropoutMask dropout_mask(const Saved<S>& saved, Index layer) const {
    const Index origin = saved.first_step * saved.batch.size() * config_.output_size();
    return DropoutMask(config_.dropout, saved.dropout_key.value_or(0), layer, origin);
  }
  /// Zoneout and recurrent dropout of one direction of a layer; `saved` is null in inference.
  Regularization regularization(const Saved<S>* saved, Index layer, Index direction) const {
    return {.zoneout = config_.zoneout,
            .recurrent_dropout = config_.recurrent_dropout,
            .random = saved != nullptr && saved->dropout_key,
            .key = saved != nullptr ? saved->dropout_key.value_or(0) : 0,
            .direction = layer * config_.directions() + direction,
            .first_step = saved != nullptr ? saved->first_step : 0};
  }
  /// The end of the backward chunk that begins at step `first`, in all layers. It depends on
  /// nothing but the network and the batch, and so do the sums over a chunk's rows.
  Index backward_chunk_end(const RaggedBatch& batch, Index first) const;
  Index accumulator_size(const LayerInput<S>& x) const;

 private:
  // One layer of a call, in the order of execution.
  struct ForwardStage;
  struct BackwardStage;

  /// (B, T, features) that lies in memory as [T][B][features].
  template <class T>
  static Sequence<T> inner_sequence(T* data, Index batch, Index features) {
    return {.data = data, .batch_stride = features, .step_stride = batch * features};
  }
  /// The loops of all layers and directions, in the order of execution.
  template <class Stage>
  TimeLoop** allocate_loops(Stage* stages, const ParallelPlan& plan) const;

  /// One step of one sequence, where its layers have step_row.
  void step_row(const NetworkForward<S>& call) const;
  void run_forward(const NetworkForward<S>& call, Saved<S>* saved) const;
  void prepare_forward(const NetworkForward<S>& call, Saved<S>* saved, Index layer,
                       const LayerInput<S>& x, ForwardStage& stage) const;
  void after_forward(const NetworkForward<S>& call, const Saved<S>* saved,
                     const ForwardStage& stage, Range steps, Worker& worker) const;

  Chunks backward_chunks(const RaggedBatch& batch) const;
  LayerInput<S> saved_input(const NetworkBackward<S>& call, Index layer) const;
  Sequence<const S> saved_output(const NetworkBackward<S>& call, Index layer, Index d) const;
  void prepare_backward(const NetworkBackward<S>& call, const ParallelPlan& plan,
                        const Chunks& chunks, GradientAccumulator<S>& accumulator,
                        BackwardStage& stage) const;
  void before_backward(const NetworkBackward<S>& call, const BackwardStage& stage,
                       Worker& worker) const;
  void after_backward(const NetworkBackward<S>& call, const BackwardStage& stage, Range steps,
                      Worker& worker) const;

  LayerConfig config_;
  bool training_;
  Index parameter_count_;
  bool steps_rows_ = false;                                // whether all layers have step_row
  bool steps_are_short_ = false;                           // too short for a second thread
  std::vector<std::unique_ptr<Direction<S>>> directions_;  // l0, l0 reverse, l1, …
  Index chunk_row_bytes_ = 0;                              // the most that a direction has
};

/// Number of all parameters, and where those of a layer and direction begin.
Index parameter_offset(const LayerConfig& config, Index layer, Index direction);
inline Index parameter_count(const LayerConfig& config) {
  return parameter_offset(config, config.num_layers, 0);
}

extern template class Network<float>;
extern template class Network<double>;

}  // namespace bptt
