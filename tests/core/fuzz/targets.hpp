#pragma once

// Functions of what the fuzzer chooses, in float and double.

namespace bptt::fuzz {

class Choices;

template <class S>
void fuzz_network(Choices& choices);
template <class S>
void fuzz_linear(Choices& choices);
template <class S>
void fuzz_linear_cross_entropy(Choices& choices);
template <class S>
void fuzz_losses(Choices& choices);
template <class S>
void fuzz_ctc(Choices& choices);
template <class S>
void fuzz_crf(Choices& choices);
template <class S>
void fuzz_padding(Choices& choices);
template <class S>
void fuzz_attention(Choices& choices);
template <class S>
void fuzz_embedding(Choices& choices);
template <class S>
void fuzz_normalization(Choices& choices);
template <class S>
void fuzz_dropout(Choices& choices);
template <class S>
void fuzz_optimizers(Choices& choices);

}  // namespace bptt::fuzz
