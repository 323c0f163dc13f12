#pragma once

#include <cstddef>
#include <cstdint>

// Dimension legend, the same in every file of the core:
//   B batch rows, T time steps, I input features, H hidden units, G gates per unit,
//   P units of h_t: those of a projection, or else H,
//   W units in one packet (SIMD lanes), D features of a layer's output.

namespace bptt {

using Index = std::ptrdiff_t;

// The values are defined where they are used: cells/cell_kind.hpp, activations.hpp, merge.hpp. What
// only passes them on is not rebuilt when one is added.
enum class CellKind : int;
enum class Activation : int;
enum class GateActivation : int;
enum class Merge : int;

/// phi and sigma of the cell equations, chosen by the user, the same for all layers.
struct Activations {
  Activation cell{};
  GateActivation gate{};
};

/// What a stack of recurrent layers computes.
struct LayerConfig {
  CellKind cell{};
  Activations activations;
  Index input_size = 0;   // I
  Index decay_size = 0;   // the last of them, which the weights do not see: h decays by them
  Index hidden_size = 0;  // H
  Index proj_size = 0;    // P of a cell whose h is projected, which reads h_{t-1} through W alone
  Index num_heads = 1;    // blocks on the diagonal that the recurrent weights consist of
  Index num_layers = 1;
  bool bidirectional = false;
  Merge merge{};                   // of the two directions
  double dropout = 0.0;            // the fraction of values between layers that training drops
  double zoneout = 0.0;            // the fraction of the states' units that keep their values
  double recurrent_dropout = 0.0;  // the fraction of h that training drops before W
  bool time_major = false;

  Index directions() const { return bidirectional ? 2 : 1; }
  /// Whether the directions are combined into P features instead of being concatenated.
  bool merges() const { return bidirectional && merge != Merge{}; }
  Index h_size() const { return proj_size > 0 ? proj_size : hidden_size; }  // P
  /// Units of h (0), or of a state of the memory.
  Index state_size(std::size_t state) const { return state == 0 ? h_size() : hidden_size; }
  Index output_size() const { return bidirectional && !merges() ? 2 * h_size() : h_size(); }
  /// What the input weights of a layer see.
  Index layer_input_size(Index layer) const {
    return layer == 0 ? input_size - decay_size : output_size();
  }
};

/// A (batch, step, feature) array of the caller, used in place with its strides (in elements).
template <class T>
struct Sequence {
  T* data = nullptr;
  Index batch_stride = 0;
  Index step_stride = 0;
  Index feature_stride = 1;

  T* row(Index batch, Index step) const { return data + batch * batch_stride + step * step_stride; }
  Sequence features_from(Index first) const {
    return {data == nullptr ? nullptr : data + first * feature_stride, batch_stride, step_stride,
            feature_stride};
  }
  Sequence from_step(Index step) const {
    return {data == nullptr ? nullptr : data + step * step_stride, batch_stride, step_stride,
            feature_stride};
  }
  explicit operator bool() const { return data != nullptr; }
};

template <class T>
Sequence<const T> read_only(const Sequence<T>& s) {
  return {s.data, s.batch_stride, s.step_stride, s.feature_stride};
}

}  // namespace bptt
