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
        zoneout_(task.regularization, batch_.size(), layer.h_size_, layer.hidden_),
        regularized_(zoneout_.active() || task.regularization.drops() || task.x.decay),
        cell_y_(task.y) {
    const Index state = batch_.size() * layer_.h_padded_, cells = batch_.size() * layer_.padded_;
    const bool drops = task.regularization.drops();
    if (drops) factors_ = layer_.dropout_factors(task.regularization, batch_, arena);
    h_[0] = layer_.read_state(batch_, task.initial, 0, arena);
    h_[1] = arena.allocate_zeroed<S>(state);
    for (int i = 0; i < 2; ++i) {
      dropped_[i] = drops ? arena.allocate_zeroed<S>(state) : h_[i];
      h_rows_[i] = row_pointers<S>(arena, dropped_[i], layer_.h_padded_, batch_.size());
      cell_h_[i] = h_[i];
    }
    for (int i = 0; i < memory_count(); ++i) {
      memory_[i] = layer_.read_state(batch_, task.initial, 1 + i, arena);
      if (zoneout_.active()) memory_before_[i] = arena.allocate<S>(cells);
    }
    if (layer_.cell_.phases > 1) {
      operand_ = arena.allocate<S>(cells);
      operand_rows_ = row_pointers<S>(arena, operand_, layer_.padded_, batch_.size());
    }
    if (layer_.cell_.separate_recurrent || layer_.cell_.normalized) {
      recurrent_ = arena.allocate<S>(batch_.size() * layer_.gates_stride_);
    }
    if (task.saved != nullptr) allocate_saved(*task.saved);
    if (layer_.projects()) allocate_projection(arena);
    prepare_h(0, {0, batch_.size()}, layer_.h_blocks_range());
  }

  void allocate_chunk(Arena& arena) override {
    for (int i = 0; i < chunk_count_; ++i) {
      const Range slots = batch_.slots(i, chunk_count_);
      const Index rows =
          std::min(batch_.total_rows(slots), std::max(kChunkBytes / row_bytes(), slots.size()));
      chunks_[i] = {arena.allocate<S>(rows * layer_.gates_stride_),
                    task_.x.ids ? nullptr : arena.allocate<const S*>(rows)};
    }
  }

  void run(Range steps, Worker& worker) const override {
    if (split_ == Split::kBatch) {
      worker.parallel_for([&](int part, int parts) {
        run_slots(worker, batch_.slots(part, parts), steps, chunks_[part]);
      });
    } else {
      run_hidden_split(worker);
    }
  }

 private:
  template <class Cell, class T, bool kUsual>
  friend struct CellSteps;
  static constexpr Index kLanes = Vec<S>::kLanes;
  // The projections stay in L2 until they are used.
  static constexpr Index kChunkBytes = (Index{256} << 10) / kShrink;

  /// Scratch for the steps whose input is projected together.
  struct Chunk {
    S* gates;     // [rows][gates]
    const S** x;  // the rows' input, if it is dense
  };

  /// Some rows through some steps.
  void run_slots(const Worker& worker, Range slots, Range steps, const Chunk& chunk) const {
    const Index end = std::min(steps.last, batch_.longest(slots));
    for (Index first = steps.first, last; first < end; first = last) {
      if (worker.cancelled()) return;
      last = std::min(end, chunk_end(batch_, slots, first, row_bytes(), kChunkBytes));
      if (!task_.x.ids) point_to_input(slots, first, last, chunk.x);
      project_input(slots, first, last, chunk, 0, 1);
      if (layer_.cell_.normalized) normalize_input(slots, first, last, chunk.gates);
      S* gates = chunk.gates;
      for (Index s = first; s < last; ++s) {
        const Range active{slots.first, slots.first + batch_.active(slots, s)};
        layer_.cell_.normalized ? normalized_step(s, active, gates) : all_phases(s, active, gates);
        if (layer_.projects()) project(s, active, {0, layer_.weight_hr_.count()});
        gates += active.size() * layer_.gates_stride_;
      }
    }
    if (steps.last == batch_.longest()) write_state(slots);
  }

  void all_phases(Index s, Range slots, S* gates) const {
    for (int phase = 0; phase < layer_.cell_.phases; ++phase) {
      step(phase, s, slots, gates, all_panels(phase));
    }
  }

  /// Row by row once the product is complete: a row stays in the L1 cache from phase to phase.
  void normalized_step(Index s, Range slots, S* gates) const {
    multiply(s, slots, all_panels(0));
    for (Index slot = slots.first; slot < slots.last; ++slot, gates += layer_.gates_stride_) {
      all_phases(s, {slot, slot + 1}, gates);
    }
  }

  /// All rows through all steps; in each phase of each step the threads split the hidden units, and
  /// those of the projection. The input is projected to the same units, so that what a thread reads
  /// at a step is in its own cache.
  void run_hidden_split(Worker& worker) const {
    const Range slots{0, batch_.size()};
    const Chunk& chunk = chunks_[0];
    for (Index first = 0, last; first < batch_.longest(); first = last) {
      last = chunk_end(batch_, slots, first, row_bytes(), kChunkBytes);
      const Index first_row = batch_.first_row(first);
      // visit(first step, last step, first row) for the steps of a thread.
      const auto split_steps = [&](auto visit) {
        worker.parallel_for([&](int part, int parts) {
          const Range steps = part_of(last - first, part, parts);
          const Index begin = first + steps.first;
          visit(begin, first + steps.last, batch_.first_row(begin) - first_row);
        });
      };
      if (!task_.x.ids) {
        split_steps([&](Index begin, Index end, Index row) {
          point_to_input(slots, begin, end, chunk.x + row);
        });
      }
      worker.parallel_for(
          [&](int part, int parts) { project_input(slots, first, last, chunk, part, parts); });
      if (layer_.cell_.normalized) {
        split_steps([&](Index begin, Index end, Index row) {
          normalize_input(slots, begin, end, chunk.gates + row * layer_.gates_stride_);
        });
      }
      for (Index s = first; s < last; ++s) {
        const Range active{0, batch_.active(s)};
        S* const gates = chunk.gates + (batch_.first_row(s) - first_row) * layer_.gates_stride_;
        if (layer_.cell_.normalized) {
          worker.parallel_for([&](int part, int parts) {
            multiply(s, active, part_of(all_panels(0).last, part, parts));
          });
        }
        for (int phase = 0; phase < layer_.cell_.phases; ++phase) {
          worker.parallel_for([&](int part, int parts) {
            step(phase, s, active, gates, part_of(all_panels(phase).last, part, parts));
          });
        }
        if (!layer_.projects()) continue;
        worker.parallel_for([&](int part, int parts) {
          project(s, active, part_of(layer_.weight_hr_.count(), part, parts));
        });
      }
    }
    worker.parallel_for([&](int part, int parts) { write_state(batch_.slots(part, parts)); });
  }

  int memory_count() const { return layer_.cell_.memory; }
  // Of the gates alone: with what the stride adds, a power of two of rows would not fill a chunk.
  Index row_bytes() const { return layer_.gates_width() * static_cast<Index>(sizeof(S)); }
  Range all_panels(int phase) const { return {0, layer_.recurrent_weights(phase).count()}; }

  void write_state(Range slots) const {
    layer_.write_state(batch_, slots, task_.last, 0, [&](Index slot) {
      return h_[batch_.length(slot) & 1] + slot * layer_.h_padded_;
    });
    for (int i = 0; i < memory_count(); ++i) {
      layer_.write_state(batch_, slots, task_.last, 1 + i,
                         [&](Index slot) { return memory_[i] + slot * layer_.padded_; });
    }
  }

  void allocate_saved(DirectionSaved<S>& saved) const {
    const Index cells = batch_.size() * layer_.padded_;
    const Index rows = batch_.total_rows() * layer_.padded_;
    saved.gates = Buffer<S>(batch_.total_rows() * layer_.saved_width());
    for (int i = 0; i < layer_.cell_.states(); ++i) {
      const Index size = batch_.size() * layer_.state_width(i);
      Buffer<S>& initial = saved.initial[static_cast<std::size_t>(i)];
      initial = Buffer<S>(size);
      std::copy_n(i == 0 ? h_[0] : memory_[i - 1], size, initial.data());
    }
    for (std::size_t i = 0; i < static_cast<std::size_t>(memory_count()); ++i) {
      saved.memory[i] = Buffer<S>(rows);
      if (zoneout_.active()) saved.zoned[i] = Buffer<S>(rows);
    }
    if (layer_.projects()) saved.outputs = Buffer<S>(batch_.longest() * cells);
    if (!layer_.cell_.normalized) return;
    for (NormalizedRows<S>* const normalized : {&saved.input, &saved.recurrent}) {
      normalized->values = Buffer<S>(batch_.total_rows() * layer_.gates_width());
      normalized->scales = Buffer<S>(batch_.total_rows());
    }
    if (layer_.cell_.normalizes_cell()) saved.cell_moments = Buffer<S>(2 * batch_.total_rows());
  }

  /// The cell's output is then that of the projection only for its product, and for backward.
  void allocate_projection(Arena& arena) {
    const Index cells = batch_.size() * layer_.padded_;
    cell_h_[0] = cell_h_[1] = arena.allocate<S>(cells);
    cell_h_rows_ = row_pointers<S>(arena, cell_h_[0], layer_.padded_, batch_.size());
    const bool keeps = task_.saved != nullptr;
    cell_y_ = {.data = keeps ? task_.saved->outputs.data() : arena.allocate<S>(cells),
               .batch_stride = layer_.padded_,
               .step_stride = keeps ? cells : 0};
  }

  /// The rows of the input at the steps [first, last).
  void point_to_input(Range slots, Index first, Index last, const S** next) const {
    batch_.for_each_row(slots, first, last, [&](Index slot, Index s) {
      *next++ = task_.x.values.row(batch_.row(slot), batch_.time(slot, s, task_.reverse));
    });
  }

  /// chunk.gates = U x + b for every row of the steps [first, last), or U x before its
  /// normalization: a part of the columns, those of the panels that are the same part in a step.
  void project_input(Range slots, Index first, Index last, const Chunk& chunk, int part,
                     int parts) const {
    const S* const initial = layer_.cell_.normalized ? nullptr : layer_.bias_.data();
    for (int phase = 0; phase < layer_.cell_.products(); ++phase) {
      const PackedWeights<S>& weights = layer_.weight_ih_[phase];
      const Range panels = part_of(weights.count(), part, parts);
      const Index column = layer_.phase_column(phase);
      const S* const init = initial == nullptr ? nullptr : initial + column;
      S* const out = chunk.gates + column;
      if (task_.x.ids) {
        gather_input(weights, panels, slots, first, last, init, out);
      } else {  // as one tall product
        gemm_packed(weights, panels.first, panels.last,
                    RowPointers<S>{chunk.x, task_.x.values.feature_stride},
                    batch_.rows(slots, first, last), init, 0, out, layer_.gates_stride_);
      }
    }
  }

  /// The same for one-hot rows: the product with a unit vector is a column of U.
  void gather_input(const PackedWeights<S>& weights, Range panels, Range slots, Index first,
                    Index last, const S* init, S* row) const {
    const Range columns = weights.columns_of(panels);
    batch_.for_each_row(slots, first, last, [&](Index slot, Index s) {
      const Index id = *task_.x.ids.row(batch_.row(slot), batch_.time(slot, s, task_.reverse));
      if (init != nullptr) {
        std::copy_n(init + columns.first, columns.size(), row + columns.first);
      } else {
        std::fill_n(row + columns.first, columns.size(), S(0));
      }
      add_weights(weights, panels, id, row);
      row += layer_.gates_stride_;
    });
  }

  /// Each row of U x becomes gain * z + b, with z as it is saved for backward.
  void normalize_input(Range slots, Index first, Index last, S* row) const {
    const NormalizedRow<S> shape = layer_.normalized_row();
    const S *const gain = layer_.gain_ih_.data(), *const bias = layer_.bias_.data();
    const Index width = layer_.gates_width();
    batch_.for_each_row(slots, first, last, [&](Index slot, Index s) {
      const Moments<S> moments = shape.moments(row);
      S* saved = nullptr;
      if (task_.saved != nullptr) {
        const Index saved_row = batch_.first_row(s) + slot;
        saved = task_.saved->input.values.data() + saved_row * width;
        task_.saved->input.scales.data()[saved_row] = moments.scale;
      }
      for (Index at = 0; at < width; at += kLanes) {
        const Vec<S> z = moments.normalize(Vec<S>::load(row + at));
        if (saved != nullptr) z.store(saved + at);
        fma(z, Vec<S>::load(gain + at), Vec<S>::load(bias + at)).store(row + at);
      }
      row += layer_.gates_stride_;
    });
  }

  /// recurrent_ = W h for some panels, where the equations need the sums of all units.
  void multiply(Index s, Range slots, Range panels) const {
    const Index stride = layer_.gates_stride_;
    const RowPointers<S> left{h_rows_[s & 1] + slots.first};
    const S* const zero = nullptr;
    const PackedWeights<S>& weights = layer_.weight_hh_[0];
    for_each_group(weights, panels, slots.size(), s % 2 != 0, [&](Index first, Index last) {
      gemm_packed(weights, first, last, left, slots.size(), zero, 0,
                  recurrent_ + slots.first * stride, stride);
    });
  }

  void step(int phase, Index s, Range slots, S* gates, Range panels) const {
    if (memory_before_[0] != nullptr && phase == 0) keep_memory(slots, blocks_of(phase, panels));
    const CellKernels<S>& kernels = layer_.kernels_;
    (task_.saved != nullptr ? kernels.train : kernels.infer)[phase](*this, s, slots, gates, panels);
    if (!regularized_) return;
    const Range blocks = blocks_of(phase, panels);
    const bool last = phase == layer_.cell_.last_phase();
    if (memory_before_[0] != nullptr && last) zone_out_memory(s, slots, blocks);
    if (!layer_.projects()) regularize(phase, s, slots, blocks);
  }

  /// h_t from the outputs of the cell, for the units of some panels.
  [[gnu::noinline]] void project(Index s, Range slots, Range panels) const {
    const PackedWeights<S>& weights = layer_.weight_hr_;
    S* const h = h_[(s + 1) & 1];
    for_each_group(weights, panels, slots.size(), s % 2 != 0, [&](Index first, Index last) {
      S* const out = h + slots.first * layer_.h_padded_;
      gemm_packed<S>(weights, first, last, RowPointers<S>{cell_h_rows_ + slots.first}, slots.size(),
                     nullptr, 0, out, layer_.h_padded_);
    });
    const Range blocks = weights.blocks_of(panels);
    for (Index slot = slots.first; slot < slots.last; ++slot) write_output(s, slot, blocks);
    if (regularized_) regularize(layer_.cell_.last_phase(), s, slots, blocks);
  }

  /// y_t = h_t, for some blocks of one row.
  void write_output(Index s, Index slot, Range blocks) const {
    const Index unit = blocks.first * kLanes;
    std::copy_n(h_[(s + 1) & 1] + slot * layer_.h_padded_ + unit,
                std::min(blocks.size() * kLanes, layer_.h_size_ - unit),
                task_.y.row(batch_.row(slot), batch_.time(slot, s, task_.reverse)) + unit);
  }

  // ---- decay, zoneout and recurrent dropout, for the units whose equations have been applied

  Range blocks_of(int phase, Range panels) const {
    return layer_.recurrent_weights(phase).blocks_of(panels);
  }

  [[gnu::noinline]] void keep_memory(Range slots, Range blocks) const {
    for (Index slot = slots.first; slot < slots.last; ++slot) {
      const Index at = slot * layer_.padded_ + blocks.first * kLanes;
      for (int i = 0; i < memory_count(); ++i) {
        std::copy_n(memory_[i] + at, blocks.size() * kLanes, memory_before_[i] + at);
      }
    }
  }

  /// Of h, or between phases of the operand.
  [[gnu::noinline]] void regularize(int phase, Index s, Range slots, Range blocks) const {
    if (phase == layer_.cell_.last_phase()) {
      if (zoneout_.active()) zone_out_h(s, slots, blocks);
      prepare_h(s + 1, slots, blocks);
    } else if (factors_ != nullptr && layer_.cell_.products() > 1) {
      layer_.multiply_rows(operand_, factors_, slots, blocks, operand_);
    }
  }

  /// h_{t-1} as step s reads it: decayed, and what the recurrent weights see of it.
  void prepare_h(Index s, Range slots, Range blocks) const {
    if (task_.x.decay) decay(s, slots, blocks);
    if (factors_ == nullptr) return;
    layer_.multiply_rows(h_[s & 1], factors_, slots, blocks, dropped_[s & 1]);
  }

  /// Of the rows that take step s: the others keep their final state.
  void decay(Index s, Range slots, Range blocks) const {
    const Index unit = blocks.first * kLanes, last = std::min(slots.last, batch_.active(s));
    const Index units = std::min(blocks.size() * kLanes, layer_.h_size_ - unit);
    for (Index slot = slots.first; slot < last; ++slot) {
      const Index time = batch_.time(slot, s, task_.reverse);
      const S* const factors = task_.x.decay.row(batch_.row(slot), time) + unit;
      S* const h = h_[s & 1] + slot * layer_.h_padded_ + unit;
      for (Index i = 0; i < units; ++i) h[i] *= factors[i];
    }
  }

  void zone_out_h(Index s, Range slots, Range blocks) const {
    const Index unit = blocks.first * kLanes, count = blocks.size() * kLanes;
    for (Index slot = slots.first; slot < slots.last; ++slot) {
      const Index at = slot * layer_.h_padded_ + unit;
      zoneout_.mix(0, s, batch_.row(slot), unit, count, h_[s & 1] + at, h_[(s + 1) & 1] + at);
      write_output(s, slot, blocks);
    }
  }

  [[gnu::noinline]] void zone_out_memory(Index s, Range slots, Range blocks) const {
    const Index unit = blocks.first * kLanes, count = blocks.size() * kLanes;
    for (Index slot = slots.first; slot < slots.last; ++slot) {
      const Index at = slot * layer_.padded_ + unit;
      for (int i = 0; i < memory_count(); ++i) {
        zoneout_.mix(1, s, batch_.row(slot), unit, count, memory_before_[i] + at, memory_[i] + at);
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
  S* h_[2];               // [B][Pp] h_{t-1} and h_t, alternating
  S* dropped_[2];         // the same as the recurrent weights see it
  const S** h_rows_[2];   // [B] pointers to its rows
  S* factors_ = nullptr;  // [B][Pp] of recurrent dropout, if there is any
  // Where the cell finds and leaves h: h_ and the task's y, unless they are projected.
  S* cell_h_[2];                       // [B][Hp]
  Sequence<S> cell_y_;                 // (B, T, H)
  const S** cell_h_rows_ = nullptr;    // [B] pointers to the rows that are projected
  S* memory_[kMaxMemory] = {};         // [B][Hp] updated in place
  S* memory_before_[kMaxMemory] = {};  // [B][Hp] those of t-1, if there is zoneout
  S* operand_ = nullptr;               // [B][Hp] what the second phase multiplies, or normalizes
  const S** operand_rows_ = nullptr;   // [B]
  S* recurrent_ = nullptr;             // [B][gates] W h + bias_hn, or W h before its normalization
};

template <class S>
TimeLoop* CellDirection<S>::forward(const ForwardTask<S>& task, const ParallelPlan& plan,
                                    Arena& arena) const {
  return arena.make<ForwardLoop<S>>(*this, task, plan, arena);
}

}  // namespace bptt
