#pragma once

#include "core/cell_direction.hpp"
#include "core/cells/cell.hpp"
#include "core/weight_gradients.hpp"

// The time loop backward, for any cell: backpropagation through time. It mirrors forward_loop.hpp:
// steps from the last to the first, phases from the last to the first. What the whole sequence
// shares, the gradients of the weights, is in weight_gradients.hpp.

namespace bptt {

template <class Cell, class S>
class CellDirection<Cell, S>::BackwardLoop final : public Pass {
 public:
  BackwardLoop(const CellDirection& layer, const BackwardTask<S>& task, const Sharing& sharing,
               Arena& arena)
      : l_(layer),
        t_(task),
        plan_(*task.plan),
        act_(layer.activations_),
        split_(sharing.split),
        gradients_(layer, t_, arena) {
    const Index state = plan_.batch() * l_.padded_;
    d_h_ = arena.take_zeroed<S>(state);
    l_.read_state(plan_, task.d_h_final, d_h_);
    if constexpr (Cell::kHasCellState) {
      d_c_ = arena.take_zeroed<S>(state);
      l_.read_state(plan_, task.d_c_final, d_c_);
    }
    if constexpr (Cell::kPhases > 1) d_operand_ = arena.take<S>(state);
    for (Index i = 0; i < t_.chunks.count; ++i) {
      chunk_rows_ = std::max(chunk_rows_, chunk(i).rows);
    }
    chunk_.take_pointers(chunk_rows_, arena);
  }

  void take_chunk(Arena& arena) override {
    chunk_.take(l_, chunk_rows_, arena);
    gradients_.take_chunk(chunk_rows_, arena);
  }

  void run(Member& member) const override {
    for (Index i = t_.chunks.count - 1; i >= 0; --i) {
      const StepRange steps = chunk(i);
      split_ == Split::kRows ? run_rows(member, steps) : run_units(member, steps);
      gradients_.add(member, steps, chunk_, t_.sums.first && i == t_.chunks.count - 1);
    }
    if (t_.sums.last) gradients_.finish(member, t_.chunks.count == 0);
    member.share([&](int part, int parts) {
      const Range ranks = plan_.ranks(part, parts);
      l_.write_state(plan_, ranks, t_.d_h0, [&](Index rank) { return d_h_ + rank * l_.padded_; });
      if constexpr (Cell::kHasCellState) {
        l_.write_state(plan_, ranks, t_.d_c0, [&](Index rank) { return d_c_ + rank * l_.padded_; });
      }
    });
  }

 private:
  static constexpr int kLast = Cell::kPhases - 1;

  StepRange chunk(Index i) const {
    const Index first = t_.chunks.ends[i], last = t_.chunks.ends[i + 1];
    const Index first_row = plan_.first_row(first);
    return {first, last, first_row, plan_.first_row(last) - first_row};
  }

  /// Some rows through all steps of a chunk.
  void run_rows(Member& member, const StepRange& steps) const {
    member.share([&](int part, int parts) {
      const Range ranks = plan_.ranks(part, parts);
      gather_h_prev(steps, ranks, steps.first, steps.last);
      for (Index s = steps.last - 1; s >= steps.first; --s) {
        const Range alive{ranks.first, ranks.first + plan_.active(ranks, s)};
        const Index first = plan_.first_row(s) - steps.first_row;
        if constexpr (Cell::kPhases > 1) {
          differentiate<1>(s, alive, steps, l_.blocks_range());
          propagate<1>(s, alive, first, all_panels());
        }
        differentiate<0>(s, alive, steps, l_.blocks_range());
        propagate<0>(s, alive, first, all_panels());
      }
    });
  }

