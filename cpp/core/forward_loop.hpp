#pragma once

#include "core/cell_direction.hpp"
#include "core/cells/cell.hpp"

// The time loop forward, for any cell.

namespace bptt {

template <class Cell, class S>
class CellDirection<Cell, S>::ForwardLoop final : public Pass {
 public:
  ForwardLoop(const CellDirection& layer, const ForwardTask<S>& task, const Sharing& sharing,
              Arena& arena)
      : l_(layer),
        t_(task),
        plan_(*task.plan),
        act_(layer.activations_),
        split_(sharing.split),
        chunk_count_(split_ == Split::kRows ? sharing.side_threads() : 1),
        chunks_(arena.take<Chunk>(chunk_count_)) {
    const Index state = plan_.batch() * l_.padded_;
    for (int turn = 0; turn < 2; ++turn) {
      h_[turn] = arena.take_zeroed<S>(state);
      h_rows_[turn] = row_pointers<S>(arena, h_[turn], l_.padded_, plan_.batch());
    }
    l_.read_state(plan_, task.h0, h_[0]);
    if constexpr (Cell::kHasCellState) {
      c_ = arena.take_zeroed<S>(state);
      l_.read_state(plan_, task.c0, c_);
    }
    if constexpr (Cell::kPhases > 1) {
      operand_ = arena.take<S>(state);
      operand_rows_ = row_pointers<S>(arena, operand_, l_.padded_, plan_.batch());
    }
    if constexpr (Cell::kSeparateRecurrent) {
      recurrent_ = arena.take<S>(plan_.batch() * l_.gates_width());
    }
    if (task.saved != nullptr) allocate_saved(*task.saved);
  }

  void take_chunk(Arena& arena) override {
    for (int i = 0; i < chunk_count_; ++i) {
      const Range ranks = plan_.ranks(i, chunk_count_);
      const Index rows =
          std::min(plan_.total_rows(ranks), std::max(kChunkBytes / row_bytes(), ranks.size()));
      chunks_[i] = {arena.take<S>(rows * l_.gates_width()),
                    t_.x.ids ? nullptr : arena.take<const S*>(rows)};
    }
  }

  void run(Member& member) const override {
    t_.saved != nullptr ? run<true>(member) : run<false>(member);
  }

 private:
  static constexpr Index kChunkBytes = 256 * 1024;  // projections stay in L2 until they are used

  /// The steps whose input is projected together.
  struct Chunk {
    S* gates;     // [rows][gates]
    const S** x;  // the rows' input, if it is dense
  };

  template <bool kTraining>
  void run(Member& member) const {
    if (split_ == Split::kRows) {
      member.share([&](int part, int parts) {
        run_rows<kTraining>(plan_.ranks(part, parts), chunks_[part]);
      });
    } else {
      run_units<kTraining>(member);
    }
  }

  /// Some rows through all steps.
  template <bool kTraining>
  void run_rows(Range ranks, const Chunk& chunk) const {
    for (Index first = 0, last; first < plan_.longest(ranks); first = last) {
      last = chunk_end(plan_, ranks, first, row_bytes(), kChunkBytes);
      project_input(ranks, first, last, chunk);
      S* gates = chunk.gates;
      for (Index s = first; s < last; ++s) {
        const Range alive{ranks.first, ranks.first + plan_.active(ranks, s)};
        step<0, kTraining>(s, alive, gates, all_panels(0));
        if constexpr (Cell::kPhases > 1) step<1, kTraining>(s, alive, gates, all_panels(1));
        gates += alive.size() * l_.gates_width();
      }
    }
    write_state(ranks);
  }

