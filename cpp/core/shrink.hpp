#pragma once

#include "core/types.hpp"

namespace bptt {

/// What sizes are divided by from which on work is cut into chunks, blocks and threads: 1, but for
/// a build for fuzzing, so that small shapes, which are fast, take all paths.
#if defined(FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION)
inline constexpr Index kShrink = 64;
#else
inline constexpr Index kShrink = 1;
#endif

}  // namespace bptt
