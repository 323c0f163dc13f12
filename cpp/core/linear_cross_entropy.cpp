#include "core/linear_cross_entropy.hpp"

#include <algorithm>
#include <cmath>

#include "core/bias.hpp"
#include "core/buffer.hpp"
#include "core/gemm.hpp"
#include "core/gemm_grouped.hpp"
#include "core/parallel/blocks.hpp"
#include "core/parallel/parts.hpp"
#include "core/shrink.hpp"
#include "core/softmax_rows.hpp"

// With few classes, threads take blocks of rows: logits, loss and gradients of a block are computed
// while it is in cache, and the gradients of the weight, one for each group of blocks, are added in
// the end. With many classes, rows are taken in chunks, one after the other, and threads take
// blocks of classes: first logits, with what each block contributes to the softmax; then gradients.
// Groups, chunks and blocks depend on shapes alone. The products of few classes are Eigen's; those
// of many are our own, whose operands are packed once: x for all blocks and for two products, the
// gradients of the logits of a block for two.

namespace bptt {
namespace {

constexpr Index kManyClasses = 512 / kShrink;

/// What a block of classes contributes to the softmax of a row.
template <class S>
struct Moments {
  Index width;
  S highest;
  double exponentials;  // sum of exp(logit - highest)
  double logits;        // sum of logit - highest, for label smoothing
};

/// The gradient of a row: exp(logit - highest) * scale - every, and for the target `own` less.
template <class S>
struct RowGradient {
  S highest, scale, every, own;
};

template <class S>
class LinearCrossEntropy {
 public:
  LinearCrossEntropy(const std::vector<LossRow<S>>& rows, const OutputLayer<S>& layer,
                     const CrossEntropyOptions& options, S* d_weight, S* d_bias)
      : rows_(rows),
        in_(layer.in),
        out_(layer.out),
        weight_(layer.weight),
        bias_(layer.bias),
        divisor_(options.divisor),
        q_(options.smoothing, layer.out),
        d_weight_(d_weight),
        d_bias_(d_bias) {}

  double run() {
    if (count() == 0) {
      if (d_weight_ != nullptr) std::fill_n(d_weight_, out_ * in_, S(0));
      if (d_bias_ != nullptr) std::fill_n(d_bias_, out_, S(0));
      return 0;
    }
    out_ < kManyClasses ? by_rows() : by_classes();
    double total = 0;
    for (const LossRow<S>& row : rows_) total += *row.loss;
    return total / divisor_;
  }

 private:
  /// What the gradients of a block of classes are written or added to; d_bias may be null.
  struct Sums {
    S* d_weight;
    S* d_bias;
    bool add;
    S* d_x;
    bool add_x;
  };

  // ---- few classes

  void by_rows() {
    constexpr Index kGroupRows = 160 / kShrink, kBlockRows = 256 / kShrink;
    constexpr Index kBytes = Index{16} << 20;
    const Index weights = out_ * in_, bytes = weights * static_cast<Index>(sizeof(S));
    const Parts groups(count(), std::max(kGroupRows, count() * bytes / kBytes));
    const Index sums = d_weight_ == nullptr ? 0 : groups.size() - 1;
    Buffer<S> d_weights(sums * weights), d_biases(d_bias_ == nullptr ? 0 : sums * out_);
    const double products = d_weight_ == nullptr ? 1 : 3;
    for_each_block(groups.size(), {products * product_cost(count())}, [&](Index group) {
      const auto own_sum = [group](S* first, Buffer<S>& others, Index size) {
        return group == 0 || first == nullptr ? first : others.data() + (group - 1) * size;
      };
      S* const d_w = own_sum(d_weight_, d_weights, weights);
      S* const d_b = own_sum(d_bias_, d_biases, out_);
      const Range own = groups[group];
      for (Index first = own.first; first < own.last; first += kBlockRows) {
        block_of_rows({first, std::min(first + kBlockRows, own.last)}, d_w, d_b, first > own.first);
      }
    });
    add_sums(d_weights.data(), sums, weights, d_weight_);
    if (d_bias_ != nullptr) add_sums(d_biases.data(), sums, out_, d_bias_);
  }

