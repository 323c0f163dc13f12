#pragma once

#include "core/cell_direction.hpp"
#include "core/cells/cell.hpp"
#include "core/matrix.hpp"

// The time loop backward, for any cell: backpropagation through time. It mirrors forward_loop.hpp:
// steps from the last to the first, phases from the last to the first.

namespace bptt {

template <class Cell, class S>
class CellDirection<Cell, S>::BackwardLoop {
 public:
  BackwardLoop(const CellDirection& layer, const BackwardTask<S>& task)
      : l_(layer), t_(task), plan_(*task.plan), act_(layer.activations_) {
    const Index state = plan_.batch() * l_.padded_;
    d_h_ = scratch().take_zeroed<S>(state);
    l_.read_state(plan_, task.d_h_final, d_h_);
    if constexpr (Cell::kHasCellState) {
      d_c_ = scratch().take_zeroed<S>(state);
      l_.read_state(plan_, task.d_c_final, d_c_);
    }
    if constexpr (Cell::kPhases > 1) d_operand_ = scratch().take<S>(state);
    d_weight_ih_ = scratch().take_zeroed<S>(l_.gates_width() * l_.input_);
    d_weight_hh_ = scratch().take_zeroed<S>(l_.gates_width() * l_.hidden_);
    d_bias_ = scratch().take_zeroed<S>(l_.gates_width());
    if constexpr (Cell::kSeparateRecurrent) d_bias_hn_ = scratch().take_zeroed<S>(l_.gates_width());
    gate_rows_ = scratch().take<const S*>(plan_.batch());
  }

  void run() {
    const Index row = 2 * l_.gates_width() + 2 * l_.padded_ + 2 * l_.input_;
    const Index row_bytes = row * static_cast<Index>(sizeof(S));
    const Index chunk_bytes = std::max(kChunkBytes, kChunkRows * row_bytes);
    std::vector<Index> ends{0};
    while (ends.back() < plan_.longest()) {
      ends.push_back(chunk_end(plan_, ends.back(), row_bytes, chunk_bytes));
    }
    for (std::size_t i = ends.size() - 1; i > 0; --i) run_chunk(ends[i - 1], ends[i]);
    write_gradients();
  }

 private:
  static constexpr Index kChunkBytes = 512 * 1024;
  static constexpr Index kChunkRows = 256;  // deep enough for the weight products to run at speed

  void run_chunk(Index first, Index last) {
    const Arena::Scope scope(scratch());
    first_row_ = plan_.first_row(first);
    const Index rows = plan_.first_row(last) - first_row_;
    d_gates_ = scratch().take<S>(rows * l_.gates_width());
    d_recurrent_ = Cell::kSeparateRecurrent ? scratch().take<S>(rows * l_.gates_width()) : d_gates_;
    h_prev_ = scratch().take<S>(rows * l_.padded_);
    if constexpr (Cell::kPhases > 1) operand_ = scratch().take<S>(rows * l_.padded_);
    gather_h_prev(first, last);
    for (Index s = last - 1; s >= first; --s) step(s);
    accumulate_weights(first, last, rows);
    if (t_.d_x) input_gradient(first, last, rows);
  }

  /// h_{t-1} of every row of the chunk, side by side: for the weight product, and for cells that
  /// read it.
  void gather_h_prev(Index first, Index last) const {
    S* to = h_prev_;
    plan_.for_each_row(first, last, [&](Index rank, Index s) {
      const S* const from = s == 0 ? t_.saved->h0.data() + rank * l_.padded_ : y_row(rank, s - 1);
      std::copy_n(from, l_.hidden_, to);
      std::fill(to + l_.hidden_, to + l_.padded_, S(0));
      to += l_.padded_;
    });
  }

  const S* y_row(Index rank, Index s) const {
    return t_.y.row(plan_.row(rank), plan_.time(rank, s, t_.reverse));
  }

  void step(Index s) {
    const Index rows = plan_.active(s), first = plan_.first_row(s) - first_row_;
    if constexpr (Cell::kPhases > 1) {
      differentiate<1>(s, rows, first);
      propagate<1>(rows, first, nullptr, d_operand_);
    }
    differentiate<0>(s, rows, first);
    propagate<0>(rows, first, d_h_, d_h_);
  }

  /// to = from + (gradient of the sums of this phase) · W: what reaches the left operand of its
  /// product.
  template <int kPhase>
  void propagate(Index rows, Index first, const S* from, S* to) {
    const Panels<S>& panels = l_.weight_hh_transposed_[kPhase];
    const S* const gates = d_recurrent_ + first * l_.gates_width() + l_.phase_column(kPhase);
    for (Index r = 0; r < rows; ++r) gate_rows_[r] = gates + r * l_.gates_width();
    product(panels, 0, panels.count(), Rows<S>{gate_rows_}, rows, from, l_.padded_, to, l_.padded_);
  }

