#pragma once

#include "core/cell_direction.hpp"
#include "core/shrink.hpp"

// The time loop forward, for any cell. CellSteps (cell_steps.hpp) computes its steps.

namespace bptt {

template <class S>
class ForwardLoop final : public TimeLoop {
 public:
  ForwardLoop(const CellDirection<S>& layer, const ForwardTask<S>& task, const ParallelPlan& plan,
              Arena& arena)
      : layer_(layer),
        task_(task),
        batch_(*task.batch),
        activations_(layer.activations_),
        split_(plan.split),
        chunk_count_(split_ == Split::kBatch ? plan.threads_per_direction() : 1),
        chunks_(arena.allocate<Chunk>(chunk_count_)),
        zoneout_(task.regularization, batch_.size(), layer.hidden_),
        regularized_(zoneout_.active() || task.regularization.drops()) {
    const Index state = batch_.size() * layer_.padded_;
    const bool drops = task.regularization.drops();
    if (drops) factors_ = layer_.dropout_factors(task.regularization, batch_, arena);
    h_[0] = layer_.read_state(batch_, task.initial[0], arena);
    h_[1] = arena.allocate_zeroed<S>(state);
    for (int i = 0; i < 2; ++i) {
      dropped_[i] = drops ? arena.allocate_zeroed<S>(state) : h_[i];
      h_rows_[i] = row_pointers<S>(arena, dropped_[i], layer_.padded_, batch_.size());
    }
    if (drops) {
      layer_.multiply_rows(h_[0], factors_, {0, batch_.size()}, layer_.blocks_range(), dropped_[0]);
    }
    for (int i = 0; i < memory_count(); ++i) {
      memory_[i] = layer_.read_state(batch_, task.initial[1 + static_cast<std::size_t>(i)], arena);
      if (zoneout_.active()) memory_before_[i] = arena.allocate<S>(state);
    }
    if (layer_.cell_.phases > 1) {
      operand_ = arena.allocate<S>(state);
      operand_rows_ = row_pointers<S>(arena, operand_, layer_.padded_, batch_.size());
    }
    if (layer_.cell_.separate_recurrent) {
      recurrent_ = arena.allocate<S>(batch_.size() * layer_.gates_width());
    }
    if (task.saved != nullptr) allocate_saved(*task.saved);
  }

  void allocate_chunk(Arena& arena) override {
    for (int i = 0; i < chunk_count_; ++i) {
      const Range slots = batch_.slots(i, chunk_count_);
      const Index rows =
          std::min(batch_.total_rows(slots), std::max(kChunkBytes / row_bytes(), slots.size()));
      chunks_[i] = {arena.allocate<S>(rows * layer_.gates_width()),
                    task_.x.ids ? nullptr : arena.allocate<const S*>(rows)};
    }
  }

  void run(Worker& worker) const override {
    if (split_ == Split::kBatch) {
      worker.parallel_for([&](int part, int parts) {
        run_slots(worker, batch_.slots(part, parts), chunks_[part]);
      });
    } else {
      run_hidden_split(worker);
    }
  }

 private:
  template <class Cell, class T>
  friend struct CellSteps;
  static constexpr Index kLanes = Vec<S>::kLanes;
  // The projections stay in L2 until they are used.
  static constexpr Index kChunkBytes = (Index{256} << 10) / kShrink;

  /// Scratch for the steps whose input is projected together.
  struct Chunk {
    S* gates;     // [rows][gates]
    const S** x;  // the rows' input, if it is dense
  };

  /// Some rows through all steps.
  void run_slots(const Worker& worker, Range slots, const Chunk& chunk) const {
    for (Index first = 0, last; first < batch_.longest(slots); first = last) {
      if (worker.cancelled()) return;
      last = chunk_end(batch_, slots, first, row_bytes(), kChunkBytes);
      project_input(slots, first, last, chunk);
      S* gates = chunk.gates;
      for (Index s = first; s < last; ++s) {
        const Range active{slots.first, slots.first + batch_.active(slots, s)};
        for (int phase = 0; phase < layer_.cell_.phases; ++phase) {
          step(phase, s, active, gates, all_panels(phase));
        }
        gates += active.size() * layer_.gates_width();
      }
    }
    write_state(slots);
  }

