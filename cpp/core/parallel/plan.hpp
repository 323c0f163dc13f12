#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "core/direction.hpp"
#include "core/parallel/pool.hpp"
#include "core/types.hpp"

// How many threads pay for a call. The answer changes speed, never results.

namespace bptt {

/// What one thread does in a step of one direction, and in all, is counted in operations: a core
/// does some fifty thousand million a second.
inline Sharing choose_sharing(const NetworkSpec& spec, const RowPlan& plan) {
  constexpr double kWorthWaking = 1.5e6;  // of a call: below, one thread is done first
  constexpr double kWorthMeetings = 5e6;  // the same if the threads meet at every step
  constexpr double kLongStep = 1e6;       // worth it even once
  constexpr double kWorthMeeting = 25e3;  // of a step and thread: a meeting costs a third of it
  constexpr Index kFewRows = 4;  // about one register tile: a thread with fewer would read all W
  const double rows = static_cast<double>(plan.total_rows());
  const double hidden = static_cast<double>(spec.hidden_size);
  const double row = 2.0 * static_cast<double>(gates_of(spec.cell)) * hidden * hidden;
  const double all = rows * row * static_cast<double>(spec.num_layers * spec.directions());
  Sharing best;
  if (all < kWorthWaking) return best;
  const int limit = thread_limit();
  if (limit < 2) return best;
  best.side_by_side = spec.bidirectional;
  const int sides = best.side_by_side ? 2 : 1;
  const int side_limit = limit / sides;
  const double step = row * rows / static_cast<double>(std::max<Index>(plan.longest(), 1));
  const int by_units = std::min(side_limit, 1 + static_cast<int>(step / kWorthMeeting));
  const bool worth_meetings = all >= kWorthMeetings || step >= kLongStep;
  if (plan.batch() <= kFewRows && by_units > 1 && worth_meetings) {
    best.split = Split::kUnits;
    best.threads = sides * by_units;
  } else {
    const int by_rows = static_cast<int>(std::min<Index>(side_limit, plan.batch() / 2));
    best.threads = sides * std::max(by_rows, 1);
  }
  return best;
}

/// Threads for one call, in the way that pays.
class Threads {
 public:
  Threads(const NetworkSpec& spec, const RowPlan& plan)
      : wanted_(choose_sharing(spec, plan)),
        reserved_(wanted_.threads > 1),
        sharing_(reserved_.granted() ? wanted_ : Sharing()) {}
  const Sharing& sharing() const { return sharing_; }

  /// before(i, member), the passes of layer i and after(i, member), for all layers in turn.
  template <class Before, class After>
  void run(Pass* const* passes, Index layers, Index directions, Before before, After after) const {
    Crew crew(sharing_.threads);
    std::vector<std::unique_ptr<Crew>> sides;  // of each pass
    if (sharing_.side_by_side) {
      for (Index i = 0; i < 2 * layers; ++i) {
        sides.push_back(std::make_unique<Crew>(sharing_.side_threads()));
      }
    }
    const auto body = [&](int thread) {
      Member all(crew, thread);
      for (Index i = 0; i < layers; ++i) {
        before(i, all);
        if (sharing_.side_by_side) {
          all.share([&](int part, int parts) {
            const Index pass = 2 * i + 2 * part / parts;
            Member side(*sides[static_cast<std::size_t>(pass)], part % (parts / 2));
            passes[pass]->run(side);
          });
        } else {
          for (Index d = 0; d < directions; ++d) passes[i * directions + d]->run(all);
        }
        after(i, all);
      }
    };
    reserved_.run(sharing_.threads, body);
  }

 private:
  Sharing wanted_;
  Reservation reserved_;
  Sharing sharing_;
};

}  // namespace bptt