  /// All rows through all steps, the hidden units shared out anew in every phase of every step.
  template <bool kTraining>
  void run_units(Member& member) const {
    const Range ranks{0, plan_.batch()};
    const Chunk& chunk = chunks_[0];
    for (Index first = 0, last; first < plan_.longest(); first = last) {
      last = chunk_end(plan_, ranks, first, row_bytes(), kChunkBytes);
      const Index first_row = plan_.first_row(first);
      member.share([&](int part, int parts) {
        const Range steps = part_of(last - first, part, parts);
        const Index row = plan_.first_row(first + steps.first) - first_row;
        project_input(ranks, first + steps.first, first + steps.last,
                      {chunk.gates + row * l_.gates_width(), t_.x.ids ? nullptr : chunk.x + row});
      });
      for (Index s = first; s < last; ++s) {
        const Range alive{0, plan_.active(s)};
        S* const gates = chunk.gates + (plan_.first_row(s) - first_row) * l_.gates_width();
        member.share([&](int part, int parts) {
          step<0, kTraining>(s, alive, gates, part_of(all_panels(0).last, part, parts));
        });
        if constexpr (Cell::kPhases > 1) {
          member.share([&](int part, int parts) {
            step<1, kTraining>(s, alive, gates, part_of(all_panels(1).last, part, parts));
          });
        }
      }
    }
    member.share([&](int part, int parts) { write_state(plan_.ranks(part, parts)); });
  }

  Index row_bytes() const { return l_.gates_width() * static_cast<Index>(sizeof(S)); }
  Range all_panels(int phase) const { return {0, l_.weight_hh_[phase].count()}; }

  void write_state(Range ranks) const {
    l_.write_state(plan_, ranks, t_.h_final,
                   [&](Index rank) { return h_[plan_.length(rank) & 1] + rank * l_.padded_; });
    if constexpr (Cell::kHasCellState) {
      l_.write_state(plan_, ranks, t_.c_final, [&](Index rank) { return c_ + rank * l_.padded_; });
    }
  }

  void allocate_saved(DirectionSaved<S>& saved) const {
    const Index state = plan_.batch() * l_.padded_;
    saved.gates = Buffer<S>(plan_.total_rows() * l_.saved_width());
    saved.h0 = Buffer<S>(state);
    std::copy_n(h_[0], state, saved.h0.data());
    if constexpr (Cell::kHasCellState) {
      saved.cells = Buffer<S>(plan_.total_rows() * l_.padded_);
      saved.c0 = Buffer<S>(state);
      std::copy_n(c_, state, saved.c0.data());
    }
  }

  /// chunk.gates = U x + b for every row of the steps [first, last), as one tall product.
  void project_input(Range ranks, Index first, Index last, const Chunk& chunk) const {
    if (t_.x.ids) return gather_input(ranks, first, last, chunk.gates);
    const S** next = chunk.x;
    plan_.for_each_row(ranks, first, last, [&](Index rank, Index s) {
      *next++ = t_.x.values.row(plan_.row(rank), plan_.time(rank, s, t_.reverse));
    });
    for (int phase = 0; phase < Cell::kPhases; ++phase) {
      const Index column = l_.phase_column(phase);
      const Panels<S>& panels = l_.weight_ih_[phase];
      product(panels, 0, panels.count(), Rows<S>{chunk.x, t_.x.values.feature_stride},
              next - chunk.x, l_.bias_.data() + column, 0, chunk.gates + column, l_.gates_width());
    }
  }

  /// The same for one-hot rows: the product with a unit vector is a column of U.
  void gather_input(Range ranks, Index first, Index last, S* row) const {
    plan_.for_each_row(ranks, first, last, [&](Index rank, Index s) {
      const Index id = *t_.x.ids.row(plan_.row(rank), plan_.time(rank, s, t_.reverse));
      std::copy_n(l_.bias_.data(), l_.gates_width(), row);
      for (int phase = 0; phase < Cell::kPhases; ++phase) {
        const Panels<S>& panels = l_.weight_ih_[phase];
        for (Index q = 0; q < panels.count(); ++q) {
          const Index width = panels.packets(q) * kLanes;
          const S* const from = panels.panel(q) + id * width;
          S* const to = row + l_.phase_column(phase) + panels.column(q);
          for (Index i = 0; i < width; ++i) to[i] += from[i];
        }
      }
      row += l_.gates_width();
    });
  }