  void block_of_rows(Range rows, S* d_w, S* d_b, bool add) {
    Arena& arena = scratch();
    const Arena::Scope scope(arena);
    const Index n = rows.size();
    const S* const x = gather(rows, arena.allocate<S>(n * in_));
    S* const logits = arena.allocate<S>(n * out_);
    auto* const gradients = arena.allocate<RowGradient<S>>(n);
    multiply_by_transposed<S>({x, n, in_, in_}, {weight_, out_, in_, in_}, {logits, n, out_, out_});
    if (bias_ != nullptr) add_bias(bias_, n, out_, out_, logits);
    for (Index r = 0; r < n; ++r) {
      const S* const row = logits + r * out_;
      const Moments<S> moments = moments_of(row, out_);
      const LossRow<S>& of = row_of(rows.first + r);
      gradients[r] = finish(of, &moments, 1, row[of.target]);
      predict(of, row, {0, out_}, moments.highest);
    }
    if (d_weight_ == nullptr) return;
    S* const d_x = arena.allocate<S>(n * in_);
    if (d_b != nullptr && !add) std::fill_n(d_b, out_, S(0));
    differentiate(rows, {0, n}, {0, out_}, gradients, logits, logits, d_b);
    multiply_transposed<S>({logits, n, out_, out_}, {x, n, in_, in_}, {d_w, out_, in_, in_}, add);
    multiply<S>({logits, n, out_, out_}, {weight_, out_, in_, in_}, {d_x, n, in_, in_});
    for (Index r = 0; r < n; ++r) std::copy_n(d_x + r * in_, in_, row_of(rows.first + r).d_x);
  }

  /// to += each of `number` arrays, in order.
  static void add_sums(const S* sums, Index number, Index size, S* to) {
    constexpr Index kBlock = Index{1} << 13;
    if (number == 0) return;
    for_each_range(size, kBlock, {2.0 * static_cast<double>(number * size)}, [&](Index, Range own) {
      for (Index i = 0; i < number; ++i) {
        const S* const from = sums + i * size;
        for (Index j = own.first; j < own.last; ++j) to[j] += from[j];
      }
    });
  }

  // ---- many classes

  using Gemm = GemmTn<S>;

  void by_classes() {
    constexpr Index kLogitBytes = (Index{32} << 20) / (kShrink * kShrink);
    constexpr Index kLeastRows = 128 / kShrink;
    const Index row_bytes = out_ * static_cast<Index>(sizeof(S));
    const Index fitting = std::max(kLeastRows, kLogitBytes / row_bytes);
    const int chunks = static_cast<int>((count() + fitting - 1) / fitting);
    const Index most = (count() + chunks - 1) / chunks;
    const OutputBlocks blocks(out_);
    Buffer<S> x_memory(Gemm::right_size(in_, most)), logits(most * out_);
    Buffer<S> d_x(d_weight_ == nullptr ? 0 : groups_of(blocks) * most * in_);
    Buffer<Moments<S>> moments(most * blocks.size());
    Buffer<RowGradient<S>> gradients(most);
    for (int i = 0; i < chunks; ++i) {
      const Range rows = part_of(count(), i, chunks);
      S* const x = x_memory.data();
      for_each_range(rows.size(), 64, {2.0 * static_cast<double>(rows.size() * in_)},
                     [&](Index, Range own) {
                       Gemm::pack_right([&](Index r) { return row_of(rows.first + r).x; }, 1, in_,
                                        own, rows.size(), x);
                     });
      forward_chunk(rows, x, blocks, logits.data(), moments.data());
      finish_chunk(rows, blocks, logits.data(), moments.data(), gradients.data());
      if (d_weight_ != nullptr) {
        backward_chunk(rows, x, blocks, gradients.data(), logits.data(), i > 0, d_x.data());
      }
    }
  }

  static int groups_of(const OutputBlocks& blocks) {
    return static_cast<int>(std::min<Index>(blocks.size(), 16));
  }

  void forward_chunk(Range rows, const S* x, const OutputBlocks& blocks, S* logits,
                     Moments<S>* moments) const {
    const Index n = rows.size();
    for_each_block(blocks.size(), {product_cost(n)}, [&](Index block) {
      Arena& arena = scratch();
      const Arena::Scope scope(arena);
      const Range k = blocks[block];
      const Index width = k.size();
      S* const weight = arena.allocate<S>(Gemm::right_size(width, in_));
      S* const own = logits + n * k.first;
      pack_right_transposed(weight_ + k.first * in_, in_, width, in_, weight);
      multiply_grouped<S, Gemm::kPanelColumns>(x, n, in_, weight, width, own, width, false);
      if (bias_ != nullptr) add_bias(bias_ + k.first, n, width, width, own);
      for (Index r = 0; r < n; ++r) {
        moments[r * blocks.size() + block] = moments_of(own + r * width, width);
      }
    });
  }

