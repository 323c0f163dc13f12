#pragma once

#include <Eigen/Core>

#include "core/types.hpp"

namespace bptt {

static_assert(EIGEN_WORLD_VERSION == 3 && EIGEN_MAJOR_VERSION == 5,
              "Vec is written on the internals of Eigen 5: check it against this version");

// Eigen's expressions over arrays, its public interface, would not do here. A register tile has to
// hold its sums in registers over all of k and to hand them to the cell there; an expression begins
// and ends in memory. Eigen's tanh and logistic are off by up to 8 ulp instead of 3, and on the
// baseline give other bits to the last elements of an array than to the rest. docs/kernels.md has
// the figures. Products of plain matrices use the public interface (gemm.cpp).

/// One SIMD register of S in the instruction set this module is compiled for.
template <class S>
struct Vec {
  using Packet = typename Eigen::internal::packet_traits<S>::type;
  static constexpr int kLanes = Eigen::internal::unpacket_traits<Packet>::size;

  Packet packet;

  Vec() = default;
  explicit Vec(Packet p) : packet(p) {}
  explicit Vec(S value) : packet(Eigen::internal::pset1<Packet>(value)) {}

  static Vec load(const S* aligned) { return Vec(Eigen::internal::pload<Packet>(aligned)); }
  static Vec zero() { return Vec(Eigen::internal::pzero(Packet())); }
  void store(S* aligned) const { Eigen::internal::pstore(aligned, packet); }

  /// The first `count` lanes from any address and stride; the other lanes are 0.
  static Vec load_some(const S* from, Index stride, Index count) {
    if (stride == 1 && count >= kLanes) return Vec(Eigen::internal::ploadu<Packet>(from));
    alignas(64) S lanes[kLanes] = {};
    for (Index i = 0; i < count && i < kLanes; ++i) lanes[i] = from[i * stride];
    return load(lanes);
  }
  void store_some(S* to, Index count) const {
    if (count >= kLanes) return Eigen::internal::pstoreu(to, packet);
    alignas(64) S lanes[kLanes];
    store(lanes);
    for (Index i = 0; i < count; ++i) to[i] = lanes[i];
  }

  friend Vec operator+(Vec a, Vec b) { return Vec(Eigen::internal::padd(a.packet, b.packet)); }
  friend Vec operator-(Vec a, Vec b) { return Vec(Eigen::internal::psub(a.packet, b.packet)); }
  friend Vec operator*(Vec a, Vec b) { return Vec(Eigen::internal::pmul(a.packet, b.packet)); }
  friend Vec operator/(Vec a, Vec b) { return Vec(Eigen::internal::pdiv(a.packet, b.packet)); }
  friend Vec operator*(Vec a, S b) { return a * Vec(b); }
  Vec& operator+=(Vec b) { return *this = *this + b; }
};

/// to[c][r] = from[r][c] for a square of kLanes rows and columns.
template <class S>
void transpose(const S* from, Index from_stride, S* to, Index to_stride) {
  using V = Vec<S>;
  Eigen::internal::PacketBlock<typename V::Packet, V::kLanes> block;
#pragma GCC unroll 16
  for (int r = 0; r < V::kLanes; ++r) {
    block.packet[r] = Eigen::internal::ploadu<typename V::Packet>(from + r * from_stride);
  }
  Eigen::internal::ptranspose(block);
#pragma GCC unroll 16
  for (int c = 0; c < V::kLanes; ++c) V(block.packet[c]).store(to + c * to_stride);
}

/// a * b + c, in one rounding where the instruction set has it.
template <class S>
Vec<S> fma(Vec<S> a, Vec<S> b, Vec<S> c) {
  return Vec<S>(Eigen::internal::pmadd(a.packet, b.packet, c.packet));
}

// A NaN in `a` comes through: the bound is never NaN.
template <class S>
Vec<S> at_least(Vec<S> a, S bound) {
  return Vec<S>(Eigen::internal::pmax(a.packet, Vec<S>(bound).packet));
}
template <class S>
Vec<S> at_most(Vec<S> a, S bound) {
  return Vec<S>(Eigen::internal::pmin(a.packet, Vec<S>(bound).packet));
}

/// The larger of each two lanes (where one is NaN, either), and the largest of all lanes.
template <class S>
Vec<S> larger(Vec<S> a, Vec<S> b) {
  return Vec<S>(Eigen::internal::pmax(a.packet, b.packet));
}
template <class S>
S highest_lane(Vec<S> a) {
  return Eigen::internal::predux_max(a.packet);
}

template <class S>
S sum_of_lanes(Vec<S> a) {
  return Eigen::internal::predux(a.packet);
}

template <class S>
Vec<S> absolute(Vec<S> a) {
  return Vec<S>(Eigen::internal::pabs(a.packet));
}
/// `magnitude`, which is not negative, with the sign bit of `sign`.
template <class S>
Vec<S> with_sign_of(Vec<S> magnitude, Vec<S> sign) {
  using namespace Eigen::internal;
  return Vec<S>(por(magnitude.packet, pand(sign.packet, Vec<S>(S(-0.0)).packet)));
}

/// `value` in the lanes where a > bound (below: a < bound), else 0.
template <class S>
Vec<S> where_above(Vec<S> a, S bound, Vec<S> value) {
  using namespace Eigen::internal;
  return Vec<S>(pand(pcmp_lt(Vec<S>(bound).packet, a.packet), value.packet));
}
template <class S>
Vec<S> where_below(Vec<S> a, S bound, Vec<S> value) {
  using namespace Eigen::internal;
  return Vec<S>(pand(pcmp_lt(a.packet, Vec<S>(bound).packet), value.packet));
}
/// `value` in the lanes where a <= bound, else, and where `a` is NaN, `otherwise`.
template <class S>
Vec<S> select_at_most(Vec<S> a, S bound, Vec<S> value, Vec<S> otherwise) {
  using namespace Eigen::internal;
  return Vec<S>(pselect(pcmp_le(a.packet, Vec<S>(bound).packet), value.packet, otherwise.packet));
}

}  // namespace bptt
