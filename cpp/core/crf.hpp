#pragma once

#include <cstdint>

#include "core/types.hpp"

// Linear-chain conditional random field over B sequences of K labels:
//
//   score(y) = s[y_1] + sum_t x_t[y_t] + sum_t A[y_(t-1), y_t] + e[y_n]
//   log p(y) = score(y) - log Z,  Z = the sum of exp(score) over all label sequences
//
// with the emissions x, the transitions A, and the scores s and e of the first and the last label.
// All arrays are C-contiguous: emissions (B, T, K), labels (B, T), A (K, K), s and e (K). What lies
// beyond the length of a sequence is not read, and written as 0.

namespace bptt {

template <class S>
struct CrfInput {
  Index batch, steps, labels;  // B, T, K
  const S* emissions;
  const S* transitions;
  const S* start;
  const S* end;
  const Index* lengths;  // (B), or null for T each
};

/// Label sequences with their weights; a negative label stands for any.
struct CrfTargets {
  const std::int32_t* labels;
  const double* weights;  // (B), or null for 1 each
  double divisor;         // of value and gradients
};

/// Gradients of the emissions (B, T, K), A, s and e, overwritten; all null for none.
template <class S>
struct CrfGradients {
  S* emissions;
  S* transitions;
  S* start;
  S* end;
};

/// L = -sum over sequences of w * log p(labels) / divisor, where p sums over the labels that are
/// not known. Writes w * -log p of every sequence.
template <class S>
double crf_loss(const CrfInput<S>& input, const CrfTargets& targets, double* losses,
                const CrfGradients<S>& gradients);

/// Writes p(y_t = k) for every step (B, T, K).
template <class S>
void crf_marginals(const CrfInput<S>& input, S* probabilities);

/// Writes the label sequences (B, T) with the highest score; of equal ones, that with the lower
/// last label that differs.
template <class S>
void crf_viterbi(const CrfInput<S>& input, std::int32_t* labels);

}  // namespace bptt
