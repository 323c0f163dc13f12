#pragma once

#include "core/cell_direction.hpp"
#include "core/weight_gradients.hpp"

// The time loop backward, for any cell: backpropagation through time. It mirrors forward_loop.hpp:
// steps from the last to the first, phases from the last to the first; CellSteps (cell_steps.hpp)
// differentiates the equations. What the whole sequence
// shares, the gradients of the weights, is in weight_gradients.hpp.

namespace bptt {

template <class S>
class BackwardLoop final : public TimeLoop {
 public:
  BackwardLoop(const CellDirection<S>& layer, const BackwardTask<S>& task, const ParallelPlan& plan,
               Arena& arena)
      : layer_(layer),
        task_(task),
        batch_(*task.batch),
        activations_(layer.activations_),
        split_(plan.split),
        zoneout_(task.regularization, batch_.size(), layer.h_size_, layer.hidden_),
        expected_zoneout_(zoneout_.expected()),
        gradients_(layer, task_, arena) {
    const Index state = batch_.size() * layer_.h_padded_, cells = batch_.size() * layer_.padded_;
    d_h_ = layer_.read_state(batch_, task.d_last, 0, arena);
    cell_d_h_ = layer_.projects() ? arena.allocate<S>(cells) : d_h_;
    for (int i = 0; i < memory_count(); ++i) {
      d_memory_[i] = layer_.read_state(batch_, task.d_last, 1 + i, arena);
    }
    if (layer_.cell_.products() > 1) d_operand_ = arena.allocate<S>(cells);
    if (layer_.cell_.normalizes_cell()) d_c_normalized_ = arena.allocate<S>(cells);
    if (zoneout_.active()) {
      kept_h_ = arena.allocate<S>(state);
      for (int i = 0; i < memory_count(); ++i) kept_memory_[i] = arena.allocate<S>(cells);
    } else {
      d_c_steps_ = task.d_c_steps;
    }
    if (!completes_h()) {
      d_y_ = task.d_y;
      d_h_steps_ = task.d_h_steps;
    }
    if (task.regularization.drops()) {
      factors_ = layer_.dropout_factors(task.regularization, batch_, arena);
      d_dropped_ = arena.allocate<S>(state);
    }
    for (Index i = 0; i < task_.chunks.count; ++i) {
      chunk_rows_ = std::max(chunk_rows_, chunk(i).rows);
    }
    chunk_.allocate_pointers(layer_, chunk_rows_, arena);
  }

  void allocate_chunk(Arena& arena) override {
    chunk_.allocate(layer_, chunk_rows_, factors_ != nullptr, arena);
    gradients_.allocate_chunk(chunk_rows_, arena);
  }

  void run(Range steps, Worker& worker) const override {
    const Index count = task_.chunks.count;
    const Index* const ends = task_.chunks.ends + 1;
    Index i = std::lower_bound(ends, ends + count, steps.last) - ends;  // of the last step
    for (Index last = steps.last; last > steps.first; --i) {
      if (worker.cancelled()) return;
      const StepRange all = chunk(i);
      const Range own{std::max(steps.first, all.first), last};
      split_ == Split::kBatch ? run_batch_split(worker, all, own) : run_hidden_split(worker, all);
      if (own.first == all.first) {
        gradients_.add(worker, all, own, chunk_, task_.accumulator.first && i == count - 1);
      } else {
        gradients_.add_input(all, own, chunk_);
      }
      last = own.first;
    }
    if (steps.first == 0) finish(worker);
  }

 private:
  template <class Cell, class T, bool kUsual>
  friend struct CellSteps;
  template <class Cell, class T>
  friend struct BackwardRow;

  static constexpr Index kLanes = Vec<S>::kLanes;
  static constexpr Index kLongStep = 1 << 20;  // of operations: some 50 us

  void finish(Worker& worker) const {
    if (task_.accumulator.last) gradients_.finish(worker, task_.chunks.count == 0);
    worker.parallel_for([&](int part, int parts) {
      const Range slots = batch_.slots(part, parts);
      for (int i = 0; i < layer_.cell_.states(); ++i) {
        const S* const d = i == 0 ? d_h_ : d_memory_[i - 1];
        layer_.write_state(batch_, slots, task_.d_initial, i,
                           [&](Index slot) { return d + slot * layer_.state_width(i); });
      }
    });
  }