  /// The derivative of the cell's equations at one step. On entry d_h_ holds what comes from later
  /// steps; on exit from phase 0 what this step passes to h_{t-1} outside W.
  template <int kPhase>
  void differentiate(Index s, Index rows, Index first) {
    constexpr bool kFirst = kPhase == Cell::kPhases - 1;  // the last phase comes first here
    for (Index rank = 0; rank < rows; ++rank) {
      const Index row = first + rank;
      const Index time = plan_.time(rank, s, t_.reverse), batch = plan_.row(rank);
      const S* const d_y = t_.d_y ? t_.d_y.row(batch, time) : nullptr;
      for (Index block = 0; block < l_.blocks_; ++block) {
        const Index unit = block * kLanes, state = rank * l_.padded_ + unit;
        const Index units = l_.hidden_ - unit;
        BackwardUnits<S> u;
        u.d_h = Vec<S>::load(d_h_ + state);
        if (kFirst && d_y != nullptr) {
          const Index stride = t_.d_y.feature_stride;
          u.d_h += Vec<S>::load_some(d_y + unit * stride, stride, units);
        }
        load(u, s, rank, row, block);
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

  void load(BackwardUnits<S>& u, Index s, Index rank, Index row, Index block) const {
    const Index unit = block * kLanes, state = rank * l_.padded_ + unit;
    const Index saved_row = first_row_ + row;
    const S* const gates =
        t_.saved->gates.data() + saved_row * l_.saved_width() + block * Cell::kSaved * kLanes;
#pragma GCC unroll 4
    for (int g = 0; g < Cell::kSaved; ++g) u.gate[g] = Vec<S>::load(gates + g * kLanes);
    if constexpr (Cell::kReadsPreviousOutput) {
      u.h_prev = Vec<S>::load(h_prev_ + row * l_.padded_ + unit);
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
  void store(const BackwardUnits<S>& u, Index rank, Index row, Index block) {
    const Index unit = block * kLanes, state = rank * l_.padded_ + unit;
    for (int g = first_gate(kPhase); g < first_gate(kPhase) + Cell::phase_gates(kPhase); ++g) {
      const Index column = row * l_.gates_width() + l_.gate_column(g, block);
      store_units(u.d_gate[g], d_gates_ + column, l_.hidden_ - unit);
      if constexpr (Cell::kSeparateRecurrent) {
        store_units(u.d_recurrent[g], d_recurrent_ + column, l_.hidden_ - unit);
      }
    }
    if constexpr (kPhase > 0) {
      u.d_h.store(d_h_ + state);  // now with this step's d_y
    } else {
      u.d_h_prev.store(d_h_ + state);
      if constexpr (Cell::kHasCellState) u.d_c_prev.store(d_c_ + state);
      if constexpr (Cell::kPhases > 1) u.operand.store(operand_ + row * l_.padded_ + unit);
    }
  }

  // All steps share the weights, so their gradients are sums over steps: one product a chunk.
  void accumulate_weights(Index first, Index last, Index rows) {
    const Index width = l_.gates_width();
    add_columns(d_gates_, rows, d_bias_);
    if constexpr (Cell::kSeparateRecurrent) add_columns(d_recurrent_, rows, d_bias_hn_);
    for (int phase = 0; phase < Cell::kPhases; ++phase) {
      const Index column = l_.phase_column(phase);
      const Index columns = Cell::phase_gates(phase) * l_.padded_;
      add_transposed_product<S>(
          {d_recurrent_ + column, rows, columns, width},
          {phase == 0 ? h_prev_ : operand_, rows, l_.hidden_, l_.padded_},
          {d_weight_hh_ + column * l_.hidden_, columns, l_.hidden_, l_.hidden_});
    }
    if (t_.x.ids) return scatter_ids(first, last);
    S* const x = scratch().take<S>(rows * l_.input_);
    S* to = x;
    for_each_row(first, last, [&](Index batch, Index time) {
      const S* const from = t_.x.values.row(batch, time);
      const Index stride = t_.x.values.feature_stride;
      for (Index i = 0; i < l_.input_; ++i) *to++ = from[i * stride];
    });
    add_transposed_product<S>({d_gates_, rows, width, width}, {x, rows, l_.input_, l_.input_},
                              {d_weight_ih_, width, l_.input_, l_.input_});
  }

  /// visit(the caller's row, time) for every row of the chunk.
  template <class Visit>
  void for_each_row(Index first, Index last, Visit visit) const {
    plan_.for_each_row(first, last, [&](Index rank, Index s) {
      visit(plan_.row(rank), plan_.time(rank, s, t_.reverse));
    });
  }

  void add_columns(const S* from, Index rows, S* to) const {
    S* const sum = scratch().take_zeroed<S>(l_.gates_width());
    for (Index r = 0; r < rows; ++r, from += l_.gates_width()) {
      for (Index i = 0; i < l_.gates_width(); ++i) sum[i] += from[i];
    }
    for (Index i = 0; i < l_.gates_width(); ++i) to[i] += sum[i];
  }

  /// One-hot rows: the gradient of U is a sum over the columns that were read. Kept as [I][gates].
  void scatter_ids(Index first, Index last) {
    const S* from = d_gates_;
    for_each_row(first, last, [&](Index batch, Index time) {
      S* const to = d_weight_ih_ + *t_.x.ids.row(batch, time) * l_.gates_width();
      for (Index i = 0; i < l_.gates_width(); ++i) to[i] += from[i];
      from += l_.gates_width();
    });
  }

  void input_gradient(Index first, Index last, Index rows) {
    const Index width = l_.weight_ih_transposed_[0].width();
    S* const d_x = scratch().take<S>(rows * width);
    const S** const gates = row_pointers<S>(d_gates_, l_.gates_width(), rows);
    for (int phase = 0; phase < Cell::kPhases; ++phase) {
      const Panels<S>& panels = l_.weight_ih_transposed_[phase];
      if (phase > 0) {
        for (Index r = 0; r < rows; ++r) gates[r] += l_.phase_column(phase);
      }
      product(panels, 0, panels.count(), Rows<S>{gates}, rows, phase == 0 ? nullptr : d_x, width,
              d_x, width);
    }
    const S* from = d_x;
    for_each_row(first, last, [&](Index batch, Index time) {
      S* const to = t_.d_x.row(batch, time);
      if (t_.add_to_d_x) {
        for (Index i = 0; i < l_.input_; ++i) to[i] += from[i];
      } else {
        std::copy_n(from, l_.input_, to);
      }
      from += width;
    });
  }

  void write_gradients() const {
    const ParameterSizes sizes = parameter_sizes(Cell::kKind, l_.input_, l_.hidden_);
    S* const weight_ih = t_.d_parameters;
    S* const weight_hh = weight_ih + sizes.weight_ih;
    S* const bias = weight_hh + sizes.weight_hh;
    l_.for_each_gate_packet([&](Index packed, Index plain, Index count) {
      std::copy_n(d_weight_hh_ + packed * l_.hidden_, count * l_.hidden_,
                  weight_hh + plain * l_.hidden_);
      std::copy_n(d_bias_ + packed, count, bias + plain);
      if (!t_.x.ids) {
        std::copy_n(d_weight_ih_ + packed * l_.input_, count * l_.input_,
                    weight_ih + plain * l_.input_);
        return;
      }
      for (Index i = 0; i < l_.input_; ++i) {
        const S* const from = d_weight_ih_ + i * l_.gates_width() + packed;
        for (Index w = 0; w < count; ++w) weight_ih[(plain + w) * l_.input_ + i] = from[w];
      }
    });
    if constexpr (Cell::kSeparateRecurrent) {
      S* const bias_hn = bias + sizes.bias;
      l_.for_each_packet(Cell::kGates - 1, [&](Index packed, Index unit, Index count) {
        std::copy_n(d_bias_hn_ + packed, count, bias_hn + unit);
      });
    }
    l_.write_state(plan_, t_.d_h0, [&](Index rank) { return d_h_ + rank * l_.padded_; });
    if constexpr (Cell::kHasCellState) {
      l_.write_state(plan_, t_.d_c0, [&](Index rank) { return d_c_ + rank * l_.padded_; });
    }
  }

  const CellDirection& l_;
  const BackwardTask<S>& t_;
  const RowPlan& plan_;
  const Activations act_;
  S *d_h_, *d_c_ = nullptr;        // [B][Hp] gradients of the state, carried from step to step
  S* d_operand_ = nullptr;         // [B][Hp]
  const S** gate_rows_;            // rows of one step's gate gradients
  S *d_weight_ih_, *d_weight_hh_;  // [gates][I] ([I][gates] for ids), [gates][H]
  S *d_bias_, *d_bias_hn_ = nullptr;
  // Of one chunk of steps:
  S *d_gates_ = nullptr, *d_recurrent_ = nullptr;  // [rows][gates]
  S *h_prev_ = nullptr, *operand_ = nullptr;       // [rows][Hp]
  Index first_row_ = 0;
};

template <class Cell, class S>
void CellDirection<Cell, S>::backward(const BackwardTask<S>& task) const {
  const Arena::Scope scope(scratch());
  BackwardLoop(*this, task).run();
}

}  // namespace bptt