  /// All rows, the hidden units shared out. A product needs the gate gradients of all units, so the
  /// threads meet before each; what follows it until the next one is one share.
  void run_units(Member& member, const StepRange& steps) const {
    member.share([&](int part, int parts) {
      const Range own = part_of(steps.last - steps.first, part, parts);
      gather_h_prev(steps, {0, plan_.batch()}, steps.first + own.first, steps.first + own.last);
    });
    for (Index s = steps.last - 1; s >= steps.first; --s) {
      const Range alive{0, plan_.active(s)};
      const Index first = plan_.first_row(s) - steps.first_row;
      member.share([&](int part, int parts) {
        const Range panels = part_of(all_panels().last, part, parts);
        if (s + 1 < steps.last) propagate<0>(s + 1, after(s), first + alive.size(), panels);
        differentiate<kLast>(s, alive, steps, blocks_of(panels));
      });
      if constexpr (Cell::kPhases > 1) {
        member.share([&](int part, int parts) {
          const Range panels = part_of(all_panels().last, part, parts);
          propagate<1>(s, alive, first, panels);
          differentiate<0>(s, alive, steps, blocks_of(panels));
        });
      }
    }
    member.share([&](int part, int parts) {
      propagate<0>(steps.first, {0, plan_.active(steps.first)}, 0,
                   part_of(all_panels().last, part, parts));
    });
  }
  Range after(Index s) const { return {0, plan_.active(s + 1)}; }

  // Of the transposed weights: they have the same columns, hidden units, in every phase.
  Range all_panels() const { return {0, l_.weight_hh_transposed_[0].count()}; }
  Range blocks_of(Range panels) const {
    const Index per_panel = l_.weight_hh_transposed_[0].blocks_per_panel();
    return {panels.first * per_panel, std::min(panels.last * per_panel, l_.blocks_)};
  }

  /// h_{t-1} of the rows of some steps, side by side: for the weight product, and for cells that
  /// read it.
  void gather_h_prev(const StepRange& steps, Range ranks, Index first, Index last) const {
    for (Index s = first; s < last; ++s) {
      const Index row = plan_.first_row(s) - steps.first_row;
      const Index end = ranks.first + plan_.active(ranks, s);
      for (Index rank = ranks.first; rank < end; ++rank) {
        const S* const from = s == 0 ? t_.saved->h0.data() + rank * l_.padded_ : y_row(rank, s - 1);
        S* const to = chunk_.h_prev + (row + rank) * l_.padded_;
        std::copy_n(from, l_.hidden_, to);
        std::fill(to + l_.hidden_, to + l_.padded_, S(0));
      }
    }
  }

  const S* y_row(Index rank, Index s) const {
    return t_.y.row(plan_.row(rank), plan_.time(rank, s, t_.reverse));
  }

  /// What reaches the left operand of a phase's product: its gate gradients times W, into
  /// d_operand, or in phase 0 on top of d_h.
  template <int kPhase>
  void propagate(Index s, Range ranks, Index first, Range panels) const {
    const Rows<S> rows{chunk_.recurrent_rows[kPhase] + first + ranks.first};
    S* const to = (kPhase == 0 ? d_h_ : d_operand_) + ranks.first * l_.padded_;
    for_each_group(panels, ranks.size(), s % 2 != 0, [&](Index begin, Index end) {
      product(l_.weight_hh_transposed_[kPhase], begin, end, rows, ranks.size(),
              kPhase == 0 ? to : nullptr, l_.padded_, to, l_.padded_);
    });
  }

  /// The derivative of the cell's equations at one step, for some rows and units. On entry d_h_
  /// holds what comes from later steps; on exit from phase 0 what this step passes to h_{t-1}
  /// outside W.
  template <int kPhase>
  void differentiate(Index s, Range ranks, const StepRange& steps, Range blocks) const {
    constexpr bool kFirst = kPhase == kLast;  // the last phase comes first here
    const Index first = plan_.first_row(s) - steps.first_row;
    for (Index rank = ranks.first; rank < ranks.last; ++rank) {
      const Index row = first + rank;
      const Index time = plan_.time(rank, s, t_.reverse), batch = plan_.row(rank);
      const S* const d_y = t_.d_y ? t_.d_y.row(batch, time) : nullptr;
      for (Index block = blocks.first; block < blocks.last; ++block) {
        const Index unit = block * kLanes, state = rank * l_.padded_ + unit;
        const Index units = l_.hidden_ - unit;
        BackwardUnits<S> u;
        u.d_h = Vec<S>::load(d_h_ + state);
        if (kFirst && d_y != nullptr) {
          const Index stride = t_.d_y.feature_stride;
          u.d_h += Vec<S>::load_some(d_y + unit * stride, stride, units);
        }
        load(u, s, rank, steps.first_row + row, row, block);
        if constexpr (!kFirst) u.d_operand = Vec<S>::load(d_operand_ + state);
        Cell::template backward<kPhase>(act_, u);
        if (kFirst && t_.d_h_steps) u.d_h.store_some(t_.d_h_steps.row(batch, time) + unit, units);
        store<kPhase>(u, rank, row, block);
        if constexpr (Cell::kHasCellState) {
          if (t_.d_c_steps) u.d_c.store_some(t_.d_c_steps.row(batch, time) + unit, units);
        }
      }
    }
  }