  void finish_chunk(Range rows, const OutputBlocks& blocks, const S* logits,
                    const Moments<S>* moments, RowGradient<S>* gradients) {
    constexpr double kOperations = 50;  // of a block
    const Index n = rows.size(), number = blocks.size();
    for_each_range(n, 32, {kOperations * static_cast<double>(n * number)}, [&](Index, Range own) {
      for (Index r = own.first; r < own.last; ++r) {
        const LossRow<S>& of = row_of(rows.first + r);
        const auto row_in = [&](Range k) { return logits + n * k.first + r * k.size(); };
        Index of_target = 0, of_highest = 0;
        const Moments<S>* const each = moments + r * number;
        for (Index b = 1; b < number; ++b) {
          if (blocks[b].first <= of.target) of_target = b;
          if (each[b].highest > each[of_highest].highest) of_highest = b;
        }
        const Range k = blocks[of_target];
        gradients[r] = finish(of, each, number, row_in(k)[of.target - k.first]);
        predict(of, row_in(blocks[of_highest]), blocks[of_highest], gradients[r].highest);
      }
    });
  }

  void backward_chunk(Range rows, const S* x, const OutputBlocks& blocks,
                      const RowGradient<S>* gradients, const S* logits, bool add, S* d_x) const {
    const Index n = rows.size();
    const int groups = groups_of(blocks);
    for_each_block(groups, {2 * product_cost(n)}, [&](Index group) {
      const Range own = part_of(blocks.size(), static_cast<int>(group), groups);
      for (Index b = own.first; b < own.last; ++b) {
        const Range k = blocks[b];
        block_of_classes(
            x, rows, k, gradients, logits + n * k.first,
            {d_weight_ + k.first * in_, d_bias_ == nullptr ? nullptr : d_bias_ + k.first, add,
             d_x + group * n * in_, b > own.first});
      }
    });
    for_each_range(n, 16, {static_cast<double>(groups * n * in_)}, [&](Index, Range own) {
      for (Index r = own.first; r < own.last; ++r) {
        S* const to = row_of(rows.first + r).d_x;
        std::copy_n(d_x + r * in_, in_, to);
        for (Index group = 1; group < groups; ++group) {
          const S* const from = d_x + (group * n + r) * in_;
          for (Index j = 0; j < in_; ++j) to[j] += from[j];
        }
      }
    });
  }

  /// The gradients of a block of classes. x is packed.
  void block_of_classes(const S* x, Range rows, Range classes, const RowGradient<S>* gradients,
                        const S* logits, const Sums& to) const {
    constexpr Index kRowsAtOnce = 8;  // still in L1 when they are packed
    Arena& arena = scratch();
    const Arena::Scope scope(arena);
    const Index n = rows.size(), width = classes.size();
    if (to.d_bias != nullptr && !to.add) std::fill_n(to.d_bias, width, S(0));
    S* const d = arena.allocate<S>(Gemm::left_size(width, n));
    S* const d_rows = arena.allocate<S>(kRowsAtOnce * width);
    for (Index first = 0; first < n; first += kRowsAtOnce) {
      const Range some{first, std::min(first + kRowsAtOnce, n)};
      differentiate(rows, some, classes, gradients, logits, d_rows, to.d_bias);
      Gemm::pack_left(d_rows - first * width, width, width, some, n, d);
    }
    S** const d_weight = arena.allocate<S*>(width);
    for (Index k = 0; k < width; ++k) d_weight[k] = to.d_weight + k * in_;
    Gemm::run(d, x, n, {0, Gemm::tiles(width)}, width, in_, d_weight, to.add);
    S* const weight = arena.allocate<S>(Gemm::right_size(in_, width));
    Gemm::pack_right([&](Index k) { return weight_ + (classes.first + k) * in_; }, 1, in_,
                     {0, width}, width, weight);
    multiply_grouped<S, Gemm::kTileColumns>(d, n, width, weight, in_, to.d_x, in_, to.add_x);
  }

  // ---- both

  Index count() const { return static_cast<Index>(rows_.size()); }
  const LossRow<S>& row_of(Index i) const { return rows_[static_cast<std::size_t>(i)]; }

