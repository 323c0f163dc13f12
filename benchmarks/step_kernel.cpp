// The core's step without Python, for benchmarks/step.py: CMake's option BPTT_STEP_BENCHMARK.

#include <cstring>
#include <random>
#include <vector>

#include "core/activations.hpp"
#include "core/cells/cell_kind.hpp"
#include "core/network.hpp"
#include "core/parallel/lease.hpp"

namespace {

using namespace bptt;

std::vector<float> draw(Index count) {
  std::mt19937 generator(0);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) {
    value = static_cast<float>(static_cast<double>(generator()) / 4294967296.0 - 0.5) * 0.2F;
  }
  return values;
}

LayerConfig config_of(const char* cell, Index inputs, Index units) {
  LayerConfig config;
  int kind = 0;
  while (std::strcmp(cell_infos()[static_cast<std::size_t>(kind)].name, cell) != 0) ++kind;
  config.cell = static_cast<CellKind>(kind);
  config.activations = {Activation::kTanh, GateActivation::kSigmoid};
  config.input_size = inputs;
  config.hidden_size = units;
  return config;
}

struct Stream {
  Stream(const char* cell, Index inputs, Index units)
      : config(config_of(cell, inputs, units)),
        network(config, draw(parameter_count(config)).data(), false),
        states(static_cast<std::size_t>(cell_info(config.cell).states())),
        memory(states * static_cast<std::size_t>(units)) {}

  void step(const float* x, float* y) {
    const RaggedBatch row(1, 1);
    NetworkForward<float> call{.batch = &row,
                               .x = {.values = {x, config.input_size, 0, 1}, .ids = {}},
                               .y = {.data = y, .batch_stride = config.hidden_size},
                               .initial = {},
                               .last = {}};
    for (std::size_t i = 0; i < states; ++i) {
      call.initial[i] = call.last[i] =
          memory.data() + i * static_cast<std::size_t>(config.hidden_size);
    }
    network.infer(call);
  }

  LayerConfig config;
  Network<float> network;
  std::size_t states;
  std::vector<float> memory;
};

}  // namespace

#define BPTT_EXPORT extern "C" __attribute__((visibility("default")))

/// A layer with random weights, and its state. It lives as long as the process.
BPTT_EXPORT void* step_kernel_make(const char* cell, long inputs, long units) {
  static const bool started = (start_engines(), true);
  return started ? new Stream(cell, inputs, units) : nullptr;
}

/// Steps from the state that the last call has left.
BPTT_EXPORT void step_kernel_run(void* stream, const float* x, long steps, float* y) {
  auto& of = *static_cast<Stream*>(stream);
  for (long t = 0; t < steps; ++t)
    of.step(x + t * of.config.input_size, y + t * of.config.hidden_size);
}