  int memory_count() const { return layer_.cell_.memory; }

  StepRange chunk(Index i) const {
    const Index first = task_.chunks.ends[i], last = task_.chunks.ends[i + 1];
    const Index first_row = batch_.first_row(first);
    return {first, last, first_row, batch_.first_row(last) - first_row};
  }

  /// Some rows through some steps of a chunk.
  void run_batch_split(Worker& worker, const StepRange& steps, Range own) const {
    worker.parallel_for([&](int part, int parts) {
      const Range slots = batch_.slots(part, parts);
      const bool long_steps = slots.size() * layer_.gates_width() * layer_.hidden_ > kLongStep;
      gather_h_prev(steps, slots, own.first, own.last);
      for (Index s = own.last - 1; s >= own.first; --s) {
        if (long_steps && worker.cancelled()) return;
        const Range active{slots.first, slots.first + batch_.active(slots, s)};
        const Index first = batch_.first_row(s) - steps.first_row;
        if (layer_.projects()) {
          take_h(s, active, first, layer_.h_blocks_range());
          unproject(s, active, first, {0, layer_.weight_hr_transposed_.count()});
        }
        if (layer_.cell_.normalized) {
          differentiate_normalized(s, active, steps);
          propagate(0, s, active, first, all_panels());
          continue;
        }
        for (int phase = layer_.cell_.last_phase(); phase >= 0; --phase) {
          differentiate(phase, s, active, steps, layer_.blocks_range());
          propagate(phase, s, active, first, all_panels());
        }
      }
    });
  }

  /// Row by row: a row stays in the L1 cache from phase to phase.
  void differentiate_normalized(Index s, Range slots, const StepRange& steps) const {
    for (Index slot = slots.first; slot < slots.last; ++slot) {
      for (int phase = layer_.cell_.last_phase(); phase >= 0; --phase) {
        differentiate(phase, s, {slot, slot + 1}, steps, layer_.blocks_range());
      }
      normalization_gradients(s, {slot, slot + 1}, steps);
    }
  }

  /// Of W h, for some rows.
  void normalization_gradients(Index s, Range slots, const StepRange& steps) const {
    const NormalizedRows<S>& rows = task_.saved->recurrent;
    const Index width = layer_.gates_width(), first = batch_.first_row(s);
    for (Index slot = slots.first; slot < slots.last; ++slot) {
      const Index row = first + slot, at = (row - steps.first_row) * layer_.gates_stride_;
      layer_.normalization_gradient(layer_.gain_hh_.data(), rows.values.data() + row * width,
                                    rows.scales.data()[row], chunk_.recurrent + at,
                                    chunk_.products + at);
    }
  }

  /// All rows; the threads split the hidden units. A product needs the gate gradients of all units,
  /// so the threads synchronize before each; all that follows until the next one is one
  /// parallel_for.
  void run_hidden_split(Worker& worker, const StepRange& steps) const {
    worker.parallel_for([&](int part, int parts) {
      const Range own = part_of(steps.last - steps.first, part, parts);
      gather_h_prev(steps, {0, batch_.size()}, steps.first + own.first, steps.first + own.last);
    });
    for (Index s = steps.last - 1; s >= steps.first; --s) {
      const Range active{0, batch_.active(s)};
      const Index first = batch_.first_row(s) - steps.first_row;
      worker.parallel_for([&](int part, int parts) {
        const Range panels = part_of(all_panels().last, part, parts);
        if (s + 1 < steps.last) propagate(0, s + 1, after(s), first + active.size(), panels);
        if (layer_.projects()) return take_h(s, active, first, blocks_of(panels));
        differentiate(layer_.cell_.last_phase(), s, active, steps, blocks_of(panels));
      });
      if (layer_.projects()) {
        worker.parallel_for([&](int part, int parts) {
          const PackedWeights<S>& weights = layer_.weight_hr_transposed_;
          const Range panels = part_of(weights.count(), part, parts);
          unproject(s, active, first, panels);
          differentiate(layer_.cell_.last_phase(), s, active, steps, weights.blocks_of(panels));
        });
      }
      if (layer_.cell_.phases > 1) {
        worker.parallel_for([&](int part, int parts) {
          const Range panels = part_of(all_panels().last, part, parts);
          if (layer_.cell_.products() > 1) propagate(1, s, active, first, panels);
          differentiate(0, s, active, steps, blocks_of(panels));
        });
      }
      if (layer_.cell_.normalized) {
        worker.parallel_for([&](int part, int parts) {
          normalization_gradients(s, part_of(active.last, part, parts), steps);
        });
      }
    }
    worker.parallel_for([&](int part, int parts) {
      propagate(0, steps.first, {0, batch_.active(steps.first)}, 0,
                part_of(all_panels().last, part, parts));
    });
  }
  Range after(Index s) const { return {0, batch_.active(s + 1)}; }

