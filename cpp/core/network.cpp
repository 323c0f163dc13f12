#include "core/network.hpp"

#include "core/merge.hpp"
#include "core/parallel/executor.hpp"
#include "core/shrink.hpp"

namespace bptt {

Index parameter_offset(const LayerConfig& config, Index layer, Index direction) {
  Index offset = 0;
  for (Index l = 0; l <= layer; ++l) {
    const Index count = parameter_sizes(config, config.layer_input_size(l)).total();
    offset += count * (l < layer ? config.directions() : direction);
  }
  return offset;
}

template <class S>
Network<S>::Network(const LayerConfig& config, const S* parameters, bool training,
                    const Compression<S>& compression)
    : config_(config), training_(training), parameter_count_(bptt::parameter_count(config)) {
  for (Index layer = 0; layer < config.num_layers; ++layer) {
    for (Index d = 0; d < config.directions(); ++d) {
      directions_.push_back(make_direction<S>(config, config.layer_input_size(layer),
                                              parameters + parameter_offset(config, layer, d),
                                              training, compression.storage));
      chunk_row_bytes_ = std::max(chunk_row_bytes_, directions_.back()->chunk_row_bytes());
    }
  }
  steps_rows_ = !config.bidirectional && directions_[0]->steps_rows();
  constexpr int kMany = 1024;
  steps_are_short_ = plan_parallelism(config, RaggedBatch(1, 1), kMany, sizeof(S)).threads == 1;
  constexpr Index kWorthWaking = (1 << 19) / kShrink;  // parameters: half a millisecond
  const ThreadLease lease(parameter_count_ > kWorthWaking ? usable_threads() : 1);
  Team team(lease.threads());
  lease.run(lease.threads(), [&](int thread) {
    Worker worker(team, thread);
    worker.parallel_for([&](int part, int parts) {
      for (std::size_t i = 0; i < directions_.size(); ++i) {
        const Index layer = static_cast<Index>(i) / config.directions();
        const Index d = static_cast<Index>(i) % config.directions();
        const S* scales = compression.scales;
        if (scales != nullptr) scales += static_cast<Index>(i) * weight_rows(config);
        directions_[i]->pack(parameters + parameter_offset(config, layer, d), scales, part, parts);
      }
    });
  });
}

namespace {

/// The part of a direction in the states (layers*directions, B, P or H) of a call.
template <class T>
States<T> states_of(const LayerConfig& config, Index batch, Index direction, States<T> states) {
  for (std::size_t i = 0; i < kMaxStates; ++i) {
    if (states[i] != nullptr) states[i] += direction * batch * config.state_size(i);
  }
  return states;
}

/// All steps as one slice, or where layers are side by side slices which end where chunks end.
Slices cut_steps(const ParallelPlan& plan, const Chunks& chunks, bool whole_chunks) {
  constexpr Index kMany = 32;  // the second layer starts after a 32nd of the first one's time
  const Index steps = chunks.ends[chunks.count];  // none without rows
  if (!plan.layers_side_by_side) {
    Range* const all = scratch().allocate<Range>(1);
    *all = {0, steps};
    return {all, 1};
  }
  const Index most = whole_chunks ? steps : std::max(kSliceSteps, steps / kMany);
  Range* const slices = scratch().allocate<Range>(steps / most + chunks.count);
  Index count = 0;
  for (Index chunk = 0; chunk < chunks.count; ++chunk) {
    const Index first = chunks.ends[chunk], size = chunks.ends[chunk + 1] - first;
    const int parts = static_cast<int>((size + most - 1) / most);
    for (int part = 0; part < parts; ++part) {
      const Range own = part_of(size, part, parts);
      slices[count++] = {first + own.first, first + own.last};
    }
  }
  return {slices, count};
}

/// The part of one thread in what (T, B, features) has at some steps.
Range part_of_steps(const RaggedBatch& batch, Range steps, Index features, int part, int parts) {
  const Index step = batch.size() * features;
  const Range own = part_of(steps.size() * step, part, parts);
  return {steps.first * step + own.first, steps.first * step + own.last};
}

/// Memory of a layer that lives as long as the call, or as long as what is saved for backward.
template <class S>
S* sequence_memory(Buffer<S>* kept, Index count, bool zeroed) {
  if (kept == nullptr)
    return zeroed ? scratch().allocate_zeroed<S>(count) : scratch().allocate<S>(count);
  *kept = Buffer<S>(count);
  if (zeroed) kept->set_zero();
  return kept->data();
}

}  // namespace

template <class S>
template <class Stage>
TimeLoop** Network<S>::allocate_loops(Stage* stages, const ParallelPlan& plan) const {
  Arena& arena = scratch();
  const Index directions = config_.directions();
  auto** const loops = arena.allocate<TimeLoop*>(config_.num_layers * directions);
  for (Index i = 0; i < config_.num_layers; ++i) {
    for (Index d = 0; d < directions; ++d) {
      loops[i * directions + d] = stages[i].make_loop(direction(stages[i].layer, d), d, plan);
    }
  }
  Arena::Shared shared(arena);  // by layers that run one after the other
  for (Index i = 0; i < config_.num_layers; ++i) {
    for (Index d = 0; d < directions; ++d) loops[i * directions + d]->allocate_chunk(arena);
    if (!plan.layers_side_by_side) shared.next();
  }
  return loops;
}

// ---- forward

/// A layer's tasks, and what happens to their output. Lives in the arena, with the memory that the
/// pointers name, or in what is saved.
template <class S>
struct Network<S>::ForwardStage {
  Index layer;
  ForwardTask<S> tasks[2];  // of the directions; their y are parts of `y`, or merged into it
  Sequence<S> y;            // (B, T, D) the caller's, or of `output`
  S* output;                // [T][B][D] of a layer that feeds another, else null
  S* dropped;               // [T][B][D] the same after dropout, if there is any

