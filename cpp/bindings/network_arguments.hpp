#pragma once

#include <array>
#include <memory>
#include <string>
#include <utility>

#include "bindings/arrays.hpp"
#include "core/activations.hpp"
#include "core/linear.hpp"
#include "core/merge.hpp"
#include "core/network.hpp"

// What the functions of network.cpp take: names of kinds, capsules, sequences, states.

namespace bptt {

// ---- names of kinds

template <class Kind>
using Name = std::pair<const char*, Kind>;

/// The kind of that name, from a range of Name<Kind>.
template <class Names>
auto kind_of(const char* what, const std::string& name, const Names& names) {
  std::string known;
  for (const auto& [candidate, kind] : names) {
    if (name == candidate) return kind;
    known += std::string(known.empty() ? "'" : ", '") + candidate + "'";
  }
  throw py::value_error(std::string(what) + " must be one of " + known + ", got '" + name + "'");
}

inline std::vector<Name<CellKind>> cell_names() {
  std::vector<Name<CellKind>> names;
  names.reserve(cell_infos().size());
  for (const CellInfo& info : cell_infos()) {
    names.emplace_back(info.name, static_cast<CellKind>(names.size()));
  }
  return names;
}
constexpr Name<Activation> kActivations[] = {{"tanh", Activation::kTanh},
                                             {"sigmoid", Activation::kSigmoid},
                                             {"relu", Activation::kRelu},
                                             {"identity", Activation::kIdentity}};
constexpr Name<GateActivation> kGateActivations[] = {
    {"sigmoid", GateActivation::kSigmoid},
    {"hard_sigmoid", GateActivation::kHardSigmoid},
    {"hard_sigmoid_keras2", GateActivation::kHardSigmoidKeras2}};
constexpr Name<Merge> kMerges[] = {
    {"concat", Merge::kConcat}, {"sum", Merge::kSum}, {"mean", Merge::kMean}, {"mul", Merge::kMul}};

constexpr Name<Storage> kStorages[] = {{"bfloat16", Storage::kBfloat16}, {"int8", Storage::kInt8}};

/// The array, or an empty one for None.
template <class S>
Dense<S> optional_scales(py::handle scales) {
  return scales.is_none() ? Dense<S>() : Dense<S>(require_float_array<S>(scales, "scales"));
}

/// Weights in full for None, or else of a kind, with the scales of this many rows.
template <class S>
Compression<S> require_compression(py::handle storage, const Dense<S>& scales, Index rows) {
  if (storage.is_none()) return {};
  if (sizeof(S) != sizeof(float)) {
    throw py::type_error("weights of fewer bits must be of float32, got float64");
  }
  const Storage kind = kind_of("storage", storage.cast<std::string>(), kStorages);
  if (kind != Storage::kInt8) return {.storage = kind};
  require_shape(scales, "scales", "(rows,)", {rows});
  return {.storage = kind, .scales = scales.data()};
}

// ---- capsules, one for each dtype

template <class S>
const char* capsule_name(const Network<S>*) {
  return sizeof(S) == 4 ? "bptt.Network.float32" : "bptt.Network.float64";
}
inline const char* capsule_name(const CompressedLinear<float>*) { return "bptt.CompressedLinear"; }
template <class S>
const char* capsule_name(const Saved<S>*) {
  return sizeof(S) == 4 ? "bptt.Saved.float32" : "bptt.Saved.float64";
}

template <class T>
py::capsule encapsulate(std::unique_ptr<T> object) {
  py::capsule capsule(object.get(), capsule_name(object.get()), [](PyObject* owner) {
    delete static_cast<T*>(PyCapsule_GetPointer(owner, PyCapsule_GetName(owner)));
  });
  object.release();  // the capsule's
  return capsule;
}

template <class T>
const T* unwrap(py::handle capsule) {
  const char* const name = capsule_name(static_cast<const T*>(nullptr));
  if (!PyCapsule_IsValid(capsule.ptr(), name)) return nullptr;
  return static_cast<const T*>(PyCapsule_GetPointer(capsule.ptr(), name));
}

/// Calls visit(object) with the float32 or float64 object behind a capsule.
template <template <class> class T, class Visit>
auto visit_capsule(py::handle capsule, Visit visit) {
  if (const auto* object = unwrap<T<float>>(capsule)) return visit(*object);
  if (const auto* object = unwrap<T<double>>(capsule)) return visit(*object);
  throw py::type_error("expected a capsule made by this module's pack or forward");
}

// ---- arguments

/// The input of a call with its batch and steps; keeps the arrays alive. Token ids are read by
/// `read_ids`, once it is known which of them are padding.
template <class S>
struct Input {
  LayerInput<S> x;
  Index batch = 0, steps = 0;
  py::array owner;
  py::object decay;
  bool is_ids = false, is_step = false;
};

inline const char* input_name(bool step) { return step ? "x_t" : "x"; }

inline const char* axes(const LayerConfig& config, bool step) {
  return step ? "batch" : config.time_major ? "steps, batch" : "batch, steps";
}

template <class S>
Input<S> ids_input(const LayerConfig& config, const py::array& a, bool step) {
  // (T,) is one sequence; with a single step (B,) is a batch of ids.
  if (a.ndim() != 1 && (step || a.ndim() != 2)) {
    throw py::value_error(std::string(input_name(step)) + " as token ids must have shape (" +
                          axes(config, step) + (step ? ",)" : ") or (steps,)") + ", got " +
                          shape_text(shape_of(a)));
  }
  Input<S> input;
  input.owner = a;
  input.is_ids = true;
  input.is_step = step;
  if (a.ndim() == 1) {
    input.batch = step ? a.shape(0) : 1;
    input.steps = step ? 1 : a.shape(0);
  } else {
    input.batch = a.shape(config.time_major ? 1 : 0);
    input.steps = a.shape(config.time_major ? 0 : 1);
  }
  return input;
}

template <class S>
void read_ids(Input<S>& input, const LayerConfig& config, const RaggedBatch& batch) {
  if (!input.is_ids) return;
  const auto ids = require_ids(input.owner, "token ids", "input_size", config.input_size, batch,
                               input.is_step || !config.time_major);
  input.x.ids = {ids.data(), batch.steps(), 1, 1};
  input.owner = ids;
}

inline std::vector<Index> sequence_shape(const LayerConfig& config, Index batch, Index steps,
                                         Index features) {
  if (config.time_major) return {steps, batch, features};
  return {batch, steps, features};
}

/// The factors (batch, steps, directions*P) that h of layer 0 decays with, of a network with times.
template <class S>
void read_decay(Input<S>& input, const LayerConfig& config, py::handle decay) {
  if (decay.is_none() != (config.decay_size == 0)) {
    throw py::value_error(std::string("decay must be given if and only if decay_size > 0, got ") +
                          type_text(decay) +
                          " with decay_size = " + std::to_string(config.decay_size));
  }
  if (decay.is_none()) return;
  const char* const symbols =
      config.time_major ? "(steps, batch, directions*P)" : "(batch, steps, directions*P)";
  const auto factors = require_dense<S>(
      decay, "decay", symbols,
      sequence_shape(config, input.batch, input.steps, config.directions() * config.h_size()));
  input.x.decay = sequence_view(factors.data(), factors, config.time_major);
  input.decay = factors;
}

template <class S>
Input<S> require_input(const LayerConfig& config, py::handle x, bool step) {
  const py::array any = require_array(x, input_name(step));
  if (is_integer_array(any)) {
    if (config.decay_size > 0) {
      throw py::type_error(std::string(input_name(step)) + " must have dtype " + dtype_name<S>() +
                           ": its last decay_size features are times, got " + dtype_text(any));
    }
    return ids_input<S>(config, any, step);
  }
  const auto a =
      require_float_array<S>(any, input_name(step), " as the layer (or integers as token ids)");
  const int rank = step ? 2 : 3;
  if (a.ndim() != rank || a.shape(rank - 1) != config.input_size) {
    throw py::value_error(std::string(input_name(step)) + " must have shape (" +
                          axes(config, step) + ", input_size) with input_size = " +
                          std::to_string(config.input_size) + ", got " + shape_text(shape_of(a)));
  }
  Input<S> input;
  input.owner = a;
  if (step) {
    const Index item = a.itemsize();
    input.batch = a.shape(0);
    input.steps = 1;
    input.x.values = {a.data(), a.strides(0) / item, 0, a.strides(1) / item};
  } else {
    input.batch = a.shape(config.time_major ? 1 : 0);
    input.steps = a.shape(config.time_major ? 0 : 1);
    input.x.values = sequence_view(a.data(), a, config.time_major);
  }
  return input;
}

/// Arrays (layers*directions, batch, P or H), h before those of the memory; any of them may be
/// missing and then means 0.
template <class S>
struct State {
  std::array<std::optional<Dense<S>>, kMaxStates> arrays;
  States<const S> data() const {
    States<const S> states{};
    for (std::size_t i = 0; i < kMaxStates; ++i) {
      const std::optional<Dense<S>>& array = arrays[i];
      if (array) states[i] = array->data();
    }
    return states;
  }
};

constexpr const char* kStateNames[kMaxStates] = {"h", "c", "n", "m"};

/// "state of an LSTM must be a pair (h, c) of arrays"
inline std::string state_rule(const std::string& name, int states) {
  const bool pair = states == 2;
  std::string names;
  for (int i = 0; i < states; ++i) names += std::string(i > 0 ? ", " : "") + kStateNames[i];
  return name + " of an " + (pair ? "LSTM must be a pair (" : "SLSTM must be a tuple (") + names +
         ") of arrays";
}

inline std::vector<Index> state_shape(const LayerConfig& config, Index batch, std::size_t state) {
  return {config.num_layers * config.directions(), batch, config.state_size(state)};
}

template <class S>
State<S> require_state(const LayerConfig& config, Index batch, py::handle state, const char* name) {
  State<S> result;
  if (state.is_none()) return result;
  const auto part = [&](py::handle value, const std::string& part_name,
                        std::size_t i) -> std::optional<Dense<S>> {
    if (value.is_none()) return std::nullopt;
    const char* const symbols = i == 0 && config.proj_size > 0
                                    ? "(num_layers*directions, batch, proj_size)"
                                    : "(num_layers*directions, batch, hidden_size)";
    return require_dense<S>(value, part_name, symbols, state_shape(config, batch, i));
  };
  const auto states = static_cast<std::size_t>(cell_info(config.cell).states());
  if (states == 1) {
    result.arrays[0] = part(state, name, 0);
    return result;
  }
  const bool sequence = py::isinstance<py::tuple>(state) || py::isinstance<py::list>(state);
  if (!sequence || py::len(state) != states) {
    throw py::type_error(state_rule(name, static_cast<int>(states)) + ", got " + type_text(state) +
                         (sequence ? " of " + std::to_string(py::len(state)) : ""));
  }
  const auto all = py::reinterpret_borrow<py::sequence>(state);
  for (std::size_t i = 0; i < states; ++i) {
    result.arrays[i] = part(py::object(all[i]), std::string(name) + "." + kStateNames[i], i);
  }
  return result;
}

/// New, uninitialized arrays for the states that a call returns.
template <class S>
struct NewState {
  NewState(const LayerConfig& config, Index batch)
      : arrays(static_cast<std::size_t>(cell_info(config.cell).states())) {
    for (std::size_t i = 0; i < arrays.size(); ++i) {
      Dense<S> array(state_shape(config, batch, i));
      data[i] = array.mutable_data();
      arrays[i] = array;
    }
  }

  py::tuple arrays;
  States<S> data{};
};

}  // namespace bptt