  // Of the transposed weights: they have the same columns, units of h, in every phase.
  Range all_panels() const { return {0, layer_.weight_hh_transposed_[0].count()}; }
  Range blocks_of(Range panels) const { return layer_.weight_hh_transposed_[0].blocks_of(panels); }

  /// h_{t-1} of the rows of some steps, decayed, side by side: for the weight product, and for
  /// cells that read it.
  void gather_h_prev(const StepRange& steps, Range slots, Index first, Index last) const {
    for (Index s = first; s < last; ++s) {
      const Index row = batch_.first_row(s) - steps.first_row;
      const Index end = slots.first + batch_.active(slots, s);
      for (Index slot = slots.first; slot < end; ++slot) {
        S* const to = chunk_.h_prev + (row + slot) * layer_.h_padded_;
        std::copy_n(h_before(slot, s), layer_.h_size_, to);
        if (const S* const decay = decay_row(slot, s); decay != nullptr) {
          for (Index i = 0; i < layer_.h_size_; ++i) to[i] *= decay[i];
        }
        std::fill(to + layer_.h_size_, to + layer_.h_padded_, S(0));
        if (factors_ == nullptr) continue;
        S* const dropped = chunk_.dropped + (row + slot) * layer_.h_padded_;
        const S* const factors = factors_ + slot * layer_.h_padded_;
        for (Index i = 0; i < layer_.h_padded_; ++i) dropped[i] = to[i] * factors[i];
      }
    }
  }

  const S* y_row(Index slot, Index s) const {
    return task_.y.row(batch_.row(slot), batch_.time(slot, s, task_.reverse));
  }
  /// h_{t-1} before it decays.
  const S* h_before(Index slot, Index s) const {
    return s == 0 ? task_.saved->initial[0].data() + slot * layer_.h_padded_ : y_row(slot, s - 1);
  }
  /// The factors that it decays with, or null.
  const S* decay_row(Index slot, Index s) const {
    const Sequence<const S>& all = task_.x.decay;
    return all ? all.row(batch_.row(slot), batch_.time(slot, s, task_.reverse)) : nullptr;
  }

  /// What reaches the left operand of a phase's product: its gate gradients times W, into
  /// d_operand, or in phase 0 on top of d_h, which is then complete for h_{t-1}.
  void propagate(int phase, Index s, Range slots, Index first, Range panels) const {
    const RowPointers<S> rows{chunk_.recurrent_rows[phase] + first + slots.first};
    S* const to = (phase > 0             ? d_operand_
                   : factors_ != nullptr ? d_dropped_
                                         : d_h_) +
                  slots.first * layer_.h_padded_;
    const PackedWeights<S>& weights = layer_.weight_hh_transposed_[phase];
    for_each_group(weights, panels, slots.size(), s % 2 != 0, [&](Index begin, Index end) {
      gemm_packed(weights, begin, end, rows, slots.size(),
                  phase == 0 && factors_ == nullptr ? to : nullptr, layer_.h_padded_, to,
                  layer_.h_padded_);
    });
    if (factors_ != nullptr) propagate_dropped(phase, slots, blocks_of(panels));
    if (phase == 0 && task_.x.decay) propagate_decayed(s, slots, blocks_of(panels));
  }

