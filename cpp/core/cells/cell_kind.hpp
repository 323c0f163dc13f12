#pragma once

#include <type_traits>

#include "core/types.hpp"

// What follows from the table of cells. Only direction.cpp includes it: all else takes a CellKind
// as it is, or asks cell_info (direction.hpp).

namespace bptt {

#define BPTT_CELL(Cell, header) struct Cell;
#include "core/cells/cells.def"
#undef BPTT_CELL

enum class CellKind : int {
#define BPTT_CELL(Cell, header) k##Cell,
#include "core/cells/cells.def"
#undef BPTT_CELL
};

/// visit(std::type_identity<Cell>()) for the cell of that kind; Cell may be incomplete.
template <class Visit>
auto visit_cell(CellKind kind, Visit visit) {
  switch (kind) {
#define BPTT_CELL(Cell, header) \
  case CellKind::k##Cell:       \
    return visit(std::type_identity<Cell>());
#include "core/cells/cells.def"
#undef BPTT_CELL
  }
  __builtin_unreachable();
}

}  // namespace bptt
