#pragma once

#include <Eigen/Core>

#include "core/shrink.hpp"
#include "core/types.hpp"

namespace bptt {

/// The L2 cache of a core as the processor describes it, or what is usual where it does not.
inline Index l2_cache_bytes() {
  static const Index bytes = Eigen::l2CacheSize() / kShrink;
  return bytes;
}

}  // namespace bptt