  void differentiate(int phase, Index s, Range slots, const StepRange& steps, Range blocks) const {
    const bool last = phase == layer_.cell_.last_phase();
    if (kept_h_ != nullptr && last && !layer_.projects()) complete_h(s, slots, blocks);
    if (kept_memory_[0] != nullptr && last) divide_memory(s, slots, blocks);
    layer_.kernels_.backward[phase](*this, s, slots, steps, blocks);
    if (phase > 0) return;
    if (kept_h_ != nullptr) {
      if (!layer_.projects()) add(kept_h_, slots, layer_.h_padded_, blocks, d_h_);
      for (int i = 0; i < memory_count(); ++i) {
        add(kept_memory_[i], slots, layer_.padded_, blocks, d_memory_[i]);
      }
    }
    if (factors_ != nullptr && layer_.cell_.products() > 1) drop_operand(s, slots, steps, blocks);
  }

  // ---- the projection of h

  /// dL/dh_t of some units goes to the chunk; d_h_ is left with what reaches h_{t-1} outside W.
  void take_h(Index s, Range slots, Index first, Range blocks) const {
    complete_h(s, slots, blocks);
    const Index unit = blocks.first * kLanes, count = blocks.size() * kLanes;
    const Index units = std::min(count, layer_.h_size_ - unit);
    for (Index slot = slots.first; slot < slots.last; ++slot) {
      S* const d_h = d_h_ + slot * layer_.h_padded_ + unit;
      S* const to = chunk_.d_h + (first + slot) * layer_.h_padded_ + unit;
      std::copy_n(d_h, units, to);
      std::fill(to + units, to + count, S(0));
      std::fill_n(d_h, count, S(0));
    }
    if (kept_h_ != nullptr) add(kept_h_, slots, layer_.h_padded_, blocks, d_h_);
  }

  /// What reaches the outputs of the cell, for the units of some panels.
  void unproject(Index s, Range slots, Index first, Range panels) const {
    const RowPointers<S> rows{chunk_.d_h_rows + first + slots.first};
    S* const to = cell_d_h_ + slots.first * layer_.padded_;
    const PackedWeights<S>& weights = layer_.weight_hr_transposed_;
    for_each_group(weights, panels, slots.size(), s % 2 != 0, [&](Index begin, Index end) {
      gemm_packed<S>(weights, begin, end, rows, slots.size(), nullptr, 0, to, layer_.padded_);
    });
  }

  // ---- decay, zoneout and recurrent dropout

  void propagate_dropped(int phase, Range slots, Range blocks) const {
    if (phase > 0) return layer_.multiply_rows(d_operand_, factors_, slots, blocks, d_operand_);
    for (Index slot = slots.first; slot < slots.last; ++slot) {
      const Index end = slot * layer_.h_padded_ + blocks.last * kLanes;
      for (Index i = slot * layer_.h_padded_ + blocks.first * kLanes; i < end; ++i) {
        d_h_[i] += d_dropped_[i] * factors_[i];
      }
    }
  }

  /// From the decayed h_{t-1} to the factors, and to h_{t-1} before.
  void propagate_decayed(Index s, Range slots, Range blocks) const {
    const Index unit = blocks.first * kLanes;
    const Index units = std::min(blocks.size() * kLanes, layer_.h_size_ - unit);
    for (Index slot = slots.first; slot < slots.last; ++slot) {
      const S *const h = h_before(slot, s) + unit, *const factors = decay_row(slot, s) + unit;
      S* const d_h = d_h_ + slot * layer_.h_padded_ + unit;
      S* const d_factors =
          task_.d_decay.row(batch_.row(slot), batch_.time(slot, s, task_.reverse)) + unit;
      for (Index i = 0; i < units; ++i) {
        d_factors[i] = d_h[i] * h[i];
        d_h[i] *= factors[i];
      }
    }
  }

  /// Whether dL/dh_t is completed here, instead of by the cell's equations.
  bool completes_h() const { return kept_h_ != nullptr || layer_.projects(); }