  TimeLoop* make_loop(const Direction<S>& direction, Index d, const ParallelPlan& plan) const {
    return direction.forward(tasks[d], plan, scratch());
  }
};

/// A stack of one direction takes a slice of steps through all layers before the next: what is
/// between the layers stays in the cache, and its memory does not grow with T.
template <class S>
void Network<S>::infer(const NetworkForward<S>& call) const {
  constexpr Index kBytesBetween = (Index{512} << 10) / kShrink;
  constexpr Index kLeastSteps = 1 + 15 / kShrink;
  const RaggedBatch& batch = *call.batch;
  if (steps_rows_ && batch.size() == 1 && batch.steps() == 1 && !batch.ragged() && !call.x.decay &&
      (steps_are_short_ || usable_threads() == 1)) {
    return step_row(call);
  }
  const Index step_bytes =
      std::max<Index>(1, batch.size() * config_.output_size() * static_cast<Index>(sizeof(S)));
  const Index slice = std::max<Index>(kLeastSteps, kBytesBetween / step_bytes);
  if (config_.num_layers == 1 || config_.bidirectional || batch.steps() <= slice) {
    return run_forward(call, nullptr);
  }
  NetworkForward<S> part = call;
  for (Index first = 0; first < batch.steps(); first += slice) {
    const RaggedBatch steps = batch.slice(first, std::min(slice, batch.steps() - first));
    part.batch = &steps;
    part.x = call.x.from_step(first);
    part.y = call.y.from_step(first);
    run_forward(part, nullptr);
    std::copy(part.last.begin(), part.last.end(), part.initial.begin());  // read before written
  }
}

template <class S>
void Network<S>::forward(const NetworkForward<S>& call, Saved<S>& saved) const {
  saved.layers.resize(static_cast<std::size_t>(config_.num_layers));
  run_forward(call, &saved);
}

template <class S>
void Network<S>::run_forward(const NetworkForward<S>& call, Saved<S>* saved) const {
  const Index layers = config_.num_layers;
  Arena& arena = scratch();
  const Arena::Scope scope(arena);
  const auto pass = saved == nullptr ? CallShape::Pass::kInference : CallShape::Pass::kTraining;
  const Executor executor(config_, *call.batch, pass, sizeof(S));
  auto* const stages = arena.allocate<ForwardStage>(layers);
  LayerInput<S> x = call.x;
  for (Index layer = 0; layer < layers; ++layer) {
    prepare_forward(call, saved, layer, x, stages[layer]);
    const ForwardStage& stage = stages[layer];
    x = {.values = read_only(stage.y), .ids = {}};
    if (stage.dropped != nullptr) x.values.data = stage.dropped;
  }
  TimeLoop** const loops = allocate_loops(stages, executor.plan());
  const Index ends[] = {0, call.batch->longest()};
  executor.run(
      loops, layers, config_.directions(), cut_steps(executor.plan(), {ends, 1}, false),
      [](Index, Worker&) {},
      [&](Index i, Range done, Worker& worker) {
        after_forward(call, saved, stages[i], done, worker);
      });
}

template <class S>
void Network<S>::prepare_forward(const NetworkForward<S>& call, Saved<S>* saved, Index layer,
                                 const LayerInput<S>& x, ForwardStage& stage) const {
  const RaggedBatch& batch = *call.batch;
  auto* const kept = saved ? &saved->layers[static_cast<std::size_t>(layer)] : nullptr;
  const Index h_size = config_.h_size(), features = config_.output_size();
  const Index count = batch.longest() * batch.size() * features;
  stage.layer = layer;
  stage.y = call.y;
  stage.output = stage.dropped = nullptr;
  if (layer + 1 < config_.num_layers) {
    stage.output = sequence_memory(kept ? &kept->output : nullptr, count, batch.ragged());
    stage.y = inner_sequence(stage.output, batch.size(), features);
    if (kept != nullptr && config_.dropout > 0 && saved->dropout_key) {
      kept->dropped = Buffer<S>(count);
      stage.dropped = kept->dropped.data();
    }
  }
  for (Index d = 0; d < config_.directions(); ++d) {
    const auto i = static_cast<std::size_t>(d);
    Sequence<S> h = stage.y.features_from(d * h_size);
    if (config_.merges()) {
      S* const memory = sequence_memory(kept ? &kept->h[i] : nullptr,
                                        batch.longest() * batch.size() * h_size, false);
      h = inner_sequence(memory, batch.size(), h_size);
    }
    const Index index = layer * config_.directions() + d;
    stage.tasks[d] = {.batch = &batch,
                      .reverse = d == 1,
                      .x = x.of_direction(d, h_size),
                      .y = h,
                      .initial = states_of(config_, batch.size(), index, call.initial),
                      .last = states_of(config_, batch.size(), index, call.last),
                      .saved = kept ? &kept->directions[i] : nullptr,
                      .regularization = regularization(saved, layer, d)};
  }
}

template <class S>
void Network<S>::after_forward(const NetworkForward<S>& call, const Saved<S>* saved,
                               const ForwardStage& stage, Range steps, Worker& worker) const {
  const RaggedBatch& batch = *call.batch;
  const bool top = stage.layer == config_.num_layers - 1 && steps.last == batch.longest();
  if (config_.merges() || (top && batch.ragged())) {
    worker.parallel_for([&](int part, int parts) {
      const Range slots = batch.slots(part, parts);
      if (config_.merges()) {
        merge_forward(config_.merge, batch, slots, config_.h_size(), read_only(stage.tasks[0].y),
                      read_only(stage.tasks[1].y), stage.y);
      }
      if (top) zero_padding(batch, slots, stage.y, config_.output_size());
    });
  }
  if (stage.dropped != nullptr) {
    const DropoutMask mask = dropout_mask(*saved, stage.layer);
    worker.parallel_for([&](int part, int parts) {
      mask.apply(stage.output, stage.dropped,
                 part_of_steps(batch, steps, config_.output_size(), part, parts));
    });
  }
}

// ---- backward

/// A layer's tasks, and what happens to their input and output. Lives in the arena, with the memory
/// that the pointers name.
template <class S>
struct Network<S>::BackwardStage {
  Index layer;
  BackwardTask<S> tasks[2];  // of the directions
  Sequence<const S> d_y;     // (B, T, D) the caller's, or of the layer above
  Sequence<S> d_x;           // (B, T, I) the caller's, or of the layer below, or null
  Sequence<S> d_x_reverse;   // (B, T, I) of concurrent directions, added to d_x at the end
  Sequence<S> d_h[2];        // (B, T, P) of the directions, where the merge makes them differ

