#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <optional>
#include <thread>
#include <utility>

#include "core/buffer.hpp"
#include "core/denormals.hpp"
#include "core/interruption.hpp"

namespace py = pybind11;

/// The end of a daemon thread where the interpreter has ended: its forced unwind arrives in
/// catch (...), and must not leave it.
[[noreturn]] inline void sleep_for_good() {
  for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
}

/// Releases the GIL for its lifetime. Where the interpreter has ended in the meantime, a daemon
/// thread sleeps for good, as in Python 3.14: older versions end it by a forced unwind, which would
/// run through destructors that need the GIL, or are noexcept, and so end the process.
class ReleaseGil {
 public:
  ReleaseGil() : thread_(PyEval_SaveThread()) {}
  ~ReleaseGil() { take(); }
  ReleaseGil(const ReleaseGil&) = delete;
  ReleaseGil& operator=(const ReleaseGil&) = delete;

  void take() noexcept {
    // After the end, which takes a while where leaks are looked for, its memory is free, and older
    // versions of Python would use it.
    if (Py_IsInitialized() == 0) sleep_for_good();
    try {
      PyEval_RestoreThread(thread_);
    } catch (...) {
      sleep_for_good();
    }
  }
  void give_back() noexcept { thread_ = PyEval_SaveThread(); }

 private:
  PyThreadState* thread_;
};

/// Runs Python's signal handlers now and then during a call on the main thread, the only one that
/// has to; an exception of theirs ends the call.
class SignalHandlers final : public bptt::InterruptSource {
 public:
  SignalHandlers(ReleaseGil& gil, std::optional<py::error_already_set>& error)
      : gil_(gil), error_(error), outer_(bptt::interrupt_source) {
    bptt::interrupt_source = this;
  }
  ~SignalHandlers() { bptt::interrupt_source = outer_; }

 private:
  bool ask() override {
    const bptt::KeepDenormals mode;
    // A handler may make calls itself: they are not interrupted, and have scratch memory of their
    // own, since other threads go on with that of this call.
    bptt::interrupt_source = nullptr;
    bptt::Arena outer = std::exchange(bptt::scratch(), bptt::Arena());
    gil_.take();
    try {
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
      if (!is_main_thread()) stop_asking();
    } catch (py::error_already_set& error) {
      error_.emplace(std::move(error));
    } catch (...) {  // Python code, as of threading, gives the GIL to others in between
      sleep_for_good();
    }
    gil_.give_back();
    bptt::scratch() = std::move(outer);
    bptt::interrupt_source = this;
    return error_.has_value();
  }

  static bool is_main_thread() {
    const auto threading = py::module_::import("threading");
    const py::object main = threading.attr("main_thread")().attr("ident");
    return main.equal(threading.attr("get_ident")());
  }

  ReleaseGil& gil_;
  std::optional<py::error_already_set>& error_;
  InterruptSource* const outer_;
};

/// Runs body() without the GIL. Signals are handled during it; what their handlers raise is thrown,
/// and what body has written is then of no use.
template <class Body>
void run_without_gil(const Body& body) {
  std::optional<py::error_already_set> error;
  try {
    ReleaseGil gil;
    const SignalHandlers handlers(gil, error);
    body();
  } catch (const bptt::Interrupted&) {
    if (!error) throw;  // never: what ends a call sets it
  }
  if (error) throw py::error_already_set(*error);
}
