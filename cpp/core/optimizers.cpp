#include "core/optimizers.hpp"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "core/buffer.hpp"
#include "core/parallel/blocks.hpp"
#include "core/shrink.hpp"

namespace bptt {
namespace {

constexpr Index kBlockElements = (Index{1} << 15) / kShrink;

/// visit(block, range) for blocks of a flat array; `touched` of its elements take about so many
/// operations. A moment may be denormal, and is not flushed.
template <class Visit>
void for_each_part(Index count, Index touched, double operations, const Visit& visit) {
  for_each_range(count, kBlockElements, {operations * static_cast<double>(touched), false}, visit);
}

/// A range of elements and the gradient of its first one; null where the gradient is 0.
template <class S>
struct Run {
  Range range;
  const S* g;
};

/// The elements from `at` on that lie together in the gradient, up to `last`. `id` is the first of
/// the ids whose row ends after `at`, and moves on with it.
template <class S>
Run<S> run_from(const Gradient<S>& gradient, const std::int32_t*& id, Index at, Index last) {
  if (!gradient.sparse) return {{at, last}, gradient.values + at};
  if (id == gradient.ids + gradient.rows) return {{at, last}, nullptr};
  const Index begin = *id * gradient.width, end = begin + gradient.width;
  if (at < begin) return {{at, std::min(begin, last)}, nullptr};
  const Index row = id - gradient.ids;
  if (end <= last) ++id;
  return {{at, std::min(end, last)}, gradient.values + row * gradient.width + (at - begin)};
}

/// visit(range, g) for the runs of `own`.
template <class S, class Visit>
void for_each_run(const Gradient<S>& gradient, Range own, const Visit& visit) {
  const std::int32_t* id =
      std::lower_bound(gradient.ids, gradient.ids + gradient.rows, own.first / gradient.width);
  for (Index at = own.first; at < own.last;) {
    const Run<S> run = run_from(gradient, id, at, own.last);
    visit(run.range, run.g);
    at = run.range.last;
  }
}

/// Which elements an update changes.
enum class Touches { kAll, kRowsWithGradient };

/// update(range, g) for all elements of a flat array or for those with a gradient, where g[0] is
/// the gradient of the first element of the range. Zeros and scaled values are written to a tile
/// first: one loop computes the update in every case, so that its bits are always the same.
template <class S, class Update>
void for_each_tile(Index count, const Gradient<S>& gradient, Touches touches, double operations,
                   const Update& update) {
  constexpr Index kTile = 1024 / kShrink;
  const bool skip_zeros = touches == Touches::kRowsWithGradient;
  const Index touched = skip_zeros && gradient.sparse ? gradient.rows * gradient.width : count;
  for_each_part(count, touched, operations, [&](Index, Range own) {
    alignas(64) S tile[kTile];
    for_each_run(gradient, own, [&](Range run, const S* g) {
      if (g == nullptr && skip_zeros) return;
      const bool direct = g != nullptr && gradient.scale == S(1);
      if (g == nullptr) std::fill_n(tile, std::min(kTile, run.size()), S(0));
      const Index size = direct ? run.size() : kTile;
      for (Index at = run.first; at < run.last; at += size) {
        const Range part{at, std::min(run.last, at + size)};
        const S* const from = g == nullptr ? nullptr : g + (at - run.first);
        if (from != nullptr && !direct) {
          for (Index i = 0; i < part.size(); ++i) tile[i] = from[i] * gradient.scale;
        }
        update(part, direct ? from : tile);
      }
    });
  });
}

}  // namespace

template <class S>
void sgd_step(Index count, S* p, const Gradient<S>& gradient, S* v, const SgdOptions& options) {
  const S rate = static_cast<S>(options.learning_rate), keep = static_cast<S>(options.momentum);
  const S decay = static_cast<S>(options.weight_decay);
  const bool moves = v != nullptr || options.weight_decay != 0;  // without a gradient
  for_each_tile(count, gradient, moves ? Touches::kAll : Touches::kRowsWithGradient, 10,
                [=, nesterov = options.nesterov](Range own, const S* g) {
                  if (v == nullptr) {
                    for (Index i = own.first; i < own.last; ++i) {
                      p[i] -= rate * (g[i - own.first] + decay * p[i]);
                    }
                    return;
                  }
                  for (Index i = own.first; i < own.last; ++i) {
                    const S slope = g[i - own.first] + decay * p[i];
                    v[i] = keep * v[i] + slope;
                    p[i] -= rate * (nesterov ? slope + keep * v[i] : v[i]);
                  }
                });
}

template <class S>
void rmsprop_step(Index count, S* p, const Gradient<S>& gradient, S* s, S* v,
                  const RmsPropOptions& options) {
  const S rate = static_cast<S>(options.learning_rate), keep = static_cast<S>(options.momentum);
  const S old_share = static_cast<S>(options.decay), new_share = static_cast<S>(1 - options.decay);
  const S epsilon = static_cast<S>(options.epsilon);
  for_each_tile(count, gradient, Touches::kAll, 15, [=](Range own, const S* g) {
    // One loop for each case: clang vectorizes none with the condition inside.
    const auto each = [=](auto has_momentum) {
      for (Index i = own.first; i < own.last; ++i) {
        const S slope = g[i - own.first];
        s[i] = old_share * s[i] + new_share * slope * slope;
        S u = slope / (std::sqrt(s[i]) + epsilon);
        if constexpr (has_momentum.value) u = v[i] = keep * v[i] + u;
        p[i] -= rate * u;
      }
    };
    v != nullptr ? each(std::true_type()) : each(std::false_type());
  });
}

template <class S>
void adam_step(Index count, S* p, const Gradient<S>& gradient, S* m, S* v,
               const AdamOptions& options, Index step) {
  const double t = static_cast<double>(step);
  const S rate = static_cast<S>(options.learning_rate / (1 - std::pow(options.beta1, t)));
  const S root = static_cast<S>(1 / std::sqrt(1 - std::pow(options.beta2, t)));
  const S keep1 = static_cast<S>(options.beta1), new1 = static_cast<S>(1 - options.beta1);
  const S keep2 = static_cast<S>(options.beta2), new2 = static_cast<S>(1 - options.beta2);
  const S epsilon = static_cast<S>(options.epsilon);
  const S keep = static_cast<S>(1 - options.learning_rate * options.weight_decay);
  for_each_tile(count, gradient, options.lazy ? Touches::kRowsWithGradient : Touches::kAll, 15,
                [=](Range own, const S* g) {
                  for (Index i = own.first; i < own.last; ++i) {
                    const S slope = g[i - own.first];
                    m[i] = keep1 * m[i] + new1 * slope;
                    v[i] = keep2 * v[i] + new2 * slope * slope;
                    p[i] = keep * p[i] - rate * m[i] / (std::sqrt(v[i]) * root + epsilon);
                  }
                });
}

namespace {

/// The sum of squares of a block of elements. Which partial sum an element is added to depends on
/// its place alone: zeros between the rows of a sparse gradient change no bit.
template <class S>
double sum_of_squares_of(const Gradient<S>& gradient, Range own) {
  constexpr Index kPartial = 8;  // independent sums, so that the additions overlap
  double sums[kPartial] = {};
  const auto add_square = [](double& sum, S value) {
    const double x = static_cast<double>(value);
    sum += x * x;
  };
  const Index whole = own.last - own.size() % kPartial;
  S rest[kPartial] = {};  // from `whole` on
  for_each_run(gradient, own, [&](Range run, const S* g) {
    if (g == nullptr) return;
    const S* const a = g - run.first;
    const Index last = std::min(run.last, whole);
    Index i = run.first;
    for (; i < last && (i - own.first) % kPartial != 0; ++i) {
      add_square(sums[(i - own.first) % kPartial], a[i]);
    }
    for (; i + kPartial <= last; i += kPartial) {
      for (Index j = 0; j < kPartial; ++j) add_square(sums[j], a[i + j]);
    }
    for (; i < last; ++i) add_square(sums[(i - own.first) % kPartial], a[i]);
    for (; i < run.last; ++i) rest[i - whole] = a[i];
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  for (const S value : rest) add_square(total, value);
  return total;
}

}  // namespace

template <class S>
double sum_of_squares(Index count, const Gradient<S>& gradient) {
  Arena& arena = scratch();
  const Arena::Scope scope(arena);
  const Index blocks = (count + kBlockElements - 1) / kBlockElements;
  double* const sums = arena.allocate<double>(blocks);
  for_each_part(count, gradient.sparse ? gradient.rows * gradient.width : count, 10,
                [&](Index block, Range own) { sums[block] = sum_of_squares_of(gradient, own); });
  double total = 0;
  for (Index block = 0; block < blocks; ++block) total += sums[block];
  return total;
}

template <class S>
void clip(Index count, S* a, double limit) {
  const S high = static_cast<S>(limit);
  for_each_part(count, count, 10, [=](Index, Range own) {
    for (Index i = own.first; i < own.last; ++i) {
      a[i] = a[i] > high ? high : a[i] < -high ? -high : a[i];
    }
  });
}

template <class S>
void scale(Index count, S* a, double factor) {
  const S by = static_cast<S>(factor);
  for_each_part(count, count, 10, [=](Index, Range own) {
    for (Index i = own.first; i < own.last; ++i) a[i] *= by;
  });
}

#define BPTT_INSTANTIATE(S)                                                                  \
  template void sgd_step(Index, S*, const Gradient<S>&, S*, const SgdOptions&);              \
  template void rmsprop_step(Index, S*, const Gradient<S>&, S*, S*, const RmsPropOptions&);  \
  template void adam_step(Index, S*, const Gradient<S>&, S*, S*, const AdamOptions&, Index); \
  template double sum_of_squares(Index, const Gradient<S>&);                                 \
  template void clip(Index, S*, double);                                                     \
  template void scale(Index, S*, double);
BPTT_INSTANTIATE(float)
BPTT_INSTANTIATE(double)
#undef BPTT_INSTANTIATE

}  // namespace bptt
