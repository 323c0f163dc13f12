#pragma once

#include "core/cells/gru.hpp"
#include "core/cells/lstm.hpp"
#include "core/cells/rnn.hpp"

namespace bptt {

/// The table of cells, a line each: visit(Cell()) for the cell of that kind.
template <class Visit>
auto visit_cell(CellKind kind, Visit visit) {
  switch (kind) {
    case CellKind::kRnn:
      return visit(Rnn());
    case CellKind::kLstm:
      return visit(Lstm());
    case CellKind::kGru:
      return visit(Gru());
    case CellKind::kGruResetAfter:
      break;
  }
  return visit(GruResetAfter());
}

}  // namespace bptt