  /// Operations of one product and what is done with each logit.
  double product_cost(Index rows) const {
    constexpr double kElementOperations = 20;
    return (2.0 * static_cast<double>(in_) + kElementOperations) * static_cast<double>(rows) *
           static_cast<double>(out_);
  }

  /// x of these rows without gaps: in place, or copied to `memory`.
  const S* gather(Range rows, S* memory) const {
    const S* const first = row_of(rows.first).x;
    Index r = 1;
    while (r < rows.size() && row_of(rows.first + r).x == first + r * in_) ++r;
    if (r == rows.size()) return first;
    for (r = 0; r < rows.size(); ++r) {
      std::copy_n(row_of(rows.first + r).x, in_, memory + r * in_);
    }
    return memory;
  }

  Moments<S> moments_of(const S* logits, Index width) const {
    const S highest = highest_of(logits, width);
    // Not shifted by -inf: the sum of a block without probability is 0, not NaN.
    const S shift = std::isinf(highest) && highest < 0 ? S(0) : highest;
    return {width, highest, sum_of_exponentials(logits, width, shift),
            q_.every > 0 ? shifted_sum(logits, width, shift) : 0};
  }

  /// Combines the blocks of a row, writes its loss and returns its gradient.
  RowGradient<S> finish(const LossRow<S>& row, const Moments<S>* blocks, Index number,
                        S own_logit) const {
    S highest = blocks[0].highest;
    for (Index b = 1; b < number; ++b) highest = std::max(highest, blocks[b].highest);
    double sum = 0, logits = 0;
    for (Index b = 0; b < number; ++b) {
      const double below = static_cast<double>(blocks[b].highest) - static_cast<double>(highest);
      sum += blocks[b].exponentials * std::exp(below);
      logits += blocks[b].logits + static_cast<double>(blocks[b].width) * below;
    }
    const double own = static_cast<double>(own_logit) - static_cast<double>(highest);
    double loss = std::log(sum) - q_.own * own;
    if (q_.every > 0) loss -= q_.every * logits;
    *row.loss = row.weight * loss;
    const double weight = row.weight / divisor_;
    return {highest, static_cast<S>(weight / sum), static_cast<S>(weight * q_.every),
            static_cast<S>(weight * q_.own)};
  }

  /// Writes the first class with the highest logit, which is among `classes`.
  static void predict(const LossRow<S>& row, const S* logits, Range classes, S highest) {
    const S* const found = std::find(logits, logits + classes.size() - 1, highest);
    *row.predicted = static_cast<std::int32_t>(classes.first + (found - logits));
  }

  /// Writes the gradients of the logits of some of the rows to `d`, which begins with the first of
  /// them and may be the logits, and adds these to d_bias.
  void differentiate(Range rows, Range some, Range classes, const RowGradient<S>* gradients,
                     const S* logits, S* d, S* d_bias) const {
    const Index width = classes.size();
    for (Index r = some.first; r < some.last; ++r) {
      S* const row = d + (r - some.first) * width;
      const RowGradient<S>& of = gradients[r];
      scaled_exponentials(logits + r * width, width, of.highest, of.scale, of.every, row);
      const Index target = row_of(rows.first + r).target;
      if (target >= classes.first && target < classes.last) row[target - classes.first] -= of.own;
    }
    if (d_bias == nullptr) return;
    add_bias_gradient(d, some.size(), width, width, d_bias);
  }

  const std::vector<LossRow<S>>& rows_;
  const Index in_, out_;
  const S* const weight_;
  const S* const bias_;
  const double divisor_;
  const Shares q_;
  S* const d_weight_;
  S* const d_bias_;
};

}  // namespace

template <class S>
double linear_cross_entropy(const std::vector<LossRow<S>>& rows, const OutputLayer<S>& layer,
                            const CrossEntropyOptions& options, S* d_weight, S* d_bias) {
  return LinearCrossEntropy<S>(rows, layer, options, d_weight, d_bias).run();
}

template double linear_cross_entropy(const std::vector<LossRow<float>>&, const OutputLayer<float>&,
                                     const CrossEntropyOptions&, float*, float*);
template double linear_cross_entropy(const std::vector<LossRow<double>>&,
                                     const OutputLayer<double>&, const CrossEntropyOptions&,
                                     double*, double*);

}  // namespace bptt
