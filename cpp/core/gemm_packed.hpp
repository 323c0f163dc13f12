#pragma once

#include "core/packed_weights.hpp"
#include "core/ragged_batch.hpp"

namespace bptt {

/// Rows of the left operand: row r, depth k is at row[r][k * step].
template <class S>
struct Rows {
  const S* const* row;
  Index step = 1;
};

/// How many panels are best computed together for n rows (a single row needs two to hide latency).
inline Index panels_together(Index rows) { return rows == 1 ? 2 : 1; }

/// visit(first, last) for all of some panels, as many together as is best for n rows. Who visits
/// them at every step does so from the end every other time: the cache still holds what came last.
template <class Visit>
void for_each_group(Range panels, Index rows, bool from_the_end, Visit visit) {
  const Index together = panels_together(rows);
  const Index groups = (panels.size() + together - 1) / together;
  for (Index i = 0; i < groups; ++i) {
    const Index first = panels.first + (from_the_end ? groups - 1 - i : i) * together;
    visit(first, std::min(first + together, panels.last));
  }
}

/// out[r] = init[r] + a[r] · panels, for r < rows and the columns of panels first … last-1.
///
/// `init` and `out` point to column 0 of row 0; an init_stride of 0 repeats one row; no init means
/// 0; init and out may be the same. Every element is summed over depth in order, whatever the
/// number of rows, so a row's bits do not depend on the rows beside it.
template <class S>
void product(const Panels<S>& panels, Index first, Index last, Rows<S> a, Index rows, const S* init,
             Index init_stride, S* out, Index out_stride);

extern template void product<float>(const Panels<float>&, Index, Index, Rows<float>, Index,
                                    const float*, Index, float*, Index);
extern template void product<double>(const Panels<double>&, Index, Index, Rows<double>, Index,
                                     const double*, Index, double*, Index);

}  // namespace bptt
