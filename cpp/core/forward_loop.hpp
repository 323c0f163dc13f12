#pragma once

#include "core/cell_direction.hpp"
#include "core/cells/cell.hpp"

// The time loop forward, for any cell.

namespace bptt {

template <class Cell, class S>
class CellDirection<Cell, S>::ForwardLoop {
 public:
  ForwardLoop(const CellDirection& layer, const ForwardTask<S>& task)
      : l_(layer), t_(task), plan_(*task.plan), act_(layer.activations_) {
    const Index state = plan_.batch() * l_.padded_;
    for (int turn = 0; turn < 2; ++turn) {
      h_[turn] = scratch().take_zeroed<S>(state);
      h_rows_[turn] = row_pointers<S>(h_[turn], l_.padded_, plan_.batch());
    }
    l_.read_state(plan_, task.h0, h_[0]);
    if constexpr (Cell::kHasCellState) {
      c_ = scratch().take_zeroed<S>(state);
      l_.read_state(plan_, task.c0, c_);
    }
    if constexpr (Cell::kPhases > 1) {
      operand_ = scratch().take<S>(state);
      operand_rows_ = row_pointers<S>(operand_, l_.padded_, plan_.batch());
    }
    if constexpr (Cell::kSeparateRecurrent) {
      recurrent_ = scratch().take<S>(plan_.batch() * l_.gates_width());
    }
    y_rows_ = scratch().take<S*>(plan_.batch());
    if (task.saved != nullptr) allocate_saved(*task.saved);
  }

  template <bool kTraining>
  void run() {
    const Index row_bytes = l_.gates_width() * static_cast<Index>(sizeof(S));
    for (Index first = 0, last; first < plan_.longest(); first = last) {
      last = chunk_end(plan_, first, row_bytes, kChunkBytes);
      const Arena::Scope scope(scratch());
      project_input(first, last);
      for (Index s = first; s < last; ++s) step<kTraining>(s);
    }
    write_state();
  }

 private:
  static constexpr Index kChunkBytes = 256 * 1024;  // projections stay in L2 until they are used

  void write_state() const {
    l_.write_state(plan_, t_.h_final,
                   [&](Index rank) { return h_[plan_.length(rank) & 1] + rank * l_.padded_; });
    if constexpr (Cell::kHasCellState) {
      l_.write_state(plan_, t_.c_final, [&](Index rank) { return c_ + rank * l_.padded_; });
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

  /// gates_ = U x + b for every row of the steps [first, last), as one tall product.
  void project_input(Index first, Index last) {
    first_row_ = plan_.first_row(first);
    const Index rows = plan_.first_row(last) - first_row_;
    gates_ = scratch().take<S>(rows * l_.gates_width());
    if (t_.x.ids) return gather_input(first, last);
    const S** const x = scratch().take<const S*>(rows);
    const S** next = x;
    plan_.for_each_row(first, last, [&](Index rank, Index s) {
      *next++ = t_.x.values.row(plan_.row(rank), plan_.time(rank, s, t_.reverse));
    });
    for (int phase = 0; phase < Cell::kPhases; ++phase) {
      const Index column = l_.phase_column(phase);
      const Panels<S>& panels = l_.weight_ih_[phase];
      product(panels, 0, panels.count(), Rows<S>{x, t_.x.values.feature_stride}, rows,
              l_.bias_.data() + column, 0, gates_ + column, l_.gates_width());
    }
  }

  /// The same for one-hot rows: the product with a unit vector is a column of U.
  void gather_input(Index first, Index last) {
    S* row = gates_;
    plan_.for_each_row(first, last, [&](Index rank, Index s) {
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

  template <bool kTraining>
  void step(Index s) {
    const Index rows = plan_.active(s);
    for (Index rank = 0; rank < rows; ++rank) {
      y_rows_[rank] = t_.y.row(plan_.row(rank), plan_.time(rank, s, t_.reverse));
    }
    S* const gates = gates_ + (plan_.first_row(s) - first_row_) * l_.gates_width();
    phase<0, kTraining>(s, rows, gates);
    if constexpr (Cell::kPhases > 1) phase<1, kTraining>(s, rows, gates);
  }

  template <int kPhase, bool kTraining>
  void phase(Index s, Index rows, S* gates) {
    const Panels<S>& panels = l_.weight_hh_[kPhase];
    const Rows<S> left{kPhase == 0 ? h_rows_[s & 1] : operand_rows_};
    const Index together = panels_together(rows);
    for (Index q = 0; q < panels.count(); q += together) {
      const Index end = std::min(q + together, panels.count());
      if constexpr (Cell::kSeparateRecurrent) {
        product(panels, q, end, left, rows, l_.bias_hn_.data(), 0, recurrent_, l_.gates_width());
      } else {
        S* const sums = gates + l_.phase_column(kPhase);
        product(panels, q, end, left, rows, sums, l_.gates_width(), sums, l_.gates_width());
      }
      const Index per_panel = panels.blocks_per_panel();
      finish<kPhase, kTraining>(s, rows, gates, q * per_panel,
                                std::min(end * per_panel, l_.blocks_));
    }
  }

  /// The cell's equations for the units whose sums are complete.
  template <int kPhase, bool kTraining>
  void finish(Index s, Index rows, S* gates, Index first_block, Index last_block) {
    constexpr int kGatesSoFar = first_gate(kPhase) + Cell::phase_gates(kPhase);
    constexpr bool kLast = kPhase == Cell::kPhases - 1;
    const Index saved_row = kTraining ? plan_.first_row(s) : 0;
    for (Index rank = 0; rank < rows; ++rank, gates += l_.gates_width()) {
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
          u.h.store_some(y_rows_[rank] + unit, l_.hidden_ - unit);
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
  const ForwardTask<S>& t_;
  const RowPlan& plan_;
  const Activations act_;
  S* h_[2];               // [B][Hp] h_{t-1} and h_t by turns
  const S** h_rows_[2];   // their rows
  S* c_ = nullptr;        // [B][Hp] updated in place
  S* operand_ = nullptr;  // [B][Hp] what the second phase multiplies
  const S** operand_rows_ = nullptr;
  S* recurrent_ = nullptr;  // [B][gates] W h + bias_hn
  S** y_rows_ = nullptr;    // this step's rows of the output
  S* gates_ = nullptr;      // [rows of the chunk][gates]
  Index first_row_ = 0;     // of the chunk
};

template <class Cell, class S>
void CellDirection<Cell, S>::forward(const ForwardTask<S>& task) const {
  const Arena::Scope scope(scratch());
  ForwardLoop loop(*this, task);
  task.saved != nullptr ? loop.template run<true>() : loop.template run<false>();
}

}  // namespace bptt
