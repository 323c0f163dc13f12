#include "core/crf.hpp"

#include "bindings/arrays.hpp"
#include "bindings/gil.hpp"

namespace {

using namespace py::literals;

/// The checked arrays of a call.
template <class S>
struct Chains {
  Dense<S> emissions, transitions, start, end;
  std::optional<std::vector<Index>> lengths;

  Chains(py::handle x, py::handle pairs, py::handle first, py::handle last, py::handle given)
      : emissions(require_float_array<S>(x, "emissions")) {
    if (emissions.ndim() != 3 || emissions.shape(2) == 0) {
      throw py::value_error(
          "emissions must have shape (batch, steps, labels) with labels >= 1, got " +
          shape_text(shape_of(emissions)));
    }
    const Index labels = emissions.shape(2);
    transitions = require_dense<S>(pairs, "transitions", "(labels, labels)", {labels, labels});
    start = require_dense<S>(first, "start", "(labels,)", {labels});
    end = require_dense<S>(last, "end", "(labels,)", {labels});
    lengths = require_lengths(given, emissions.shape(0), emissions.shape(1));
  }

  bptt::CrfInput<S> input() const {
    return {.batch = emissions.shape(0),
            .steps = emissions.shape(1),
            .labels = emissions.shape(2),
            .emissions = emissions.data(),
            .transitions = transitions.data(),
            .start = start.data(),
            .end = end.data(),
            .lengths = lengths ? lengths->data() : nullptr};
  }
  bptt::RaggedBatch ragged() const {
    const Index batch = emissions.shape(0), steps = emissions.shape(1);
    return lengths ? bptt::RaggedBatch(batch, steps, lengths->data())
                   : bptt::RaggedBatch(batch, steps);
  }
};

/// Labels as int32, -1 where they are not known.
Dense<std::int32_t> require_labels(py::handle targets, py::handle known,
                                   const bptt::RaggedBatch& batch, Index labels) {
  const py::array a = require_array(targets, "targets");
  require_shape(a, "targets", "(batch, steps)", {batch.size(), batch.steps()});
  auto ids = require_ids(a, "targets", "num_labels", labels, batch);
  if (known.is_none()) return ids;
  const Dense<bool> mask(require_array(known, "mask"));
  require_shape(mask, "mask", "(batch, steps)", {batch.size(), batch.steps()});
  std::int32_t* const each = ids.mutable_data();
  for (Index i = 0; i < ids.size(); ++i) each[i] = mask.data()[i] ? each[i] : -1;
  return ids;
}

template <class S>
py::tuple crf_loss(const Chains<S>& given, py::handle targets, py::handle known, py::handle weights,
                   double divisor, py::handle d_transitions, py::handle d_start, py::handle d_end) {
  const bptt::CrfInput<S> in = given.input();
  const auto labels = require_labels(targets, known, given.ragged(), in.labels);
  std::optional<Dense<double>> w;
  if (!weights.is_none()) w = require_dense<double>(weights, "weights", "(batch,)", {in.batch});
  bptt::CrfGradients<S> d{};
  d.transitions =
      gradient_data<S>(d_transitions, "d_transitions", "(labels, labels)", {in.labels, in.labels});
  d.start = gradient_data<S>(d_start, "d_start", "(labels,)", {in.labels});
  d.end = gradient_data<S>(d_end, "d_end", "(labels,)", {in.labels});
  py::object d_emissions = py::none();
  if (d.transitions != nullptr && d.start != nullptr && d.end != nullptr) {
    Dense<S> array = new_array<S>({in.batch, in.steps, in.labels});
    d.emissions = array.mutable_data();
    d_emissions = std::move(array);
  }
  Dense<double> losses({in.batch});
  double* const each = losses.mutable_data();
  const bptt::CrfTargets wanted{labels.data(), w ? w->data() : nullptr, divisor};
  double value = 0;
  run_without_gil([&] { value = bptt::crf_loss<S>(in, wanted, each, d); });
  return py::make_tuple(value, losses, d_emissions);
}

template <class S>
py::array crf_marginals(const Chains<S>& given) {
  const bptt::CrfInput<S> in = given.input();
  Dense<S> probabilities = new_array<S>({in.batch, in.steps, in.labels});
  S* const p = probabilities.mutable_data();
  run_without_gil([&] { bptt::crf_marginals<S>(in, p); });
  return probabilities;
}

template <class S>
py::array crf_viterbi(const Chains<S>& given) {
  const bptt::CrfInput<S> in = given.input();
  Dense<std::int32_t> labels({in.batch, in.steps});
  std::int32_t* const path = labels.mutable_data();
  run_without_gil([&] { bptt::crf_viterbi<S>(in, path); });
  return labels;
}

/// Calls visit(arrays) in the dtype of the emissions.
template <class Visit>
py::object with_chains(py::handle emissions, py::handle transitions, py::handle start,
                       py::handle end, py::handle lengths, Visit visit) {
  return visit_float_dtype(require_array(emissions, "emissions"), "emissions",
                           [&](auto zero) -> py::object {
                             using S = decltype(zero);
                             return visit(Chains<S>(emissions, transitions, start, end, lengths));
                           });
}

}  // namespace

void register_crf(py::module_& m) {
  m.def(
      "crf_loss",
      [](const py::object& emissions, const py::object& transitions, const py::object& start,
         const py::object& end, const py::object& lengths, const py::object& targets,
         const py::object& mask, const py::object& weights, double divisor,
         const py::object& d_transitions, const py::object& d_start, const py::object& d_end) {
        return with_chains(emissions, transitions, start, end, lengths, [&](const auto& given) {
          return crf_loss(given, targets, mask, weights, divisor, d_transitions, d_start, d_end);
        });
      },
      "emissions"_a, "transitions"_a, "start"_a, "end"_a, "lengths"_a, "targets"_a, "mask"_a,
      "weights"_a, "divisor"_a, "d_transitions"_a, "d_start"_a, "d_end"_a);
  m.def(
      "crf_marginals",
      [](const py::object& emissions, const py::object& transitions, const py::object& start,
         const py::object& end, const py::object& lengths) {
        return with_chains(emissions, transitions, start, end, lengths,
                           [](const auto& given) { return crf_marginals(given); });
      },
      "emissions"_a, "transitions"_a, "start"_a, "end"_a, "lengths"_a);
  m.def(
      "crf_viterbi",
      [](const py::object& emissions, const py::object& transitions, const py::object& start,
         const py::object& end, const py::object& lengths) {
        return with_chains(emissions, transitions, start, end, lengths,
                           [](const auto& given) { return crf_viterbi(given); });
      },
      "emissions"_a, "transitions"_a, "start"_a, "end"_a, "lengths"_a);
}
