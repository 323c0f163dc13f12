#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>

#if defined(__SSE2__)
#include <immintrin.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <sched.h>
#endif

// Threads that walk through the same loops together. Every loop is cut into as many parts as there
// are threads; who computes a part is open, what the part is does not change. So a thread takes its
// own part, whose weights its cache holds, and then the part of a thread that has not come yet: one
// that the system has put to sleep delays the others only while it holds a part.

namespace bptt {

class Crew {
 public:
  explicit Crew(int size) : size_(size) {
    if (size > 1) claims_ = std::make_unique<Claim[]>(static_cast<std::size_t>(size));
  }
  int size() const { return size_; }

 private:
  friend class Member;
  struct alignas(64) Claim {
    std::atomic<std::uint64_t> turn{0};  // the last turn in which this part was taken
  };
  static constexpr int kNobody = -1;

  const int size_;
  std::unique_ptr<Claim[]> claims_;
  alignas(64) std::atomic<std::uint64_t> done_{0};  // parts, of all turns
  alignas(64) std::atomic<int> keeper_{kNobody};    // who goes on alone, if waiting took too long
};

/// One thread's place in a crew.
class Member {
 public:
  Member(Crew& crew, int rank)
      : crew_(crew), rank_(rank), began_(crew.size() > 1 ? Clock::now() : Clock::time_point()) {}
  int size() const { return crew_.size_; }

  /// Calls work(part, parts) for the parts that fall to this thread; returns when all are done.
  template <class Work>
  void share(Work work) {
    const int parts = crew_.size_;
    if (parts == 1) {
      work(0, 1);
      return;
    }
    if (retired()) return;
    ++turn_;
    for (int i = 0; i < parts; ++i) {
      const int part = rank_ + i < parts ? rank_ + i : rank_ + i - parts;
      if (!claim(part)) continue;
      work(part, parts);
      crew_.done_.fetch_add(1, std::memory_order_release);
    }
    wait();
  }

  static void pause() {
#if defined(__SSE2__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }
  static void yield() {
#if defined(__unix__) || defined(__APPLE__)
    sched_yield();
#endif
  }

 private:
  using Clock = std::chrono::steady_clock;

  static constexpr int kPauses = 1000;  // tens of microseconds: parts of a step take less
  static constexpr std::chrono::microseconds kPatience{200};

  bool retired() const {
    const int keeper = crew_.keeper_.load(std::memory_order_relaxed);
    return keeper != Crew::kNobody && keeper != rank_;
  }

  bool claim(int part) {
    std::atomic<std::uint64_t>& taken = crew_.claims_[static_cast<std::size_t>(part)].turn;
    std::uint64_t before = turn_ - 1;
    return taken.load(std::memory_order_relaxed) == before &&
           taken.compare_exchange_strong(before, turn_, std::memory_order_relaxed);
  }

  void wait() {
    const std::uint64_t all = turn_ * static_cast<std::uint64_t>(crew_.size_);
    for (int i = 0; i < kPauses; ++i) {
      if (crew_.done_.load(std::memory_order_acquire) >= all) return;
      pause();
    }
    const Clock::time_point start = Clock::now();
    const Clock::duration before = waited_;
    while (crew_.done_.load(std::memory_order_acquire) < all) {
      yield();
      const Clock::time_point now = Clock::now();
      waited_ = before + (now - start);
      // Nearly half of the time spent waiting: alone it goes as fast.
      if (waited_ > kPatience + (now - began_) * 2 / 5) go_on_alone();
    }
  }

  void go_on_alone() {
    int nobody = Crew::kNobody;
    crew_.keeper_.compare_exchange_strong(nobody, rank_, std::memory_order_relaxed);
  }

  Crew& crew_;
  const int rank_;
  std::uint64_t turn_ = 0;
  const Clock::time_point began_;
  Clock::duration waited_{0};
};

}  // namespace bptt
