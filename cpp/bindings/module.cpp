// Table of contents of a kernel module. Free functions only: two instruction sets may be loaded in
// one process, and they must not register the same class.

#include <exception>
#include <stdexcept>
#include <utility>

#include "bindings/register.hpp"

namespace {

/// pybind11 throws std::runtime_error where Python has no memory for a number or a tuple.
void keep_memory_error(std::exception_ptr error) {
  try {
    std::rethrow_exception(std::move(error));
  } catch (const std::runtime_error&) {
    if (PyErr_Occurred() == nullptr || PyErr_ExceptionMatches(PyExc_MemoryError) == 0) throw;
  }
}

}  // namespace

PYBIND11_MODULE(BPTT_MODULE_NAME, m, py::mod_gil_not_used()) {
  m.doc() = "Kernels of bptt for the instruction set " BPTT_ISA ".";
  py::register_local_exception_translator(&keep_memory_error);
  register_config(m);
  register_network(m);
  register_step(m);
  register_stepper(m);
  register_linear(m);
  register_embedding(m);
  register_dropout(m);
  register_losses(m);
  register_crf(m);
  register_attention(m);
  register_normalization(m);
  register_optimizers(m);
  register_padding(m);
  register_activations(m);
}
