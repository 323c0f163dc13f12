#include "core/network.hpp"

#include "core/merge.hpp"
#include "core/parallel/plan.hpp"

namespace bptt {

Index parameter_offset(const NetworkSpec& spec, Index layer, Index direction) {
  Index offset = 0;
  for (Index l = 0; l <= layer; ++l) {
    const Index count =
        parameter_sizes(spec.cell, spec.layer_input_size(l), spec.hidden_size).total();
    offset += count * (l < layer ? spec.directions() : direction);
  }
  return offset;
}

template <class S>
Network<S>::Network(const NetworkSpec& spec, const S* parameters, bool training)
    : spec_(spec), training_(training) {
  for (Index layer = 0; layer < spec.num_layers; ++layer) {
    for (Index d = 0; d < spec.directions(); ++d) {
      directions_.push_back(make_direction<S>(
          spec.cell, spec.activations, spec.layer_input_size(layer), spec.hidden_size,
          parameters + parameter_offset(spec, layer, d), training));
      chunk_row_bytes_ = std::max(chunk_row_bytes_, directions_.back()->chunk_row_bytes());
    }
  }
  constexpr Index kWorthWaking = 1 << 19;  // parameters: half a millisecond
  const Reservation reserved(parameter_count(spec) > kWorthWaking && thread_limit() > 1);
  const int threads = reserved.granted() ? thread_limit() : 1;
  Crew crew(threads);
  reserved.run(threads, [&](int thread) {
    Member member(crew, thread);
    member.share([&](int part, int parts) {
      for (std::size_t i = 0; i < directions_.size(); ++i) {
        const Index layer = static_cast<Index>(i) / spec.directions();
        const Index d = static_cast<Index>(i) % spec.directions();
        directions_[i]->pack(parameters + parameter_offset(spec, layer, d), part, parts);
      }
    });
  });
}

namespace {

/// Memory of a layer that lives as long as the call, or as long as what is saved for backward.
template <class S>
S* sequence_memory(Buffer<S>* kept, Index count, bool zeroed) {
  if (kept == nullptr) return zeroed ? scratch().take_zeroed<S>(count) : scratch().take<S>(count);
  *kept = Buffer<S>(count);
  if (zeroed) kept->set_zero();
  return kept->data();
}

template <class S>
void zero_padding(const RowPlan& plan, Range ranks, Sequence<S> y, Index features) {
  if (!plan.ragged()) return;
  for (Index rank = ranks.first; rank < ranks.last; ++rank) {
    for (Index time = plan.length(rank); time < plan.steps(); ++time) {
      std::fill_n(y.row(plan.row(rank), time), features, S(0));
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

/// In inference a stack of one direction takes a stretch of steps through all layers before the
/// next: what lies between the layers stays in the cache, and its memory does not grow with T.
template <class S>
void Network<S>::forward(const NetworkForward<S>& call) const {
  constexpr Index kBytesBetween = 512 * 1024;
  const RowPlan& plan = *call.plan;
  const Index step_bytes =
      std::max<Index>(1, plan.batch() * spec_.output_size() * static_cast<Index>(sizeof(S)));
  const Index stretch = std::max<Index>(16, kBytesBetween / step_bytes);
  if (call.saved != nullptr || spec_.num_layers == 1 || spec_.bidirectional ||
      plan.steps() <= stretch) {
    return forward_at_once(call);
  }
  NetworkForward<S> part = call;
  for (Index first = 0; first < plan.steps(); first += stretch) {
    const RowPlan steps = plan.slice(first, std::min(stretch, plan.steps() - first));
    part.plan = &steps;
    part.x = call.x.from_step(first);
    part.y = call.y.from_step(first);
    forward_at_once(part);
    part.h0 = part.h_final;  // read before it is written
    part.c0 = part.c_final;
  }
}

template <class S>
void Network<S>::forward_at_once(const NetworkForward<S>& call) const {
  const RowPlan& plan = *call.plan;
  const Index last = spec_.num_layers - 1, features = spec_.output_size();
  const Index count = plan.longest() * plan.batch() * features;
  Arena& arena = scratch();
  const Arena::Scope scope(arena);
  const Threads threads(spec_, plan);
  if (call.saved != nullptr) {
    call.saved->layers.resize(static_cast<std::size_t>(spec_.num_layers));
  }
  auto* const stages = arena.take<ForwardStage>(spec_.num_layers);
  auto** const passes = arena.take<Pass*>(spec_.num_layers * spec_.directions());
  LayerInput<S> x = call.x;
  for (Index layer = 0; layer <= last; ++layer) {
    auto* const saved = call.saved ? &call.saved->layers[static_cast<std::size_t>(layer)] : nullptr;
    ForwardStage& stage = *new (&stages[layer]) ForwardStage{x, call.y, {}, nullptr, nullptr};
    if (layer < last) {
      stage.output = sequence_memory(saved ? &saved->output : nullptr, count, plan.ragged());
      stage.y = inner_sequence(stage.output, plan.batch(), features);
      Sequence<S> above = stage.y;
      if (saved != nullptr && spec_.dropout > 0) {
        saved->dropped = Buffer<S>(count);
        stage.dropped = above.data = saved->dropped.data();
      }
      x = {read_only(above), {}};
    }
    prepare_forward(call, layer, threads.sharing(), stage, passes + layer * spec_.directions());
  }
  take_chunks(passes);
  threads.run(
      passes, spec_.num_layers, spec_.directions(), [](Index, Member&) {},
      [&](Index layer, Member& member) { after_forward(call, layer, stages[layer], member); });
}

/// Passes that run one after the other share the memory of their chunks.
template <class S>
void Network<S>::take_chunks(Pass* const* passes) const {
  Arena& arena = scratch();
  const Index directions = spec_.directions();
  for (Index layer = 0; layer < spec_.num_layers; ++layer) {
    const Arena::Scope layer_scope(arena);
    for (Index d = 0; d < directions; ++d) {
      passes[layer * directions + d]->take_chunk(arena);
    }
  }
}

template <class S>
void Network<S>::prepare_forward(const NetworkForward<S>& call, Index layer, const Sharing& sharing,
                                 ForwardStage& stage, Pass** passes) const {
  const RowPlan& plan = *call.plan;
  auto* const saved = call.saved ? &call.saved->layers[static_cast<std::size_t>(layer)] : nullptr;
  const Index hidden = spec_.hidden_size, state = plan.batch() * hidden;
  for (Index d = 0; d < spec_.directions(); ++d) {
    const auto i = static_cast<std::size_t>(d);
    stage.h[d] = stage.y.features_from(d * hidden);
    if (merges()) {
      S* const memory =
          sequence_memory(saved ? &saved->h[i] : nullptr, plan.longest() * state, false);
      stage.h[d] = inner_sequence(memory, plan.batch(), hidden);
    }
    const Index offset = (layer * spec_.directions() + d) * state;
    const auto at = [offset](auto* p) { return p == nullptr ? nullptr : p + offset; };
    passes[d] = direction(layer, d).forward(
        {&plan, d == 1, stage.x, stage.h[d], at(call.h0), at(call.c0), at(call.h_final),
         at(call.c_final), saved ? &saved->directions[i] : nullptr},
        sharing, scratch());
  }
}

template <class S>
void Network<S>::after_forward(const NetworkForward<S>& call, Index layer,
                               const ForwardStage& stage, Member& member) const {
  const RowPlan& plan = *call.plan;
  const bool top = layer == spec_.num_layers - 1;
  if (merges() || (top && plan.ragged())) {
    member.share([&](int part, int parts) {
      const Range ranks = plan.ranks(part, parts);
      if (merges()) {
        merge_forward(spec_.merge, plan, ranks, spec_.hidden_size, read_only(stage.h[0]),
                      read_only(stage.h[1]), stage.y);
      }
      if (top) zero_padding(plan, ranks, stage.y, spec_.output_size());
    });
  }
  if (stage.dropped != nullptr) {
    const DropoutMask mask = dropout_mask(*call.saved, layer);
    member.share([&](int part, int parts) {
      mask.apply(stage.output, stage.dropped,
                 part_of(plan.longest() * plan.batch() * spec_.output_size(), part, parts));
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
  S* sums;  // of both directions
};

template <class S>
Index Network<S>::backward_chunk_end(const RowPlan& plan, Index first) const {
  constexpr Index kChunkBytes = 512 * 1024;
  constexpr Index kChunkRows = 256;  // deep enough for the weight products to run at speed
  return chunk_end(plan, {0, plan.batch()}, first, chunk_row_bytes_,
                   std::max(kChunkBytes, kChunkRows * chunk_row_bytes_));
}

template <class S>
Chunks Network<S>::backward_chunks(const RowPlan& plan) const {
  Index* const ends = scratch().take<Index>(plan.longest() + 1);
  Index count = 0;
  ends[0] = 0;
  while (plan.total_rows() > 0 && ends[count] < plan.longest()) {
    ends[count + 1] = backward_chunk_end(plan, ends[count]);
    ++count;
  }
  return {ends, count};
}

template <class S>
Index Network<S>::sums_size(const LayerInput<S>& x) const {
  Index size = 0;
  for (Index layer = 0; layer < spec_.num_layers; ++layer) {
    const LayerInput<S>& input = layer == 0 ? x : LayerInput<S>{};
    size += spec_.directions() * direction(layer, 0).sums_size(input);
  }
  return size;
}

template <class S>
void Network<S>::backward(const NetworkBackward<S>& call) const {
  const RowPlan& plan = call.saved->plan;
  const Index layers = spec_.num_layers, features = spec_.output_size();
  const Index count = plan.longest() * plan.batch() * features;
  Arena& arena = scratch();
  const Arena::Scope scope(arena);
  const Threads threads(spec_, plan);
  auto* const stages = arena.take<BackwardStage>(layers);  // in the order of running
  auto** const passes = arena.take<Pass*>(layers * spec_.directions());
  const Chunks chunks = backward_chunks(plan);
  S* sums = call.sums.memory ? call.sums.memory : arena.take_zeroed<S>(sums_size(call.x));
  S* memory[2] = {};  // of the gradients between layers, by turns
  Sequence<const S> y = call.y, d_y = call.d_y;
  for (Index i = 0; i < layers; ++i) {
    const Index layer = layers - 1 - i;
    BackwardStage& stage =
        *new (&stages[i]) BackwardStage{call.x, y, d_y, call.d_x, {}, {}, {}, chunks, sums};
    if (layer > 0) {
      const auto& below = call.saved->layers[static_cast<std::size_t>(layer - 1)];
      const auto inner = [&](const Buffer<S>& buffer) {
        return Sequence<const S>{buffer.data(), features, plan.batch() * features, 1};
      };
      stage.x = {inner(below.dropped.empty() ? below.output : below.dropped), {}};
      S*& between = memory[i % 2];
      if (between == nullptr) between = sequence_memory<S>(nullptr, count, plan.ragged());
      stage.d_x = inner_sequence(between, plan.batch(), features);
      y = inner(below.output);
      d_y = read_only(stage.d_x);
    }
    sums += spec_.directions() * direction(layer, 0).sums_size(stage.x);
    prepare_backward(call, layer, threads.sharing(), stage, passes + i * spec_.directions());
  }
  take_chunks(passes);
  threads.run(
      passes, layers, spec_.directions(),
      [&](Index i, Member& member) { before_backward(call, stages[i], member); },
      [&](Index i, Member& member) { after_backward(call, layers - 1 - i, stages[i], member); });
}

template <class S>
void Network<S>::prepare_backward(const NetworkBackward<S>& call, Index layer,
                                  const Sharing& sharing, BackwardStage& stage,
                                  Pass** passes) const {
  const RowPlan& plan = call.saved->plan;
  const auto& saved = call.saved->layers[static_cast<std::size_t>(layer)];
  const Index hidden = spec_.hidden_size, state = plan.batch() * hidden;
  const Index inputs = spec_.layer_input_size(layer);
  if (sharing.side_by_side && stage.d_x) {
    S* const memory = scratch().take<S>(plan.longest() * plan.batch() * inputs);
    stage.d_x_reverse = inner_sequence(memory, plan.batch(), inputs);
  }
  for (Index d = 0; d < spec_.directions(); ++d) {
    const auto i = static_cast<std::size_t>(d);
    stage.h[d] = stage.y.features_from(d * hidden);
    Sequence<const S> d_h = stage.d_y.features_from(d * hidden);
    if (merges()) {
      stage.h[d] = {saved.h[i].data(), hidden, state, 1};
      if (stage.d_y) {
        S* const memory = scratch().take<S>(plan.longest() * state);
        stage.d_h[d] = inner_sequence(memory, plan.batch(), hidden);
        d_h = read_only(stage.d_h[d]);
      }
    }
    const Index index = layer * spec_.directions() + d, offset = index * state;
    const auto at = [offset](auto* p) { return p == nullptr ? nullptr : p + offset; };
    const auto steps = [index](const std::vector<Sequence<S>>& all) {
      return all.empty() ? Sequence<S>{} : all[static_cast<std::size_t>(index)];
    };
    const bool apart = d == 1 && stage.d_x_reverse;
    const Sums<S> sums{stage.sums + d * direction(layer, d).sums_size(stage.x), call.sums.first,
                       call.sums.last};
    passes[d] = direction(layer, d).backward(
        {&plan, d == 1, stage.x, stage.h[d], &saved.directions[i], d_h, at(call.d_h_final),
         at(call.d_c_final), apart ? stage.d_x_reverse : stage.d_x, d == 1 && !apart, at(call.d_h0),
         at(call.d_c0), call.d_parameters + parameter_offset(spec_, layer, d),
         steps(call.d_h_steps), steps(call.d_c_steps), stage.chunks, sums},
        sharing, scratch());
  }
}

template <class S>
void Network<S>::before_backward(const NetworkBackward<S>& call, const BackwardStage& stage,
                                 Member& member) const {
  if (!stage.d_h[0]) return;
  const RowPlan& plan = call.saved->plan;
  member.share([&](int part, int parts) {
    for (int d = 0; d < 2; ++d) {
      merge_backward(spec_.merge, plan, plan.ranks(part, parts), spec_.hidden_size, stage.d_y,
                     stage.h[1 - d], stage.d_h[d]);
    }
  });
}

template <class S>
void Network<S>::after_backward(const NetworkBackward<S>& call, Index layer,
                                const BackwardStage& stage, Member& member) const {
  const RowPlan& plan = call.saved->plan;
  const Index inputs = spec_.layer_input_size(layer);
  if (stage.d_x_reverse) {
    member.share([&](int part, int parts) {
      add_sequence(plan, plan.ranks(part, parts), inputs, read_only(stage.d_x_reverse), stage.d_x);
    });
  }
  if (layer == 0 && stage.d_x && plan.ragged()) {
    member.share([&](int part, int parts) {
      zero_padding(plan, plan.ranks(part, parts), stage.d_x, inputs);
    });
  }
  if (layer > 0 && !call.saved->layers[static_cast<std::size_t>(layer - 1)].dropped.empty()) {
    const DropoutMask mask = dropout_mask(*call.saved, layer - 1);
    member.share([&](int part, int parts) {
      mask.apply(stage.d_x.data, stage.d_x.data,
                 part_of(plan.longest() * plan.batch() * inputs, part, parts));
    });
  }
}

template class Network<float>;
template class Network<double>;

}  // namespace bptt
