#pragma once

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include <atomic>
#include <cstdint>

namespace bptt {

inline std::atomic<bool> flush_denormals{true};  // of the process

/// Denormal numbers cost a hundred cycles each and carry no information here: unless switched off,
/// or not wanted, they are flushed to 0 for the lifetime of this object, which then restores the
/// caller's mode.
class FlushDenormals {
 public:
#if defined(__SSE__)
  explicit FlushDenormals(bool wanted = true) : saved_(_mm_getcsr()) {
    if (wanted && flush_denormals) _mm_setcsr(saved_ | kFlushToZero | kDenormalsAreZero);
  }
  ~FlushDenormals() { _mm_setcsr(saved_); }

 private:
  static constexpr unsigned kFlushToZero = 0x8000;
  static constexpr unsigned kDenormalsAreZero = 0x0040;
  unsigned saved_;
#elif defined(__aarch64__)
  explicit FlushDenormals(bool wanted = true) {
    asm volatile("mrs %0, fpcr" : "=r"(saved_));
    const std::uint64_t flushing = saved_ | (wanted && flush_denormals ? kFlushToZero : 0);
    asm volatile("msr fpcr, %0" ::"r"(flushing));
  }
  ~FlushDenormals() { asm volatile("msr fpcr, %0" ::"r"(saved_)); }

 private:
  static constexpr std::uint64_t kFlushToZero = std::uint64_t{1} << 24;
  std::uint64_t saved_;
#else
  explicit FlushDenormals(bool = true) {}
#endif

 public:
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;
};

/// Denormals are kept for the lifetime of this object: for code of others within a call.
class KeepDenormals {
 public:
#if defined(__SSE__)
  KeepDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ & ~kFlush); }
  ~KeepDenormals() { _mm_setcsr(saved_); }

 private:
  static constexpr unsigned kFlush = 0x8040;
  unsigned saved_;
#elif defined(__aarch64__)
  KeepDenormals() {
    asm volatile("mrs %0, fpcr" : "=r"(saved_));
    const std::uint64_t keeping = saved_ & ~(std::uint64_t{1} << 24);
    asm volatile("msr fpcr, %0" ::"r"(keeping));
  }
  ~KeepDenormals() { asm volatile("msr fpcr, %0" ::"r"(saved_)); }

 private:
  std::uint64_t saved_;
#else
  KeepDenormals() {}
#endif

 public:
  KeepDenormals(const KeepDenormals&) = delete;
  KeepDenormals& operator=(const KeepDenormals&) = delete;
};

}  // namespace bptt