  /// All rows through all steps; in each phase of each step the threads split the hidden units.
  void run_hidden_split(Worker& worker) const {
    const Range slots{0, batch_.size()};
    const Chunk& chunk = chunks_[0];
    for (Index first = 0, last; first < batch_.longest(); first = last) {
      last = chunk_end(batch_, slots, first, row_bytes(), kChunkBytes);
      const Index first_row = batch_.first_row(first);
      worker.parallel_for([&](int part, int parts) {
        const Range steps = part_of(last - first, part, parts);
        const Index row = batch_.first_row(first + steps.first) - first_row;
        project_input(
            slots, first + steps.first, first + steps.last,
            {chunk.gates + row * layer_.gates_width(), task_.x.ids ? nullptr : chunk.x + row});
      });
      for (Index s = first; s < last; ++s) {
        const Range active{0, batch_.active(s)};
        S* const gates = chunk.gates + (batch_.first_row(s) - first_row) * layer_.gates_width();
        for (int phase = 0; phase < layer_.cell_.phases; ++phase) {
          worker.parallel_for([&](int part, int parts) {
            step(phase, s, active, gates, part_of(all_panels(phase).last, part, parts));
          });
        }
      }
    }
    worker.parallel_for([&](int part, int parts) { write_state(batch_.slots(part, parts)); });
  }

  int memory_count() const { return layer_.cell_.memory; }
  Index row_bytes() const { return layer_.gates_width() * static_cast<Index>(sizeof(S)); }
  Range all_panels(int phase) const { return {0, layer_.weight_hh_[phase].count()}; }

  void write_state(Range slots) const {
    layer_.write_state(batch_, slots, task_.last[0], [&](Index slot) {
      return h_[batch_.length(slot) & 1] + slot * layer_.padded_;
    });
    for (int i = 0; i < memory_count(); ++i) {
      layer_.write_state(batch_, slots, task_.last[1 + static_cast<std::size_t>(i)],
                         [&](Index slot) { return memory_[i] + slot * layer_.padded_; });
    }
  }

  void allocate_saved(DirectionSaved<S>& saved) const {
    const Index state = batch_.size() * layer_.padded_;
    const Index rows = batch_.total_rows() * layer_.padded_;
    saved.gates = Buffer<S>(batch_.total_rows() * layer_.saved_width());
    for (std::size_t i = 0; i < static_cast<std::size_t>(layer_.cell_.states()); ++i) {
      saved.initial[i] = Buffer<S>(state);
      std::copy_n(i == 0 ? h_[0] : memory_[i - 1], state, saved.initial[i].data());
      if (i == 0) continue;
      saved.memory[i - 1] = Buffer<S>(rows);
      if (zoneout_.active()) saved.zoned[i - 1] = Buffer<S>(rows);
    }
  }

  /// chunk.gates = U x + b for every row of the steps [first, last), as one tall product.
  void project_input(Range slots, Index first, Index last, const Chunk& chunk) const {
    if (task_.x.ids) return gather_input(slots, first, last, chunk.gates);
    const S** next = chunk.x;
    batch_.for_each_row(slots, first, last, [&](Index slot, Index s) {
      *next++ = task_.x.values.row(batch_.row(slot), batch_.time(slot, s, task_.reverse));
    });
    for (int phase = 0; phase < layer_.cell_.phases; ++phase) {
      const Index column = layer_.phase_column(phase);
      const PackedWeights<S>& weights = layer_.weight_ih_[phase];
      gemm_packed(weights, 0, weights.count(),
                  RowPointers<S>{chunk.x, task_.x.values.feature_stride}, next - chunk.x,
                  layer_.bias_.data() + column, 0, chunk.gates + column, layer_.gates_width());
    }
  }

  /// The same for one-hot rows: the product with a unit vector is a column of U.
  void gather_input(Range slots, Index first, Index last, S* row) const {
    batch_.for_each_row(slots, first, last, [&](Index slot, Index s) {
      const Index id = *task_.x.ids.row(batch_.row(slot), batch_.time(slot, s, task_.reverse));
      std::copy_n(layer_.bias_.data(), layer_.gates_width(), row);
      for (int phase = 0; phase < layer_.cell_.phases; ++phase) {
        const PackedWeights<S>& weights = layer_.weight_ih_[phase];
        for (Index q = 0; q < weights.count(); ++q) {
          const Index width = weights.packets(q) * kLanes;
          const S* const from = weights.panel(q) + id * width;
          S* const to = row + layer_.phase_column(phase) + weights.column(q);
          for (Index i = 0; i < width; ++i) to[i] += from[i];
        }
      }
      row += layer_.gates_width();
    });
  }

