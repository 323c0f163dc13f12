#include "core/linear.hpp"

#include <algorithm>

#include "core/denormals.hpp"
#include "core/gemm.hpp"

namespace bptt {

template <class S>
void linear_forward(const S* x, Index rows, Index in, Index out, const S* weight, const S* bias,
                    S* y) {
  const FlushDenormals flush;
  multiply_by_transposed<S>({x, rows, in, in}, {weight, out, in, in}, {y, rows, out, out});
  if (bias == nullptr) return;
  for (Index r = 0; r < rows; ++r) {
    for (Index k = 0; k < out; ++k) y[r * out + k] += bias[k];
  }
}

template <class S>
void linear_backward(const S* x, Index rows, Index in, Index out, const S* weight, const S* d_y,
                     S* d_x, S* d_weight, S* d_bias) {
  const FlushDenormals flush;
  if (d_x != nullptr) {
    multiply<S>({d_y, rows, out, out}, {weight, out, in, in}, {d_x, rows, in, in});
  }
  std::fill_n(d_weight, out * in, S(0));
  add_transposed_product<S>({d_y, rows, out, out}, {x, rows, in, in}, {d_weight, out, in, in});
  if (d_bias == nullptr) return;
  std::fill_n(d_bias, out, S(0));
  for (Index r = 0; r < rows; ++r) {
    for (Index k = 0; k < out; ++k) d_bias[k] += d_y[r * out + k];
  }
}

#define BPTT_INSTANTIATE(S)                                                            \
  template void linear_forward(const S*, Index, Index, Index, const S*, const S*, S*); \
  template void linear_backward(const S*, Index, Index, Index, const S*, const S*, S*, S*, S*);
BPTT_INSTANTIATE(float)
BPTT_INSTANTIATE(double)
#undef BPTT_INSTANTIATE

}  // namespace bptt
