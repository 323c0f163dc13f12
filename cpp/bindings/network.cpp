#include "bindings/gil.hpp"
#include "bindings/network_arguments.hpp"
#include "core/recompute.hpp"

namespace {

using namespace bptt;
using namespace py::literals;

/// The layer's configuration from Python: a dict with the names of LayerConfig's fields.
LayerConfig read_config(const py::dict& config) {
  const auto text = [&](const char* key) { return config[key].cast<std::string>(); };
  const auto size = [&](const char* key) { return config[key].cast<Index>(); };
  const auto real = [&](const char* key) { return config[key].cast<double>(); };
  const auto flag = [&](const char* key) { return config[key].cast<bool>(); };
  return {.cell = kind_of("cell", text("cell"), cell_names()),
          .activations = {.cell = kind_of("activation", text("activation"), kActivations),
                          .gate = kind_of("gate_activation", text("gate_activation"),
                                          kGateActivations)},
          .input_size = size("input_size"),
          .decay_size = size("decay_size"),
          .hidden_size = size("hidden_size"),
          .proj_size = size("proj_size"),
          .num_heads = size("num_heads"),
          .num_layers = size("num_layers"),
          .bidirectional = flag("bidirectional"),
          .merge = kind_of("merge", text("merge"), kMerges),
          .dropout = real("dropout"),
          .zoneout = real("zoneout"),
          .recurrent_dropout = real("recurrent_dropout"),
          .time_major = flag("time_major")};
}

/// What the compiled cells say of themselves, by name.
py::dict cell_table() {
  py::dict table;
  for (const CellInfo& cell : cell_infos()) {
    table[cell.name] =
        py::dict("gates"_a = cell.gates, "states"_a = cell.states(),
                 "has_bias_hn"_a = cell.separate_recurrent, "has_gains"_a = cell.normalized,
                 "unit_weights"_a = cell.unit_weights);
  }
  return table;
}

py::capsule pack(const py::dict& layer, const py::array& parameters, bool training,
                 const py::object& storage, const py::object& scales) {
  const LayerConfig config = read_config(layer);
  return visit_float_dtype(parameters, "parameters", [&](auto zero) {
    using S = decltype(zero);
    const auto flat =
        require_dense<S>(parameters, "parameters", "(parameter_count,)", {parameter_count(config)});
    const S* const data = flat.data();
    const Dense<S> factors = optional_scales<S>(scales);
    const Index rows = config.num_layers * config.directions() * weight_rows(config);
    const Compression<S> compression = require_compression<S>(storage, factors, rows);
    if (training && compression.storage != Storage::kFull) {
      throw py::value_error("a network packed with training=True needs weights in full");
    }
    std::unique_ptr<Network<S>> network;
    {
      const ReleaseGil release;
      network = std::make_unique<Network<S>>(config, data, training, compression);
    }
    return encapsulate(std::move(network));
  });
}

/// What inference and training take: the input, the steps of its rows and the initial state.
template <class S>
struct Arguments {
  Input<S> input;
  RaggedBatch batch;
  State<S> initial;

  Arguments(const LayerConfig& config, py::handle x, py::handle decay, py::handle lengths,
            py::handle state)
      : input(require_input<S>(config, x, false)),
        batch(require_batch(lengths, input.batch, input.steps)) {
    read_ids(input, config, batch);
    read_decay(input, config, decay);
    initial = require_state<S>(config, input.batch, state, "state");
  }

 private:
  static RaggedBatch require_batch(py::handle lengths, Index size, Index steps) {
    const auto ragged = require_lengths(lengths, size, steps);
    return ragged ? RaggedBatch(size, steps, ragged->data()) : RaggedBatch(size, steps);
  }
};

/// The new arrays that forward fills.
template <class S>
struct Outputs {
  Dense<S> y;
  NewState<S> last;

