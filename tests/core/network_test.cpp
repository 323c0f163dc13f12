// The core without Python: an LSTM against its equations, gradients against central differences,
// and the same bits for any number of threads. For platforms on which the package's tests cannot
// run.

#include "core/network.hpp"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "core/activations.hpp"
#include "core/cells/cell_kind.hpp"
#include "core/parallel/lease.hpp"
#include "core/parallel/thread_limit.hpp"

namespace {

using namespace bptt;

constexpr Index kBatch = 3, kSteps = 5, kInput = 4, kHidden = 7, kLayers = 2;
const Index kLengths[] = {5, 2, 4};

int failures = 0;

void check(bool holds, const char* what, double value = 0.0) {
  std::printf("%s  %s  %.3g\n", holds ? "ok  " : "FAIL", what, value);
  failures += !holds;
}

template <class S>
std::vector<S> draw(Index size, unsigned seed) {
  std::mt19937 generator(seed);
  std::vector<S> values(static_cast<std::size_t>(size));
  for (S& value : values)
    value = static_cast<S>(static_cast<double>(generator()) / 4294967296.0 - 0.5);
  return values;
}

template <class S>
Sequence<S> batch_first(S* data, Index steps, Index features) {
  return {data, steps * features, features, 1};
}

LayerConfig lstm(Index input, Index hidden, Index layers) {
  LayerConfig config;
  config.cell = CellKind::kLstm;
  config.activations = {Activation::kTanh, GateActivation::kSigmoid};
  config.input_size = input;
  config.hidden_size = hidden;
  config.num_layers = layers;
  return config;
}

template <class S>
struct Run {
  std::vector<S> y, h, c, d_x, d_h0, d_c0, d_parameters;
};

/// Forward and backward of the loss sum(y * d_y).
template <class S>
Run<S> run(const LayerConfig& config, const std::vector<S>& parameters, const std::vector<S>& x,
           const std::vector<S>& d_y, const RaggedBatch& batch) {
  const Index rows = batch.size(), steps = batch.steps(), hidden = config.h_size();
  const auto size = [](Index n) { return static_cast<std::size_t>(n); };
  Run<S> r;
  r.y.resize(size(rows * steps * hidden));
  r.h.resize(size(config.num_layers * rows * hidden));
  r.c.resize(size(config.num_layers * rows * config.hidden_size));
  r.d_h0 = r.h;
  r.d_c0 = r.c;
  r.d_x.resize(x.size());
  r.d_parameters.resize(parameters.size());
  const Network<S> network(config, parameters.data(), true);
  Saved<S> saved(batch, 0);
  LayerInput<S> input;
  input.values = batch_first(x.data(), steps, config.input_size);
  network.forward({.batch = &saved.batch,
                   .x = input,
                   .y = batch_first(r.y.data(), steps, hidden),
                   .initial = {},
                   .last = {r.h.data(), r.c.data()}},
                  saved);
  NetworkBackward<S> call{.saved = &saved,
                          .x = input,
                          .y = batch_first<const S>(r.y.data(), steps, hidden),
                          .d_y = batch_first<const S>(d_y.data(), steps, hidden),
                          .d_last = {},
                          .d_x = batch_first(r.d_x.data(), steps, config.input_size),
                          .d_initial = {r.d_h0.data(), r.d_c0.data()},
                          .d_parameters = r.d_parameters.data(),
                          .d_h_steps = {},
                          .d_c_steps = {}};
  network.backward(call);
  return r;
}

double loss(const std::vector<double>& y, const std::vector<double>& d_y) {
  double sum = 0.0;
  for (std::size_t i = 0; i < y.size(); ++i) sum += y[i] * d_y[i];
  return sum;
}

/// The equations of one layer, one sequence at a time.
std::vector<double> equations(const std::vector<double>& p, const std::vector<double>& x) {
  const auto at = [](Index i) { return static_cast<std::size_t>(i); };
  std::vector<double> y(at(kBatch * kSteps * kHidden), 0.0);
  const double* const recurrent = p.data() + 4 * kHidden * kInput;
  const double* const bias = recurrent + 4 * kHidden * kHidden;
  for (Index b = 0; b < kBatch; ++b) {
    std::vector<double> h(kHidden, 0.0), c(kHidden, 0.0), a(4 * kHidden);
    for (Index t = 0; t < kLengths[b]; ++t) {
      for (Index r = 0; r < 4 * kHidden; ++r) {
        double sum = bias[r];
        for (Index i = 0; i < kInput; ++i) {
          sum += p[at(r * kInput + i)] * x[at((b * kSteps + t) * kInput + i)];
        }
        for (Index k = 0; k < kHidden; ++k) sum += recurrent[r * kHidden + k] * h[at(k)];
        a[at(r)] = sum;
      }
      const auto sigmoid = [](double v) { return 1.0 / (1.0 + std::exp(-v)); };
      for (Index k = 0; k < kHidden; ++k) {
        c[at(k)] = sigmoid(a[at(kHidden + k)]) * c[at(k)] +
                   sigmoid(a[at(k)]) * std::tanh(a[at(2 * kHidden + k)]);
        h[at(k)] = sigmoid(a[at(3 * kHidden + k)]) * std::tanh(c[at(k)]);
        y[at((b * kSteps + t) * kHidden + k)] = h[at(k)];
      }
    }
  }
  return y;
}

void test_equations() {
  const LayerConfig config = lstm(kInput, kHidden, 1);
  const auto p = draw<double>(parameter_count(config), 1);
  const auto x = draw<double>(kBatch * kSteps * kInput, 2);
  const auto d_y = draw<double>(kBatch * kSteps * kHidden, 3);
  const RaggedBatch batch(kBatch, kSteps, kLengths);
  const auto expected = equations(p, x);
  const auto found = run(config, p, x, d_y, batch);
  double worst = 0.0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    worst = std::max(worst, std::abs(found.y[i] - expected[i]));
  }
  check(worst < 1e-14, "equations, float64", worst);
  const std::vector<float> p32(p.begin(), p.end()), x32(x.begin(), x.end());
  const std::vector<float> d32(d_y.begin(), d_y.end());
  const auto single = run(config, p32, x32, d32, batch);
  worst = 0.0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    worst = std::max(worst, std::abs(static_cast<double>(single.y[i]) - expected[i]));
  }
  check(worst < 1e-6, "equations, float32", worst);
}

