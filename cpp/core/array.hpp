#pragma once

#include <Eigen/Core>
#include <type_traits>

#include "core/types.hpp"

namespace bptt {

/// `count` adjacent elements as an array of Eigen, for elementwise expressions.
template <class S>
auto array(S* data, Index count) {
  using Array = Eigen::Array<std::remove_const_t<S>, Eigen::Dynamic, 1>;
  return Eigen::Map<std::conditional_t<std::is_const_v<S>, const Array, Array>>(data, count);
}

}  // namespace bptt
