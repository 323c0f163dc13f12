#pragma once

#include <array>
#include <memory>
#include <vector>

#include "core/direction.hpp"
#include "core/dropout.hpp"

namespace bptt {

/// Everything one forward call keeps for its backward call.
template <class S>
struct Saved {
  struct Layer {
    std::array<DirectionSaved<S>, 2> directions;
    std::array<Buffer<S>, 2> h;  // (T, B, H) of each direction, where the merge loses them
    Buffer<S> output;            // (T, B, D) of a layer that feeds another
    Buffer<S> dropped;           // the same after dropout
  };
  Saved(const RaggedBatch& rows, std::uint64_t key, Index first = 0)
      : batch(rows), dropout_key(key), first_step(first) {}

  RaggedBatch batch;
  std::uint64_t dropout_key;
  Index first_step;  // of the batch, if it is a slice of a longer one
  std::vector<Layer> layers;
  // Instead of layers, if backward is to recompute them (recompute.hpp):
  std::vector<Index> segments;  // the steps in which segments begin, and T
  Buffer<S> h, c;               // [segment][layer][B][H] the states in which they begin
};

template <class S>
struct NetworkForward {
  const RaggedBatch* batch;
  LayerInput<S> x;
  Sequence<S> y;         // features adjacent
  const S *h0, *c0;      // (layers*directions, B, H), or null for 0
  S *h_final, *c_final;  // the same shape
  Saved<S>* saved;       // null in inference
};

template <class S>
struct NetworkBackward {
  const Saved<S>* saved;
  LayerInput<S> x;
  Sequence<const S> y;
  Sequence<const S> d_y;                          // or null
  const S *d_h_final, *d_c_final;                 // or null
  Sequence<S> d_x;                                // or null
  S *d_h0, *d_c0;                                 // (layers*directions, B, H)
  S* d_parameters;                                // flat, in the order of the parameters
  std::vector<Sequence<S>> d_h_steps, d_c_steps;  // one a layer and direction, or empty
  GradientAccumulator<S> accumulator;             // of `accumulator_size` elements, or null
};

/// Stacked, possibly bidirectional layers with packed weights. Immutable: parameters that change
/// make a new one.
template <class S>
class Network {
 public:
  Network(const LayerConfig& config, const S* parameters, bool training);

  const LayerConfig& config() const { return config_; }
  bool training() const { return training_; }
  Index parameter_count() const { return parameter_count_; }
  const Direction<S>& direction(Index layer, Index direction) const {
    return *directions_[static_cast<std::size_t>(layer * config_.directions() + direction)];
  }
  void forward(const NetworkForward<S>& call) const;
  void backward(const NetworkBackward<S>& call) const;

  /// What the output of a layer is multiplied with.
  DropoutMask dropout_mask(const Saved<S>& saved, Index layer) const {
    const Index origin = saved.first_step * saved.batch.size() * config_.output_size();
    return DropoutMask(config_.dropout, saved.dropout_key, layer, origin);
  }
  /// Where the chunk of backward ends that begins at step `first`, in all layers. It depends on
  /// nothing but the network and the batch, and so do the sums over a chunk's rows.
  Index backward_chunk_end(const RaggedBatch& batch, Index first) const;
  Index accumulator_size(const LayerInput<S>& x) const;

 private:
  Sequence<S> inner_sequence(S* data, Index batch, Index features) const {
    return {data, features, batch * features, 1};
  }
  void forward_at_once(const NetworkForward<S>& call) const;
  Chunks backward_chunks(const RaggedBatch& batch) const;

  // What one layer reads and writes, in the order of running.
  struct ForwardStage;
  struct BackwardStage;
  void prepare_forward(const NetworkForward<S>& call, Index layer, const ParallelPlan& plan,
                       ForwardStage& stage, TimeLoop** loops) const;
  void after_forward(const NetworkForward<S>& call, Index layer, const ForwardStage& stage,
                     Worker& worker) const;
  void prepare_backward(const NetworkBackward<S>& call, Index layer, const ParallelPlan& plan,
                        BackwardStage& stage, TimeLoop** loops) const;
  void before_backward(const NetworkBackward<S>& call, const BackwardStage& stage,
                       Worker& worker) const;
  void after_backward(const NetworkBackward<S>& call, Index layer, const BackwardStage& stage,
                      Worker& worker) const;
  void allocate_chunks(TimeLoop* const* loops) const;

  LayerConfig config_;
  bool training_;
  Index parameter_count_;
  std::vector<std::unique_ptr<Direction<S>>> directions_;  // l0, l0 reverse, l1, …
  Index chunk_row_bytes_ = 0;                              // the most that a direction has
};

/// Number of all parameters of a network, and where those of a layer and direction begin.
Index parameter_offset(const LayerConfig& config, Index layer, Index direction);
inline Index parameter_count(const LayerConfig& config) {
  return parameter_offset(config, config.num_layers, 0);
}

extern template class Network<float>;
extern template class Network<double>;

}  // namespace bptt
