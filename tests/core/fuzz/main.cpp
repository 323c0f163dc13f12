// The core under libFuzzer: shapes, lengths, strides, options and values that the fuzzer chooses,
// in arrays of their exact size, so that AddressSanitizer sees every access beyond them. Checked:
// the same bits with one thread and with three, with and without recomputation, for a sequence
// alone and in its batch; finite results of moderate input; nothing written between the rows.
// .ci/fuzz builds it (preset `fuzz`) and runs it.

#include <cstddef>
#include <cstdint>
#include <iterator>

#include "core/parallel/lease.hpp"
#include "core/parallel/thread_limit.hpp"
#include "fuzz/targets.hpp"
#include "fuzz/tools.hpp"

namespace {

using namespace bptt::fuzz;

template <class S>
void fuzz(Choices& choices) {
  constexpr void (*kTargets[])(Choices&) = {
      fuzz_network<S>,   fuzz_network<S>,    fuzz_network<S>,       fuzz_linear_cross_entropy<S>,
      fuzz_attention<S>, fuzz_embedding<S>,  fuzz_losses<S>,        fuzz_linear<S>,
      fuzz_dropout<S>,   fuzz_optimizers<S>, fuzz_normalization<S>, fuzz_crf<S>,
      fuzz_ctc<S>,       fuzz_padding<S>};
  kTargets[choices.byte() % std::size(kTargets)](choices);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const bool started = (bptt::start_engines(), bptt::set_oversubscription(true), true);
  (void)started;
  Choices choices(data, size);
  choices.flag() ? fuzz<float>(choices) : fuzz<double>(choices);
  return 0;
}