  TimeLoop* make_loop(const Direction<S>& direction, Index d, const ParallelPlan& plan) const {
    return direction.backward(tasks[d], plan, scratch());
  }
};

template <class S>
Index Network<S>::backward_chunk_end(const RaggedBatch& batch, Index first) const {
  constexpr Index kChunkBytes = (Index{512} << 10) / kShrink;
  constexpr Index kChunkRows =
      256 / kShrink;  // deep enough for the weight products to run at speed
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
  Arena& arena = scratch();
  const Arena::Scope scope(arena);
  const Executor executor(config_, batch, CallShape::Pass::kBackward, sizeof(S));
  auto* const stages = arena.allocate<BackwardStage>(layers);  // in the order of execution
  const Chunks chunks = backward_chunks(batch);
  GradientAccumulator<S> accumulator = call.accumulator;
  if (accumulator.memory == nullptr) {
    accumulator.memory = arena.allocate_zeroed<S>(accumulator_size(call.x));
  }
  S* between[2] = {};  // [T][B][D] gradients between layers, alternating
  Sequence<const S> d_y = call.d_y;
  for (Index i = 0; i < layers; ++i) {
    BackwardStage& stage = stages[i];
    stage = {.layer = layers - 1 - i,
             .tasks = {},
             .d_y = d_y,
             .d_x = call.d_x,
             .d_x_reverse = {},
             .d_h = {}};
    if (stage.layer > 0) {
      const Index count = batch.longest() * batch.size() * features;
      S*& memory = between[i % 2];
      if (memory == nullptr) memory = sequence_memory<S>(nullptr, count, batch.ragged());
      stage.d_x = inner_sequence(memory, batch.size(), features);
      d_y = read_only(stage.d_x);
    }
    prepare_backward(call, executor.plan(), chunks, accumulator, stage);
  }
  TimeLoop** const loops = allocate_loops(stages, executor.plan());
  // A cell with layer normalization leaves the input's gradient to the end of a chunk.
  const Slices slices = cut_steps(executor.plan(), chunks, cell_info(config_.cell).normalized);
  std::reverse(slices.steps, slices.steps + slices.count);
  executor.run(
      loops, layers, config_.directions(), slices,
      [&](Index i, Worker& worker) { before_backward(call, stages[i], worker); },
      [&](Index i, Range done, Worker& worker) { after_backward(call, stages[i], done, worker); });
}

/// The input of a layer, as forward has read it.
template <class S>
LayerInput<S> Network<S>::saved_input(const NetworkBackward<S>& call, Index layer) const {
  if (layer == 0) return call.x;
  const auto& below = call.saved->layers[static_cast<std::size_t>(layer - 1)];
  const Buffer<S>& output = below.dropped.empty() ? below.output : below.dropped;
  return {.values = inner_sequence(output.data(), call.saved->batch.size(), config_.output_size()),
          .ids = {}};
}

/// The output of one direction of a layer, before the merge, as forward has written it.
template <class S>
Sequence<const S> Network<S>::saved_output(const NetworkBackward<S>& call, Index layer,
                                           Index d) const {
  const Index batch = call.saved->batch.size(), h_size = config_.h_size();
  const auto& saved = call.saved->layers[static_cast<std::size_t>(layer)];
  if (config_.merges()) {
    return inner_sequence(saved.h[static_cast<std::size_t>(d)].data(), batch, h_size);
  }
  if (layer == config_.num_layers - 1) return call.y.features_from(d * h_size);
  return inner_sequence(saved.output.data(), batch, config_.output_size())
      .features_from(d * h_size);
}

/// Fills in the tasks of a stage, and moves the accumulator on.
template <class S>
void Network<S>::prepare_backward(const NetworkBackward<S>& call, const ParallelPlan& plan,
                                  const Chunks& chunks, GradientAccumulator<S>& accumulator,
                                  BackwardStage& stage) const {
  const RaggedBatch& batch = call.saved->batch;
  const auto& saved = call.saved->layers[static_cast<std::size_t>(stage.layer)];
  const Index h_size = config_.h_size();
  const Index inputs = config_.layer_input_size(stage.layer);
  if (plan.concurrent_directions && stage.d_x) {
    S* const memory = scratch().allocate<S>(batch.longest() * batch.size() * inputs);
    stage.d_x_reverse = inner_sequence(memory, batch.size(), inputs);
  }
  const LayerInput<S> x = saved_input(call, stage.layer);
  for (Index d = 0; d < config_.directions(); ++d) {
    Sequence<const S> d_h = stage.d_y.features_from(d * h_size);
    if (config_.merges() && stage.d_y) {
      S* const memory = scratch().allocate<S>(batch.longest() * batch.size() * h_size);
      stage.d_h[d] = inner_sequence(memory, batch.size(), h_size);
      d_h = read_only(stage.d_h[d]);
    }
    const Index index = stage.layer * config_.directions() + d;
    const auto steps = [index](const std::vector<Sequence<S>>& all) {
      return all.empty() ? Sequence<S>{} : all[static_cast<std::size_t>(index)];
    };
    const bool separate = d == 1 && stage.d_x_reverse;
    stage.tasks[d] = {.batch = &batch,
                      .reverse = d == 1,
                      .x = x.of_direction(d, h_size),
                      .y = saved_output(call, stage.layer, d),
                      .saved = &saved.directions[static_cast<std::size_t>(d)],
                      .d_y = d_h,
                      .d_last = states_of(config_, batch.size(), index, call.d_last),
                      .d_x = separate ? stage.d_x_reverse : stage.d_x,
                      .add_to_d_x = d == 1 && !separate,
                      .d_initial = states_of(config_, batch.size(), index, call.d_initial),
                      .d_parameters = call.d_parameters + parameter_offset(config_, stage.layer, d),
                      .d_h_steps = steps(call.d_h_steps),
                      .d_c_steps = steps(call.d_c_steps),
                      .d_decay = x.decay ? call.d_decay.features_from(d * h_size) : Sequence<S>{},
                      .regularization = regularization(call.saved, stage.layer, d),
                      .chunks = chunks,
                      .accumulator = accumulator};
    accumulator.memory += direction(stage.layer, d).accumulator_size(x);
  }
}

template <class S>
void Network<S>::before_backward(const NetworkBackward<S>& call, const BackwardStage& stage,
                                 Worker& worker) const {
  if (!stage.d_h[0]) return;
  const RaggedBatch& batch = call.saved->batch;
  worker.parallel_for([&](int part, int parts) {
    for (int d = 0; d < 2; ++d) {
      merge_backward(config_.merge, batch, batch.slots(part, parts), config_.h_size(), stage.d_y,
                     stage.tasks[1 - d].y, stage.d_h[d]);
    }
  });
}

template <class S>
void Network<S>::after_backward(const NetworkBackward<S>& call, const BackwardStage& stage,
                                Range steps, Worker& worker) const {
  const RaggedBatch& batch = call.saved->batch;
  const Index inputs = config_.layer_input_size(stage.layer);
  if (stage.d_x_reverse) {
    worker.parallel_for([&](int part, int parts) {
      add_sequence(batch, batch.slots(part, parts), inputs, read_only(stage.d_x_reverse),
                   stage.d_x);
    });
  }
  if (stage.layer == 0) {
    if (!batch.ragged() || steps.first > 0) return;
    worker.parallel_for([&](int part, int parts) {
      const Range slots = batch.slots(part, parts);
      if (stage.d_x) zero_padding(batch, slots, stage.d_x, inputs);
      if (call.x.decay) {
        zero_padding(batch, slots, call.d_decay, config_.directions() * config_.h_size());
      }
    });
  } else if (!call.saved->layers[static_cast<std::size_t>(stage.layer - 1)].dropped.empty()) {
    const DropoutMask mask = dropout_mask(*call.saved, stage.layer - 1);
    worker.parallel_for([&](int part, int parts) {
      mask.apply(stage.d_x.data, stage.d_x.data, part_of_steps(batch, steps, inputs, part, parts));
    });
  }
}

template class Network<float>;
template class Network<double>;

}  // namespace bptt
