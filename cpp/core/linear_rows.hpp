#pragma once

#include "core/types.hpp"

namespace bptt {

/// The same as linear_forward, for single steps of streams: the bits of a row of y do not depend on
/// the other rows, nor on their number, as those of the recurrent layers do not.
template <class S>
void linear_rows(const S* x, Index rows, Index in, Index out, const S* weight,
                 const S* bias /* or null */, S* y);

}  // namespace bptt