void test_central_differences(Index proj_size) {
  LayerConfig config = lstm(kInput, kHidden, kLayers);
  config.proj_size = proj_size;
  auto p = draw<double>(parameter_count(config), 4);
  auto x = draw<double>(kBatch * kSteps * kInput, 5);
  const auto d_y = draw<double>(kBatch * kSteps * config.h_size(), 6);
  const RaggedBatch batch(kBatch, kSteps, kLengths);
  const auto gradients = run(config, p, x, d_y, batch);
  const auto worst = [&](std::vector<double>& values, const std::vector<double>& found) {
    constexpr double kStep = 1e-6;
    double largest = 0.0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double value = values[i];
      values[i] = value + kStep;
      const double above = loss(run(config, p, x, d_y, batch).y, d_y);
      values[i] = value - kStep;
      const double below = loss(run(config, p, x, d_y, batch).y, d_y);
      values[i] = value;
      largest = std::max(largest, std::abs((above - below) / (2 * kStep) - found[i]));
    }
    return largest;
  };
  const double of_parameters = worst(p, gradients.d_parameters);
  check(of_parameters < 1e-8, "central differences, parameters", of_parameters);
  const double of_input = worst(x, gradients.d_x);
  check(of_input < 1e-8, "central differences, input", of_input);
}

void test_threads(Index proj_size) {
  constexpr Index batch_size = 40, steps = 30, input = 32, hidden = 96;
  LayerConfig config = lstm(input, hidden, 2);
  config.proj_size = proj_size;
  const auto p = draw<float>(parameter_count(config), 7);
  const auto x = draw<float>(batch_size * steps * input, 8);
  const auto d_y = draw<float>(batch_size * steps * config.h_size(), 9);
  const RaggedBatch batch(batch_size, steps);
  const auto same = [](const std::vector<float>& a, const std::vector<float>& b) {
    return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
  };
  set_thread_limit(1);
  const auto expected = run(config, p, x, d_y, batch);
  for (const int threads : {2, 3, 8}) {
    set_thread_limit(threads);
    const auto found = run(config, p, x, d_y, batch);
    check(same(found.y, expected.y) && same(found.c, expected.c) && same(found.d_x, expected.d_x) &&
              same(found.d_parameters, expected.d_parameters),
          "the same bits with threads", threads);
  }
}

}  // namespace

int main() {
  set_oversubscription(true);  // 8 threads on every machine
  start_engines();
  test_equations();
  test_central_differences(0);
  test_central_differences(5);
  test_threads(0);
  test_threads(41);
  return failures != 0;
}