  Outputs(const LayerConfig& config, Index batch, Index steps)
      : y(sequence_shape(config, batch, steps, config.output_size())), last(config, batch) {}
};

template <class S>
NetworkForward<S> forward_call(const LayerConfig& config, const Arguments<S>& arguments,
                               Outputs<S>& outputs) {
  return {.batch = &arguments.batch,
          .x = arguments.input.x,
          .y = sequence_view(outputs.y.mutable_data(), outputs.y, config.time_major),
          .initial = arguments.initial.data(),
          .last = outputs.last.data};
}

template <class S>
py::tuple infer(const Network<S>& network, py::handle x, py::handle lengths, py::handle state,
                py::handle decay) {
  const LayerConfig& config = network.config();
  const Arguments<S> arguments(config, x, decay, lengths, state);
  Outputs<S> outputs(config, arguments.input.batch, arguments.input.steps);
  const NetworkForward<S> call = forward_call(config, arguments, outputs);
  run_without_gil([&] { network.infer(call); });
  return py::make_tuple(outputs.y, outputs.last.arrays);
}

template <class S>
py::tuple forward(const Network<S>& network, py::handle x, py::handle lengths, py::handle state,
                  py::handle dropout_key, Index recompute_every, py::handle decay) {
  const LayerConfig& config = network.config();
  const Arguments<S> arguments(config, x, decay, lengths, state);
  if (!network.training()) {
    throw py::value_error("forward for training needs a network packed with training=True");
  }
  Outputs<S> outputs(config, arguments.input.batch, arguments.input.steps);
  const NetworkForward<S> call = forward_call(config, arguments, outputs);
  std::optional<std::uint64_t> key;
  if (!dropout_key.is_none()) key = dropout_key.cast<std::uint64_t>();
  auto saved = std::make_unique<Saved<S>>(arguments.batch, key);
  run_without_gil([&] {
    recompute_every > 0 ? forward_recompute(network, call, recompute_every, *saved)
                        : network.forward(call, *saved);
  });
  return py::make_tuple(outputs.y, outputs.last.arrays, encapsulate(std::move(saved)));
}

/// A zeroed array (count, batch, steps, features), and each of its `count` sequences.
template <class S>
std::pair<Dense<S>, std::vector<Sequence<S>>> zeroed_sequences(const LayerConfig& config,
                                                               const RaggedBatch& batch,
                                                               Index count, Index features) {
  std::vector<Index> shape = sequence_shape(config, batch.size(), batch.steps(), features);
  const Index size = shape[0] * shape[1] * shape[2];
  const Index outer = shape[1] * shape[2], inner = shape[2];
  shape.insert(shape.begin(), count);
  Dense<S> all(shape);
  std::fill_n(all.mutable_data(), all.size(), S(0));
  std::vector<Sequence<S>> sequences;
  sequences.reserve(static_cast<std::size_t>(count));
  for (Index i = 0; i < count; ++i) {
    sequences.push_back({all.mutable_data() + i * size, config.time_major ? inner : outer,
                         config.time_major ? outer : inner, 1});
  }
  return {all, sequences};
}

template <class S>
Dense<S> zeroed_sequence(const LayerConfig& config, const RaggedBatch& batch, Index features) {
  Dense<S> all(sequence_shape(config, batch.size(), batch.steps(), features));
  std::fill_n(all.mutable_data(), all.size(), S(0));
  return all;
}

template <class S>
const Saved<S>& saved_of(const Network<S>&, py::handle capsule) {
  if (const auto* const saved = unwrap<Saved<S>>(capsule)) return *saved;
  throw py::type_error("saved must be a capsule that forward of this network returned");
}

/// The input of the forward call that has saved, given once more.
template <class S>
Input<S> require_input_again(const LayerConfig& config, const RaggedBatch& batch, py::handle x,
                             py::handle decay) {
  Input<S> input = require_input<S>(config, x, false);
  if (input.batch != batch.size() || input.steps != batch.steps()) {
    throw py::value_error("x must be the input of the forward call that saved");
  }
  read_ids(input, config, batch);
  read_decay(input, config, decay);
  return input;
}

/// A new array for the gradient of x, if it is wanted and x is dense; else none.
template <class S>
std::optional<Dense<S>> input_gradient(const LayerConfig& config, const Input<S>& input,
                                       bool wanted) {
  if (!wanted || !input.x.values) return std::nullopt;
  return Dense<S>(sequence_shape(config, input.batch, input.steps, config.input_size));
}

/// The array, or None.
template <class T>
py::object or_none(const std::optional<T>& array) {
  return array ? py::object(*array) : py::none();
}

template <class S>
py::tuple backward(const Network<S>& network, py::handle saved_capsule, py::handle x, py::handle y,
                   py::handle d_output, py::handle d_state, bool steps, bool wants_input,
                   py::handle decay) {
  const LayerConfig& config = network.config();
  const Saved<S>& saved = saved_of(network, saved_capsule);
  const RaggedBatch& batch = saved.batch;
  const Input<S> input = require_input_again<S>(config, batch, x, decay);
  const auto output_shape =
      sequence_shape(config, batch.size(), batch.steps(), config.output_size());
  const char* const symbols =
      config.time_major ? "(steps, batch, output_size)" : "(batch, steps, output_size)";
  const auto require_output = [&](py::handle value, const char* name) {
    auto array = require_float_array<S>(value, name);
    require_shape(array, name, symbols, output_shape);
    return array;
  };
  const auto output = require_output(y, "output");
  std::optional<py::array_t<S>> d_y;
  if (!d_output.is_none()) d_y = require_output(d_output, "d_output");
  const State<S> d_last = require_state<S>(config, batch.size(), d_state, "d_state");

  NewState<S> d_initial(config, batch.size());
  Dense<S> d_parameters(network.parameter_count());
  std::optional<Dense<S>> d_x = input_gradient(config, input, wants_input);
  std::optional<Dense<S>> d_h_steps, d_c_steps, d_decay;
  std::vector<Sequence<S>> d_h_views, d_c_views;
  if (steps) {
    const Index count = config.num_layers * config.directions();
    std::tie(d_h_steps, d_h_views) = zeroed_sequences<S>(config, batch, count, config.h_size());
    if (cell_info(config.cell).memory > 0) {
      std::tie(d_c_steps, d_c_views) =
          zeroed_sequences<S>(config, batch, count, config.hidden_size);
    }
  }
  if (input.x.decay) {
    d_decay = Dense<S>(
        sequence_shape(config, batch.size(), batch.steps(), config.directions() * config.h_size()));
  }
  const NetworkBackward<S> call{
      .saved = &saved,
      .x = input.x,
      .y = sequence_view(output.data(), output, config.time_major),
      .d_y = d_y ? sequence_view(d_y->data(), *d_y, config.time_major) : Sequence<const S>{},
      .d_last = d_last.data(),
      .d_x = d_x ? sequence_view(d_x->mutable_data(), *d_x, config.time_major) : Sequence<S>{},
      .d_initial = d_initial.data,
      .d_parameters = d_parameters.mutable_data(),
      .d_h_steps = std::move(d_h_views),
      .d_c_steps = std::move(d_c_views),
      .d_decay = d_decay ? sequence_view(d_decay->mutable_data(), *d_decay, config.time_major)
                         : Sequence<S>{}};
  run_without_gil([&] { backward_recompute(network, call); });
  return py::make_tuple(or_none(d_x), d_initial.arrays, d_parameters, or_none(d_h_steps),
                        or_none(d_c_steps), or_none(d_decay));
}

// ---- what forward has kept

/// read(batch, kept, first step) of one layer and direction, for every segment of steps.
template <class S, class Read>
void for_each_kept(const Network<S>& network, const Saved<S>& saved, py::handle x, py::handle decay,
                   Index layer, bool reverse, Read read) {
  const Input<S> input = require_input_again<S>(network.config(), saved.batch, x, decay);
  run_without_gil([&] {
    for_each_segment(network, saved, input.x, [&](const Saved<S>& segment, Sequence<const S>) {
      const auto& kept = segment.layers[static_cast<std::size_t>(layer)];
      read(segment.batch, kept.directions[reverse ? 1 : 0], segment.first_step);
    });
  });
}

template <class S>
py::array gates(const Network<S>& network, py::handle saved_capsule, py::handle x, Index layer,
                bool reverse, py::handle decay) {
  const LayerConfig& config = network.config();
  const Saved<S>& saved = saved_of(network, saved_capsule);
  const auto& direction = network.direction(layer, reverse ? 1 : 0);
  const Index columns = direction.saved_columns();
  const auto zeroed = zeroed_sequences<S>(config, saved.batch, columns, config.hidden_size);
  for_each_kept(network, saved, x, decay, layer, reverse,
                [&](const RaggedBatch& batch, const DirectionSaved<S>& kept, Index first) {
                  for (Index column = 0; column < columns; ++column) {
                    const auto& all = zeroed.second[static_cast<std::size_t>(column)];
                    direction.read_gates(batch, reverse, kept, column, all.from_step(first));
                  }
                });
  return zeroed.first;
}

template <class S>
py::array cells(const Network<S>& network, py::handle saved_capsule, py::handle x, Index layer,
                bool reverse, py::handle decay) {
  const LayerConfig& config = network.config();
  const Saved<S>& saved = saved_of(network, saved_capsule);
  auto all = zeroed_sequence<S>(config, saved.batch, config.hidden_size);
  const auto to = sequence_view(all.mutable_data(), all, config.time_major);
  const auto& direction = network.direction(layer, reverse ? 1 : 0);
  for_each_kept(network, saved, x, decay, layer, reverse,
                [&](const RaggedBatch& batch, const DirectionSaved<S>& kept, Index first) {
                  direction.read_cells(batch, reverse, kept, to.from_step(first));
                });
  return all;
}

template <class S>
py::array dropout_mask(const Network<S>& network, py::handle saved_capsule, Index layer) {
  const LayerConfig& config = network.config();
  const Saved<S>& saved = saved_of(network, saved_capsule);
  const Index batch = saved.batch.size(), steps = saved.batch.steps();
  const Index features = config.output_size();
  Dense<S> all(sequence_shape(config, batch, steps, features));
  const auto rows = sequence_view(all.mutable_data(), all, config.time_major);
  const DropoutMask mask = network.dropout_mask(saved, layer);
  for (Index t = 0; t < steps; ++t) {
    for (Index b = 0; b < batch; ++b) {
      mask.factors((t * batch + b) * features, features, rows.row(b, t));
    }
  }
  return all;
}

/// The factors of recurrent dropout of one layer and direction, (B, P).
template <class S>
py::array recurrent_dropout_mask(const Network<S>& network, py::handle saved_capsule, Index layer,
                                 bool reverse) {
  const Saved<S>& saved = saved_of(network, saved_capsule);
  const Index batch = saved.batch.size(), h_size = network.config().h_size();
  Dense<S> all(std::vector<Index>{batch, h_size});
  network.regularization(&saved, layer, reverse ? 1 : 0)
      .dropout_mask()
      .factors(0, batch * h_size, all.mutable_data());
  return all;
}

/// The masks of zoneout of one layer and direction: of h, (B, T, P), and of the memory, (B, T, H);
/// 0 in the padding.
template <class S>
py::tuple zoneout_mask(const Network<S>& network, py::handle saved_capsule, Index layer,
                       bool reverse) {
  const LayerConfig& config = network.config();
  const Saved<S>& saved = saved_of(network, saved_capsule);
  const RaggedBatch& batch = saved.batch;
  const Regularization of = network.regularization(&saved, layer, reverse ? 1 : 0);
  py::tuple masks(cell_info(config.cell).memory > 0 ? 2 : 1);
  for (std::size_t state = 0; state < masks.size(); ++state) {
    const DropoutMask mask = of.zoneout_mask(static_cast<int>(state));
    const Index units = config.state_size(state);
    auto all = zeroed_sequence<S>(config, batch, units);
    const auto to = sequence_view(all.mutable_data(), all, config.time_major);
    batch.for_each_row(0, batch.longest(), [&](Index slot, Index s) {
      const Index row = batch.row(slot);
      mask.factors((s * batch.size() + row) * units, units,
                   to.row(row, batch.time(slot, s, reverse)));
    });
    masks[state] = all;
  }
  return masks;
}

}  // namespace

