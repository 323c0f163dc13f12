#pragma once

#include "core/vec.hpp"

// tanh, the logistic sigmoid and related functions on one packet, within 4 ulp
// (tests/_core/test_activations.py sweeps them). Derivatives take the *output* of the function, so
// backward never recomputes it.

namespace bptt {

enum class Activation : int { kTanh, kSigmoid, kRelu, kIdentity };
enum class GateActivation : int { kSigmoid, kHardSigmoid, kHardSigmoidKeras2 };

/// Those of nearly every layer: what is compiled for them alone has no branches and calls in
/// between.
constexpr Activations kUsualActivations{Activation::kTanh, GateActivation::kSigmoid};

template <class S>
struct ExpConstants;

// exp(r) - 1 = r + r^2 * P(r) on |r| <= ln(2)/2, coefficients of P from the constant term up,
// minimax in the relative error. `kShift` rounds to an integer by leaving no fraction bits,
// and adds the exponent's bias on the way.
template <>
struct ExpConstants<float> {
  static constexpr float kShift = 12582912.0F + 127.0F;
  static constexpr int kMantissaBits = 23;
  static constexpr float kLog2e = 1.44269504F;
  static constexpr float kLn2High = 0.693359375F;
  static constexpr float kLn2Low = -2.12194440e-4F;
  static constexpr float kLowest = -88.0F;  // from here on 2^n is 0
  static constexpr float kHighest = 20.0F;  // sigmoid(20) and tanh(10) round to 1
  static constexpr float kP[] = {0.49999997F, 0.166665435F, 0.0416672006F, 0.00836654752F,
                                 0.00138825167F};
};

template <>
struct ExpConstants<double> {
  static constexpr double kShift = 6755399441055744.0 + 1023.0;
  static constexpr int kMantissaBits = 52;
  static constexpr double kLog2e = 1.4426950408889634;
  static constexpr double kLn2High = 6.93147180369123816490e-01;
  static constexpr double kLn2Low = 1.90821492927058770002e-10;
  static constexpr double kLowest = -709.0;
  static constexpr double kHighest = 40.0;
  static constexpr double kP[] = {
      0.5000000000000006,     0.16666666666666588,   0.041666666666576466, 0.008333333333389733,
      0.0013888888931666964,  0.0001984126971871149, 2.48015051428866e-05, 2.7557407686823806e-06,
      2.7626092754108596e-07, 2.5053775113749995e-08};
};

/// exp(x) = scale + scale * fraction, with scale = 2^n and fraction = exp(r) - 1.
template <class S>
struct Exponential {
  Vec<S> scale, fraction;
};

/// For kLowest <= x; below the smallest normal number the scale is 0.
template <class S>
Exponential<S> exponential(Vec<S> x) {
  using C = ExpConstants<S>;
  using Packet = typename Vec<S>::Packet;
  using Integers = typename Eigen::internal::unpacket_traits<Packet>::integer_packet;
  const Vec<S> shifted = fma(x, Vec<S>(C::kLog2e), Vec<S>(C::kShift));
  const Vec<S> n = shifted - Vec<S>(C::kShift);
  const Vec<S> r = fma(n, Vec<S>(-C::kLn2Low), fma(n, Vec<S>(-C::kLn2High), x));

  constexpr int terms = sizeof(C::kP) / sizeof(S);
  Vec<S> p(C::kP[terms - 1]);
  for (int i = terms - 2; i >= 0; --i) p = fma(p, r, Vec<S>(C::kP[i]));

  const Integers bits = Eigen::internal::preinterpret<Integers>(shifted.packet);
  const Integers exponent = Eigen::internal::plogical_shift_left<C::kMantissaBits>(bits);
  return {Vec<S>(Eigen::internal::preinterpret<Packet>(exponent)), fma(r * r, p, r)};
}

/// exp(x) for x <= 0.
template <class S>
Vec<S> exp_not_positive(Vec<S> x) {
  const Exponential<S> e = exponential(at_least(x, ExpConstants<S>::kLowest));
  return fma(e.scale, e.fraction, e.scale);
}

/// e / (e + 1) with e = exp(x).
template <class S>
Vec<S> sigmoid(Vec<S> x) {
  using C = ExpConstants<S>;
  const Exponential<S> parts = exponential(at_most(at_least(x, C::kLowest), C::kHighest));
  const Vec<S> e = fma(parts.scale, parts.fraction, parts.scale);
  return e / (e + Vec<S>(S(1)));
}

template <class S>
struct LogConstants;

// artanh(s) = s + s t P(t) with t = s^2, on 0 <= t <= 1/9: coefficients of P from the constant term
// up, minimax in the relative error.
template <>
struct LogConstants<float> {
  static constexpr float kP[] = {0.33333209F, 0.20010763F, 0.14000903F, 0.14005993F};
};

template <>
struct LogConstants<double> {
  static constexpr double kP[] = {0.3333333333333885,  0.19999999998024856, 0.1428571452899794,
                                  0.11111096452374701, 0.09091407034509458, 0.07682147797112965,
                                  0.06793156743604671, 0.04951412659074197, 0.08869874440268295};
};

/// log(1 + x) = 2 artanh(x / (2 + x)) for 0 <= x <= 1.
template <class S>
Vec<S> log_of_one_plus(Vec<S> x) {
  using C = LogConstants<S>;
  const Vec<S> s = x / (x + Vec<S>(S(2))), t = s * s;
  constexpr int terms = sizeof(C::kP) / sizeof(S);
  Vec<S> p(C::kP[terms - 1]);
  for (int i = terms - 2; i >= 0; --i) p = fma(p, t, Vec<S>(C::kP[i]));
  const Vec<S> twice = s + s;
  return fma(twice * t, p, twice);
}

/// log(sigmoid(x)) = min(x, 0) - log(1 + exp(-|x|)), and its derivative, sigmoid(-x).
template <class S>
struct LogSigmoid {
  Vec<S> value, slope;
};
template <class S>
LogSigmoid<S> log_sigmoid(Vec<S> x) {
  const Vec<S> one(S(1)), e = exp_not_positive(Vec<S>::zero() - absolute(x));
  return {at_most(x, S(0)) - log_of_one_plus(e), select_at_most(x, S(0), one, e) / (e + one)};
}

/// m / (m + 2) with m = exp(2|x|) - 1, and the sign of x: no digits cancel near 0.
template <class S>
Vec<S> tanh(Vec<S> x) {
  const Vec<S> size = absolute(x);
  const Exponential<S> e = exponential(at_most(size + size, ExpConstants<S>::kHighest));
  const Vec<S> m = fma(e.scale, e.fraction, e.scale - Vec<S>(S(1)));
  return with_sign_of(m / (m + Vec<S>(S(2))), x);
}

template <class S>
Vec<S> hard_sigmoid(Vec<S> x, S slope) {
  return at_most(at_least(fma(x, Vec<S>(slope), Vec<S>(S(0.5))), S(0)), S(1));
}

// The default activation is inlined into the cell; the others share one out-of-line copy.

template <class S>
[[gnu::noinline]] Vec<S> apply_slow_path(Activation activation, Vec<S> x) {
  switch (activation) {
    case Activation::kSigmoid:
      return sigmoid(x);
    case Activation::kRelu:
      return at_least(x, S(0));
    case Activation::kTanh:
    case Activation::kIdentity:
      break;
  }
  return x;
}

template <class S>
[[gnu::always_inline]] inline Vec<S> apply(Activation activation, Vec<S> x) {
  return activation == Activation::kTanh ? tanh(x) : apply_slow_path(activation, x);
}

template <class S>
[[gnu::noinline]] Vec<S> apply_slow_path(GateActivation activation, Vec<S> x) {
  return hard_sigmoid(x, activation == GateActivation::kHardSigmoid ? S(1) / S(6) : S(0.2));
}

template <class S>
[[gnu::always_inline]] inline Vec<S> apply(GateActivation activation, Vec<S> x) {
  return activation == GateActivation::kSigmoid ? sigmoid(x) : apply_slow_path(activation, x);
}

/// d * (derivative of the activation where its output is y).
template <class S>
Vec<S> activation_backward(Activation activation, Vec<S> y, Vec<S> d) {
  const Vec<S> one(S(1));
  switch (activation) {
    case Activation::kTanh:
      return d * fma(y, Vec<S>(S(0)) - y, one);
    case Activation::kSigmoid:
      return d * (y * (one - y));
    case Activation::kRelu:
      return where_above(y, S(0), d);
    case Activation::kIdentity:
      break;
  }
  return d;
}

template <class S>
Vec<S> activation_backward(GateActivation activation, Vec<S> y, Vec<S> d) {
  switch (activation) {
    case GateActivation::kSigmoid:
      break;
    case GateActivation::kHardSigmoid:
      return where_above(y, S(0), where_below(y, S(1), d * (S(1) / S(6))));
    case GateActivation::kHardSigmoidKeras2:
      return where_above(y, S(0), where_below(y, S(1), d * S(0.2)));
  }
  return d * (y * (Vec<S>(S(1)) - y));
}

}  // namespace bptt