  void step(int phase, Index s, Range slots, S* gates, Range panels) const {
    if (memory_before_[0] != nullptr) keep_memory(slots, blocks_of(phase, panels));
    const CellKernels<S>& kernels = layer_.kernels_;
    (task_.saved != nullptr ? kernels.train : kernels.infer)[phase](*this, s, slots, gates, panels);
    if (regularized_) regularize(phase, s, slots, panels);
  }

  // ---- zoneout and recurrent dropout, for the units whose equations have been applied

  Range blocks_of(int phase, Range panels) const {
    const Index per_panel = layer_.weight_hh_[phase].blocks_per_panel();
    return {panels.first * per_panel, std::min(panels.last * per_panel, layer_.blocks_)};
  }

  [[gnu::noinline]] void keep_memory(Range slots, Range blocks) const {
    for (Index slot = slots.first; slot < slots.last; ++slot) {
      const Index at = slot * layer_.padded_ + blocks.first * kLanes;
      for (int i = 0; i < memory_count(); ++i) {
        std::copy_n(memory_[i] + at, blocks.size() * kLanes, memory_before_[i] + at);
      }
    }
  }

  [[gnu::noinline]] void regularize(int phase, Index s, Range slots, Range panels) const {
    const Range blocks = blocks_of(phase, panels);
    const bool last = phase == layer_.cell_.last_phase();
    if (last && zoneout_.active()) zone_out(s, slots, blocks);
    if (factors_ == nullptr) return;
    S* const to = last ? dropped_[(s + 1) & 1] : operand_;
    layer_.multiply_rows(last ? h_[(s + 1) & 1] : operand_, factors_, slots, blocks, to);
  }

  void zone_out(Index s, Range slots, Range blocks) const {
    const Index unit = blocks.first * kLanes, count = blocks.size() * kLanes;
    for (Index slot = slots.first; slot < slots.last; ++slot) {
      const Index row = batch_.row(slot), at = slot * layer_.padded_ + unit;
      S* const h = h_[(s + 1) & 1] + at;
      zoneout_.mix(0, s, row, unit, count, h_[s & 1] + at, h);
      std::copy_n(h, std::min(count, layer_.hidden_ - unit),
                  task_.y.row(row, batch_.time(slot, s, task_.reverse)) + unit);
      for (int i = 0; i < memory_count(); ++i) {
        zoneout_.mix(1, s, row, unit, count, memory_before_[i] + at, memory_[i] + at);
        if (task_.saved == nullptr) continue;
        S* const zoned = task_.saved->zoned[static_cast<std::size_t>(i)].data();
        std::copy_n(memory_[i] + at, count,
                    zoned + (batch_.first_row(s) + slot) * layer_.padded_ + unit);
      }
    }
  }

  const CellDirection<S>& layer_;
  const ForwardTask<S>& task_;
  const RaggedBatch& batch_;
  const Activations activations_;
  const Split split_;
  const int chunk_count_;  // one a thread if the batch is split, else one
  Chunk* const chunks_;
  const Zoneout<S> zoneout_;
  const bool regularized_;
  S* h_[2];                            // [B][Hp] h_{t-1} and h_t, alternating
  S* dropped_[2];                      // the same as the recurrent weights see it
  const S** h_rows_[2];                // [B] pointers to its rows
  S* factors_ = nullptr;               // [B][Hp] of recurrent dropout, if there is any
  S* memory_[kMaxMemory] = {};         // [B][Hp] updated in place
  S* memory_before_[kMaxMemory] = {};  // [B][Hp] those of t-1, if there is zoneout
  S* operand_ = nullptr;               // [B][Hp] what the second phase multiplies
  const S** operand_rows_ = nullptr;   // [B]
  S* recurrent_ = nullptr;             // [B][gates] W h + bias_hn
};

template <class S>
TimeLoop* CellDirection<S>::forward(const ForwardTask<S>& task, const ParallelPlan& plan,
                                    Arena& arena) const {
  return arena.make<ForwardLoop<S>>(*this, task, plan, arena);
}

}  // namespace bptt