  /// One phase of one step, for some rows and the units of some panels.
  template <int kPhase, bool kTraining>
  void step(Index s, Range ranks, S* gates, Range panels) const {
    const Panels<S>& weights = l_.weight_hh_[kPhase];
    const Rows<S> left{(kPhase == 0 ? h_rows_[s & 1] : operand_rows_) + ranks.first};
    const Index width = l_.gates_width();
    const Index per_panel = weights.blocks_per_panel();
    for_each_group(panels, ranks.size(), s % 2 != 0, [&](Index first, Index last) {
      if constexpr (Cell::kSeparateRecurrent) {
        product(weights, first, last, left, ranks.size(), l_.bias_hn_.data(), 0,
                recurrent_ + ranks.first * width, width);
      } else {
        S* const sums = gates + l_.phase_column(kPhase);
        product(weights, first, last, left, ranks.size(), sums, width, sums, width);
      }
      finish<kPhase, kTraining>(s, ranks, gates, first * per_panel,
                                std::min(last * per_panel, l_.blocks_));
    });
  }

  /// The cell's equations for the units whose sums are complete.
  template <int kPhase, bool kTraining>
  void finish(Index s, Range ranks, S* gates, Index first_block, Index last_block) const {
    constexpr int kGatesSoFar = first_gate(kPhase) + Cell::phase_gates(kPhase);
    constexpr bool kLast = kPhase == Cell::kPhases - 1;
    const Index saved_row = kTraining ? plan_.first_row(s) : 0;
    for (Index rank = ranks.first; rank < ranks.last; ++rank, gates += l_.gates_width()) {
      S* y = nullptr;
      if constexpr (kLast) y = t_.y.row(plan_.row(rank), plan_.time(rank, s, t_.reverse));
      for (Index block = first_block; block < last_block; ++block) {
        const Index unit = block * kLanes, state = rank * l_.padded_ + unit;
        ForwardUnits<S> u;
#pragma GCC unroll 4
        for (int g = 0; g < kGatesSoFar; ++g) {
          const Index column = l_.gate_column(g, block);
          u.gate[g] = Vec<S>::load(gates + column);
          if constexpr (Cell::kSeparateRecurrent) {
            u.recurrent[g] = Vec<S>::load(recurrent_ + rank * l_.gates_width() + column);
          }
        }
        u.h = Vec<S>::load(h_[s & 1] + state);
        if constexpr (Cell::kHasCellState) u.c = Vec<S>::load(c_ + state);
        Cell::template forward<kPhase>(act_, u);
        if constexpr (!kLast) {
#pragma GCC unroll 4
          for (int g = first_gate(kPhase); g < kGatesSoFar; ++g) {
            u.gate[g].store(gates + l_.gate_column(g, block));
          }
          u.operand.store(operand_ + state);
        } else {
          u.h.store(h_[(s + 1) & 1] + state);
          u.h.store_some(y + unit, l_.hidden_ - unit);
          if constexpr (Cell::kHasCellState) u.c.store(c_ + state);
          if constexpr (kTraining) save(u, saved_row + rank, block);
        }
      }
    }
  }

  void save(const ForwardUnits<S>& u, Index row, Index block) const {
    S* const to = t_.saved->gates.data() + row * l_.saved_width() + block * Cell::kSaved * kLanes;
#pragma GCC unroll 4
    for (int g = 0; g < Cell::kSaved; ++g) u.gate[g].store(to + g * kLanes);
    if constexpr (Cell::kHasCellState) {
      u.c.store(t_.saved->cells.data() + row * l_.padded_ + block * kLanes);
    }
  }

  const CellDirection& l_;
  const ForwardTask<S> t_;
  const RowPlan& plan_;
  const Activations act_;
  const Split split_;
  const int chunk_count_;  // one a thread if rows are split, else one
  Chunk* const chunks_;
  S* h_[2];               // [B][Hp] h_{t-1} and h_t by turns
  const S** h_rows_[2];   // their rows
  S* c_ = nullptr;        // [B][Hp] updated in place
  S* operand_ = nullptr;  // [B][Hp] what the second phase multiplies
  const S** operand_rows_ = nullptr;
  S* recurrent_ = nullptr;  // [B][gates] W h + bias_hn
};

template <class Cell, class S>
Pass* CellDirection<Cell, S>::forward(const ForwardTask<S>& task, const Sharing& sharing,
                                      Arena& arena) const {
  return arena.make<ForwardLoop>(*this, task, sharing, arena);
}

}  // namespace bptt