  void load(BackwardUnits<S>& u, Index s, Index rank, Index saved_row, Index row,
            Index block) const {
    const Index unit = block * kLanes, state = rank * l_.padded_ + unit;
    const S* const gates =
        t_.saved->gates.data() + saved_row * l_.saved_width() + block * Cell::kSaved * kLanes;
#pragma GCC unroll 4
    for (int g = 0; g < Cell::kSaved; ++g) u.gate[g] = Vec<S>::load(gates + g * kLanes);
    if constexpr (Cell::kReadsPreviousOutput) {
      u.h_prev = Vec<S>::load(chunk_.h_prev + row * l_.padded_ + unit);
    }
    if constexpr (Cell::kReadsOutput) {
      u.h = Vec<S>::load_some(y_row(rank, s) + unit, 1, l_.hidden_ - unit);
    }
    if constexpr (Cell::kHasCellState) {
      const S* const cells = t_.saved->cells.data();
      u.c = Vec<S>::load(cells + saved_row * l_.padded_ + unit);
      u.c_prev = Vec<S>::load(s == 0 ? t_.saved->c0.data() + state
                                     : cells + (plan_.first_row(s - 1) + rank) * l_.padded_ + unit);
      u.d_c = Vec<S>::load(d_c_ + state);
    }
  }

  /// The lanes beyond H become 0: an infinite input has made them NaN, and products run over them.
  static void store_units(Vec<S> v, S* to, Index units) {
    v.store(to);
    for (Index lane = units; lane < kLanes; ++lane) to[lane] = S(0);
  }

  template <int kPhase>
  void store(const BackwardUnits<S>& u, Index rank, Index row, Index block) const {
    const Index unit = block * kLanes, state = rank * l_.padded_ + unit;
    for (int g = first_gate(kPhase); g < first_gate(kPhase) + Cell::phase_gates(kPhase); ++g) {
      const Index column = row * l_.gates_width() + l_.gate_column(g, block);
      store_units(u.d_gate[g], chunk_.gates + column, l_.hidden_ - unit);
      if constexpr (Cell::kSeparateRecurrent) {
        store_units(u.d_recurrent[g], chunk_.recurrent + column, l_.hidden_ - unit);
      }
    }
    if constexpr (kPhase > 0) {
      u.d_h.store(d_h_ + state);  // now with this step's d_y
    } else {
      u.d_h_prev.store(d_h_ + state);
      if constexpr (Cell::kHasCellState) u.d_c_prev.store(d_c_ + state);
      if constexpr (Cell::kPhases > 1) u.operand.store(chunk_.operand + row * l_.padded_ + unit);
    }
  }

  const CellDirection& l_;
  const BackwardTask<S> t_;
  const RowPlan& plan_;
  const Activations act_;
  const Split split_;
  S *d_h_, *d_c_ = nullptr;  // [B][Hp] gradients of the state, carried from step to step
  S* d_operand_ = nullptr;   // [B][Hp]
  Index chunk_rows_ = 0;     // of the largest
  ChunkGradients chunk_;
  WeightGradients gradients_;
};

template <class Cell, class S>
Pass* CellDirection<Cell, S>::backward(const BackwardTask<S>& task, const Sharing& sharing,
                                       Arena& arena) const {
  return arena.make<BackwardLoop>(*this, task, sharing, arena);
}

}  // namespace bptt