void register_network(py::module_& m) {
  m.def("cell_table", &cell_table);
  m.def(
      "parameter_count",
      [](const py::dict& config) { return parameter_count(read_config(config)); }, "config"_a);
  m.def("pack", &pack, "config"_a, "parameters"_a, "training"_a, "storage"_a = py::none(),
        "scales"_a = py::none());
  m.def(
      "infer",
      [](const py::capsule& network, const py::object& x, const py::object& lengths,
         const py::object& state, const py::object& decay) {
        return visit_capsule<Network>(
            network, [&](const auto& n) { return infer(n, x, lengths, state, decay); });
      },
      "network"_a, "x"_a, "lengths"_a, "state"_a, "decay"_a = py::none());
  m.def(
      "forward",
      [](const py::capsule& network, const py::object& x, const py::object& lengths,
         const py::object& state, const py::object& dropout_key, Index recompute_every,
         const py::object& decay) {
        return visit_capsule<Network>(network, [&](const auto& n) {
          return forward(n, x, lengths, state, dropout_key, recompute_every, decay);
        });
      },
      "network"_a, "x"_a, "lengths"_a, "state"_a, "dropout_key"_a, "recompute_every"_a,
      "decay"_a = py::none());
  m.def(
      "backward",
      [](const py::capsule& network, const py::capsule& saved, const py::object& x,
         const py::object& y, const py::object& d_output, const py::object& d_state, bool steps,
         bool input, const py::object& decay) {
        return visit_capsule<Network>(network, [&](const auto& n) {
          return backward(n, saved, x, y, d_output, d_state, steps, input, decay);
        });
      },
      "network"_a, "saved"_a, "x"_a, "y"_a, "d_output"_a, "d_state"_a, "steps"_a, "input"_a,
      "decay"_a = py::none());
  m.def(
      "gates",
      [](const py::capsule& network, const py::capsule& saved, const py::object& x, Index layer,
         bool reverse, const py::object& decay) {
        return visit_capsule<Network>(
            network, [&](const auto& n) { return gates(n, saved, x, layer, reverse, decay); });
      },
      "network"_a, "saved"_a, "x"_a, "layer"_a, "reverse"_a, "decay"_a = py::none());
  m.def(
      "cells",
      [](const py::capsule& network, const py::capsule& saved, const py::object& x, Index layer,
         bool reverse, const py::object& decay) {
        return visit_capsule<Network>(
            network, [&](const auto& n) { return cells(n, saved, x, layer, reverse, decay); });
      },
      "network"_a, "saved"_a, "x"_a, "layer"_a, "reverse"_a, "decay"_a = py::none());
  m.def(
      "dropout_mask",
      [](const py::capsule& network, const py::capsule& saved, Index layer) {
        return visit_capsule<Network>(network,
                                      [&](const auto& n) { return dropout_mask(n, saved, layer); });
      },
      "network"_a, "saved"_a, "layer"_a);
  m.def(
      "recurrent_dropout_mask",
      [](const py::capsule& network, const py::capsule& saved, Index layer, bool reverse) {
        return visit_capsule<Network>(network, [&](const auto& n) {
          return recurrent_dropout_mask(n, saved, layer, reverse);
        });
      },
      "network"_a, "saved"_a, "layer"_a, "reverse"_a);
  m.def(
      "zoneout_mask",
      [](const py::capsule& network, const py::capsule& saved, Index layer, bool reverse) {
        return visit_capsule<Network>(
            network, [&](const auto& n) { return zoneout_mask(n, saved, layer, reverse); });
      },
      "network"_a, "saved"_a, "layer"_a, "reverse"_a);
}