  /// Adds d_y to d_h_, and divides it between the cell and h_{t-1} if there is zoneout.
  void complete_h(Index s, Range slots, Range blocks) const {
    const Index unit = blocks.first * kLanes, count = blocks.size() * kLanes;
    const Index units = std::min(count, layer_.h_size_ - unit);
    for (Index slot = slots.first; slot < slots.last; ++slot) {
      const Index row = batch_.row(slot), time = batch_.time(slot, s, task_.reverse);
      const Index at = slot * layer_.h_padded_ + unit;
      if (task_.d_y) {
        const Index stride = task_.d_y.feature_stride;
        const S* const d_y = task_.d_y.row(row, time) + unit * stride;
        for (Index i = 0; i < units; ++i) d_h_[at + i] += d_y[i * stride];
      }
      if (task_.d_h_steps) std::copy_n(d_h_ + at, units, task_.d_h_steps.row(row, time) + unit);
      if (kept_h_ != nullptr) {
        zoneout_.divide(0, s, row, unit, count, d_h_ + at, kept_h_ + at);
      }
    }
  }

  void divide_memory(Index s, Range slots, Range blocks) const {
    const Index unit = blocks.first * kLanes, count = blocks.size() * kLanes;
    const Index units = std::min(count, layer_.hidden_ - unit);
    for (Index slot = slots.first; slot < slots.last; ++slot) {
      const Index row = batch_.row(slot), time = batch_.time(slot, s, task_.reverse);
      const Index at = slot * layer_.padded_ + unit;
      if (task_.d_c_steps) {
        std::copy_n(d_memory_[0] + at, units, task_.d_c_steps.row(row, time) + unit);
      }
      for (int i = 0; i < memory_count(); ++i) {
        zoneout_.divide(1, s, row, unit, count, d_memory_[i] + at, kept_memory_[i] + at);
      }
    }
  }

  /// to += from, for some rows of this width.
  static void add(const S* from, Range rows, Index width, Range blocks, S* to) {
    for (Index row = rows.first; row < rows.last; ++row) {
      const Index end = row * width + blocks.last * kLanes;
      for (Index i = row * width + blocks.first * kLanes; i < end; ++i) to[i] += from[i];
    }
  }

  /// The operand of phase 1 as its weights have seen it, for their gradient.
  void drop_operand(Index s, Range slots, const StepRange& steps, Range blocks) const {
    const Index first = batch_.first_row(s) - steps.first_row;
    for (Index slot = slots.first; slot < slots.last; ++slot) {
      S* const operand = chunk_.operand + (first + slot) * layer_.padded_;
      const S* const factors = factors_ + slot * layer_.padded_;
      for (Index i = blocks.first * kLanes; i < blocks.last * kLanes; ++i) operand[i] *= factors[i];
    }
  }

  const CellDirection<S>& layer_;
  const BackwardTask<S>& task_;
  const RaggedBatch& batch_;
  const Activations activations_;
  const Split split_;
  S *d_h_, *d_memory_[kMaxMemory] = {};  // [B][Pp], [B][Hp] of the states, from step to step
  S* cell_d_h_;                  // [B][Hp] of what the cell leaves: d_h_, unless it is projected
  S* d_operand_ = nullptr;       // [B][Hp]
  S* d_c_normalized_ = nullptr;  // [B][Hp] dL/d(c_t after its normalization)
  const Zoneout<S> zoneout_;
  const S expected_zoneout_;
  S *kept_h_ = nullptr, *kept_memory_[kMaxMemory] = {};  // the same: what zoneout passes on to t-1
  S *factors_ = nullptr, *d_dropped_ = nullptr;  // [B][Pp] of recurrent dropout, dL/d(its h_{t-1})
  // Those of the task, unless the loop deals with them:
  Sequence<const S> d_y_;
  Sequence<S> d_h_steps_, d_c_steps_;
  Index chunk_rows_ = 0;  // of the largest
  typename CellDirection<S>::ChunkGradients chunk_;
  WeightGradients<S> gradients_;
};

template <class S>
TimeLoop* CellDirection<S>::backward(const BackwardTask<S>& task, const ParallelPlan& plan,
                                     Arena& arena) const {
  return arena.make<BackwardLoop<S>>(*this, task, plan, arena);
}

}  // namespace bptt
