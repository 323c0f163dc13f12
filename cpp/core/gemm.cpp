#include "core/gemm.hpp"

#include <Eigen/Core>

namespace bptt {
namespace {

template <class S>
using RowMajor = Eigen::Matrix<S, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class S>
using ConstMap = Eigen::Map<const RowMajor<S>, 0, Eigen::OuterStride<>>;

template <class S>
ConstMap<S> map(MatrixView<const S> m) {
  return {m.data, m.rows, m.columns, Eigen::OuterStride<>(m.stride)};
}
template <class S>
Eigen::Map<RowMajor<S>, 0, Eigen::OuterStride<>> map(MatrixView<S> m) {
  return {m.data, m.rows, m.columns, Eigen::OuterStride<>(m.stride)};
}

}  // namespace

template <class S>
void multiply(MatrixView<const S> a, MatrixView<const S> b, MatrixView<S> out) {
  map(out).noalias() = map(a) * map(b);
}

template <class S>
void multiply_by_transposed(MatrixView<const S> a, MatrixView<const S> b, MatrixView<S> out) {
  map(out).noalias() = map(a) * map(b).transpose();
}

template <class S>
void multiply_transposed(MatrixView<const S> a, MatrixView<const S> b, MatrixView<S> out,
                         bool add) {
  if (!add) map(out).setZero();
  map(out).noalias() += map(a).transpose() * map(b);
}

#define BPTT_INSTANTIATE(S)                                                                      \
  template void multiply(MatrixView<const S>, MatrixView<const S>, MatrixView<S>);               \
  template void multiply_by_transposed(MatrixView<const S>, MatrixView<const S>, MatrixView<S>); \
  template void multiply_transposed(MatrixView<const S>, MatrixView<const S>, MatrixView<S>, bool);
BPTT_INSTANTIATE(float)
BPTT_INSTANTIATE(double)
#undef BPTT_INSTANTIATE

}  // namespace bptt
