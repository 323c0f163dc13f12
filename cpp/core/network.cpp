#include "core/network.hpp"

#include "core/merge.hpp"
#include "core/parallel/executor.hpp"

namespace bptt {

Index parameter_offset(const LayerConfig& config, Index layer, Index direction) {
  Index offset = 0;
  for (Index l = 0; l <= layer; ++l) {
    const Index count =
        parameter_sizes(cell_info(config.cell), config.layer_input_size(l), config.hidden_size)
            .total();
    offset += count * (l < layer ? config.directions() : direction);
  }
  return offset;
}

template <class S>
Network<S>::Network(const LayerConfig& config, const S* parameters, bool training)
    : config_(config), training_(training), parameter_count_(bptt::parameter_count(config)) {
  for (Index layer = 0; layer < config.num_layers; ++layer) {
    for (Index d = 0; d < config.directions(); ++d) {
      directions_.push_back(make_direction<S>(config, config.layer_input_size(layer),
                                              parameters + parameter_offset(config, layer, d),
                                              training));
      chunk_row_bytes_ = std::max(chunk_row_bytes_, directions_.back()->chunk_row_bytes());
    }
  }
  constexpr Index kWorthWaking = 1 << 19;  // parameters: half a millisecond
  const PoolLease lease(parameter_count_ > kWorthWaking && thread_limit() > 1);
  const int threads = lease.granted() ? thread_limit() : 1;
  Team team(threads);
  lease.run(threads, [&](int thread) {
    Worker worker(team, thread);
    worker.parallel_for([&](int part, int parts) {
      for (std::size_t i = 0; i < directions_.size(); ++i) {
        const Index layer = static_cast<Index>(i) / config.directions();
        const Index d = static_cast<Index>(i) % config.directions();
        directions_[i]->pack(parameters + parameter_offset(config, layer, d), part, parts);
      }
    });
  });
}

namespace {

/// Memory of a layer that lives as long as the call, or as long as what is saved for backward.
template <class S>
S* sequence_memory(Buffer<S>* kept, Index count, bool zeroed) {
  if (kept == nullptr)
    return zeroed ? scratch().allocate_zeroed<S>(count) : scratch().allocate<S>(count);
  *kept = Buffer<S>(count);
  if (zeroed) kept->set_zero();
  return kept->data();
}

template <class S>
void zero_padding(const RaggedBatch& batch, Range slots, Sequence<S> y, Index features) {
  if (!batch.ragged()) return;
  for (Index slot = slots.first; slot < slots.last; ++slot) {
    for (Index time = batch.length(slot); time < batch.steps(); ++time) {
      std::fill_n(y.row(batch.row(slot), time), features, S(0));
    }
  }
}

}  // namespace

// ---- forward

template <class S>
struct Network<S>::ForwardStage {
  LayerInput<S> x;
  Sequence<S> y, h[2];
  S *output, *dropped;  // (T, B, D), if dropout follows
};

/// In inference a stack of one direction takes a slice of steps through all layers before the
/// next: what lies between the layers stays in the cache, and its memory does not grow with T.
template <class S>
void Network<S>::forward(const NetworkForward<S>& call) const {
  constexpr Index kBytesBetween = 512 * 1024;
  const RaggedBatch& batch = *call.batch;
  const Index step_bytes =
      std::max<Index>(1, batch.size() * config_.output_size() * static_cast<Index>(sizeof(S)));
  const Index slice = std::max<Index>(16, kBytesBetween / step_bytes);
  if (call.saved != nullptr || config_.num_layers == 1 || config_.bidirectional ||
      batch.steps() <= slice) {
    return forward_at_once(call);
  }
  NetworkForward<S> part = call;
  for (Index first = 0; first < batch.steps(); first += slice) {
    const RaggedBatch steps = batch.slice(first, std::min(slice, batch.steps() - first));
    part.batch = &steps;
    part.x = call.x.from_step(first);
    part.y = call.y.from_step(first);
    forward_at_once(part);
    part.h0 = part.h_final;  // read before it is written
    part.c0 = part.c_final;
  }
}

template <class S>
void Network<S>::forward_at_once(const NetworkForward<S>& call) const {
  const RaggedBatch& batch = *call.batch;
  const Index last = config_.num_layers - 1, features = config_.output_size();
  const Index count = batch.longest() * batch.size() * features;
  Arena& arena = scratch();
  const Arena::Scope scope(arena);
  const Executor executor(config_, batch);
  if (call.saved != nullptr) {
    call.saved->layers.resize(static_cast<std::size_t>(config_.num_layers));
  }
  auto* const stages = arena.allocate<ForwardStage>(config_.num_layers);
  auto** const loops = arena.allocate<TimeLoop*>(config_.num_layers * config_.directions());
  LayerInput<S> x = call.x;
  for (Index layer = 0; layer <= last; ++layer) {
    auto* const saved = call.saved ? &call.saved->layers[static_cast<std::size_t>(layer)] : nullptr;
    ForwardStage& stage = *new (&stages[layer]) ForwardStage{x, call.y, {}, nullptr, nullptr};
    if (layer < last) {
      stage.output = sequence_memory(saved ? &saved->output : nullptr, count, batch.ragged());
      stage.y = inner_sequence(stage.output, batch.size(), features);
      Sequence<S> above = stage.y;
      if (saved != nullptr && config_.dropout > 0) {
        saved->dropped = Buffer<S>(count);
        stage.dropped = above.data = saved->dropped.data();
      }
      x = {read_only(above), {}};
    }
    prepare_forward(call, layer, executor.plan(), stage, loops + layer * config_.directions());
  }
  allocate_chunks(loops);
  executor.run(
      loops, config_.num_layers, config_.directions(), [](Index, Worker&) {},
      [&](Index layer, Worker& worker) { after_forward(call, layer, stages[layer], worker); });
}

/// Passes that run one after the other share the memory of their chunks.
template <class S>
void Network<S>::allocate_chunks(TimeLoop* const* loops) const {
  Arena& arena = scratch();
  const Index directions = config_.directions();
  for (Index layer = 0; layer < config_.num_layers; ++layer) {
    const Arena::Scope layer_scope(arena);
    for (Index d = 0; d < directions; ++d) {
      loops[layer * directions + d]->allocate_chunk(arena);
    }
  }
}

template <class S>
void Network<S>::prepare_forward(const NetworkForward<S>& call, Index layer,
                                 const ParallelPlan& plan, ForwardStage& stage,
                                 TimeLoop** loops) const {
  const RaggedBatch& batch = *call.batch;
  auto* const saved = call.saved ? &call.saved->layers[static_cast<std::size_t>(layer)] : nullptr;
  const Index hidden = config_.hidden_size, state = batch.size() * hidden;
  for (Index d = 0; d < config_.directions(); ++d) {
    const auto i = static_cast<std::size_t>(d);
    stage.h[d] = stage.y.features_from(d * hidden);
    if (config_.merges()) {
      S* const memory =
          sequence_memory(saved ? &saved->h[i] : nullptr, batch.longest() * state, false);
      stage.h[d] = inner_sequence(memory, batch.size(), hidden);
    }
    const Index offset = (layer * config_.directions() + d) * state;
    const auto at = [offset](auto* p) { return p == nullptr ? nullptr : p + offset; };
    loops[d] = direction(layer, d).forward(
        {&batch, d == 1, stage.x, stage.h[d], at(call.h0), at(call.c0), at(call.h_final),
         at(call.c_final), saved ? &saved->directions[i] : nullptr},
        plan, scratch());
  }
}

template <class S>
void Network<S>::after_forward(const NetworkForward<S>& call, Index layer,
                               const ForwardStage& stage, Worker& worker) const {
  const RaggedBatch& batch = *call.batch;
  const bool top = layer == config_.num_layers - 1;
  if (config_.merges() || (top && batch.ragged())) {
    worker.parallel_for([&](int part, int parts) {
      const Range slots = batch.slots(part, parts);
      if (config_.merges()) {
        merge_forward(config_.merge, batch, slots, config_.hidden_size, read_only(stage.h[0]),
                      read_only(stage.h[1]), stage.y);
      }
      if (top) zero_padding(batch, slots, stage.y, config_.output_size());
    });
  }
  if (stage.dropped != nullptr) {
    const DropoutMask mask = dropout_mask(*call.saved, layer);
    worker.parallel_for([&](int part, int parts) {
      mask.apply(stage.output, stage.dropped,
                 part_of(batch.longest() * batch.size() * config_.output_size(), part, parts));
    });
  }
}

// ---- backward

template <class S>
struct Network<S>::BackwardStage {
  LayerInput<S> x;
  Sequence<const S> y, d_y;
  Sequence<S> d_x;
  Sequence<S> d_x_reverse;  // if the directions run side by side: added to d_x in the end
  Sequence<const S> h[2];
  Sequence<S> d_h[2];  // of each direction, if the merge makes them differ from d_y
  Chunks chunks;
  S* accumulator;  // of both directions
};

template <class S>
Index Network<S>::backward_chunk_end(const RaggedBatch& batch, Index first) const {
  constexpr Index kChunkBytes = 512 * 1024;
  constexpr Index kChunkRows = 256;  // deep enough for the weight products to run at speed
  return chunk_end(batch, {0, batch.size()}, first, chunk_row_bytes_,
                   std::max(kChunkBytes, kChunkRows * chunk_row_bytes_));
}

template <class S>
Chunks Network<S>::backward_chunks(const RaggedBatch& batch) const {
  Index* const ends = scratch().allocate<Index>(batch.longest() + 1);
  Index count = 0;
  ends[0] = 0;
  while (batch.total_rows() > 0 && ends[count] < batch.longest()) {
    ends[count + 1] = backward_chunk_end(batch, ends[count]);
    ++count;
  }
  return {ends, count};
}

template <class S>
Index Network<S>::accumulator_size(const LayerInput<S>& x) const {
  Index size = 0;
  for (Index layer = 0; layer < config_.num_layers; ++layer) {
    const LayerInput<S>& input = layer == 0 ? x : LayerInput<S>{};
    size += config_.directions() * direction(layer, 0).accumulator_size(input);
  }
  return size;
}

template <class S>
void Network<S>::backward(const NetworkBackward<S>& call) const {
  const RaggedBatch& batch = call.saved->batch;
  const Index layers = config_.num_layers, features = config_.output_size();
  const Index count = batch.longest() * batch.size() * features;
  Arena& arena = scratch();
  const Arena::Scope scope(arena);
  const Executor executor(config_, batch);
  auto* const stages = arena.allocate<BackwardStage>(layers);  // in the order of running
  auto** const loops = arena.allocate<TimeLoop*>(layers * config_.directions());
  const Chunks chunks = backward_chunks(batch);
  S* accumulator = call.accumulator.memory ? call.accumulator.memory
                                           : arena.allocate_zeroed<S>(accumulator_size(call.x));
  S* memory[2] = {};  // of the gradients between layers, alternating
  Sequence<const S> y = call.y, d_y = call.d_y;
  for (Index i = 0; i < layers; ++i) {
    const Index layer = layers - 1 - i;
    BackwardStage& stage =
        *new (&stages[i]) BackwardStage{call.x, y, d_y, call.d_x, {}, {}, {}, chunks, accumulator};
    if (layer > 0) {
      const auto& below = call.saved->layers[static_cast<std::size_t>(layer - 1)];
      const auto inner = [&](const Buffer<S>& buffer) {
        return Sequence<const S>{buffer.data(), features, batch.size() * features, 1};
      };
      stage.x = {inner(below.dropped.empty() ? below.output : below.dropped), {}};
      S*& between = memory[i % 2];
      if (between == nullptr) between = sequence_memory<S>(nullptr, count, batch.ragged());
      stage.d_x = inner_sequence(between, batch.size(), features);
      y = inner(below.output);
      d_y = read_only(stage.d_x);
    }
    accumulator += config_.directions() * direction(layer, 0).accumulator_size(stage.x);
    prepare_backward(call, layer, executor.plan(), stage, loops + i * config_.directions());
  }
  allocate_chunks(loops);
  executor.run(
      loops, layers, config_.directions(),
      [&](Index i, Worker& worker) { before_backward(call, stages[i], worker); },
      [&](Index i, Worker& worker) { after_backward(call, layers - 1 - i, stages[i], worker); });
}

template <class S>
void Network<S>::prepare_backward(const NetworkBackward<S>& call, Index layer,
                                  const ParallelPlan& plan, BackwardStage& stage,
                                  TimeLoop** loops) const {
  const RaggedBatch& batch = call.saved->batch;
  const auto& saved = call.saved->layers[static_cast<std::size_t>(layer)];
  const Index hidden = config_.hidden_size, state = batch.size() * hidden;
  const Index inputs = config_.layer_input_size(layer);
  if (plan.concurrent_directions && stage.d_x) {
    S* const memory = scratch().allocate<S>(batch.longest() * batch.size() * inputs);
    stage.d_x_reverse = inner_sequence(memory, batch.size(), inputs);
  }
  for (Index d = 0; d < config_.directions(); ++d) {
    const auto i = static_cast<std::size_t>(d);
    stage.h[d] = stage.y.features_from(d * hidden);
    Sequence<const S> d_h = stage.d_y.features_from(d * hidden);
    if (config_.merges()) {
      stage.h[d] = {saved.h[i].data(), hidden, state, 1};
      if (stage.d_y) {
        S* const memory = scratch().allocate<S>(batch.longest() * state);
        stage.d_h[d] = inner_sequence(memory, batch.size(), hidden);
        d_h = read_only(stage.d_h[d]);
      }
    }
    const Index index = layer * config_.directions() + d, offset = index * state;
    const auto at = [offset](auto* p) { return p == nullptr ? nullptr : p + offset; };
    const auto steps = [index](const std::vector<Sequence<S>>& all) {
      return all.empty() ? Sequence<S>{} : all[static_cast<std::size_t>(index)];
    };
    const bool apart = d == 1 && stage.d_x_reverse;
    const GradientAccumulator<S> accumulator{
        stage.accumulator + d * direction(layer, d).accumulator_size(stage.x),
        call.accumulator.first, call.accumulator.last};
    loops[d] = direction(layer, d).backward(
        {&batch, d == 1, stage.x, stage.h[d], &saved.directions[i], d_h, at(call.d_h_final),
         at(call.d_c_final), apart ? stage.d_x_reverse : stage.d_x, d == 1 && !apart, at(call.d_h0),
         at(call.d_c0), call.d_parameters + parameter_offset(config_, layer, d),
         steps(call.d_h_steps), steps(call.d_c_steps), stage.chunks, accumulator},
        plan, scratch());
  }
}

template <class S>
void Network<S>::before_backward(const NetworkBackward<S>& call, const BackwardStage& stage,
                                 Worker& worker) const {
  if (!stage.d_h[0]) return;
  const RaggedBatch& batch = call.saved->batch;
  worker.parallel_for([&](int part, int parts) {
    for (int d = 0; d < 2; ++d) {
      merge_backward(config_.merge, batch, batch.slots(part, parts), config_.hidden_size, stage.d_y,
                     stage.h[1 - d], stage.d_h[d]);
    }
  });
}

template <class S>
void Network<S>::after_backward(const NetworkBackward<S>& call, Index layer,
                                const BackwardStage& stage, Worker& worker) const {
  const RaggedBatch& batch = call.saved->batch;
  const Index inputs = config_.layer_input_size(layer);
  if (stage.d_x_reverse) {
    worker.parallel_for([&](int part, int parts) {
      add_sequence(batch, batch.slots(part, parts), inputs, read_only(stage.d_x_reverse),
                   stage.d_x);
    });
  }
  if (layer == 0 && stage.d_x && batch.ragged()) {
    worker.parallel_for([&](int part, int parts) {
      zero_padding(batch, batch.slots(part, parts), stage.d_x, inputs);
    });
  }
  if (layer > 0 && !call.saved->layers[static_cast<std::size_t>(layer - 1)].dropped.empty()) {
    const DropoutMask mask = dropout_mask(*call.saved, layer - 1);
    worker.parallel_for([&](int part, int parts) {
      mask.apply(stage.d_x.data, stage.d_x.data,
                 part_of(batch.longest() * batch.size() * inputs, part, parts));
    });
  }
}

template class Network<float>;
template class Network<double>;

}  // namespace bptt
