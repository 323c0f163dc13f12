// Table of contents of a kernel module. Free functions only: two instruction sets may be loaded in
// one process, and they must not register the same class.

#include "bindings/register.hpp"

PYBIND11_MODULE(BPTT_MODULE_NAME, m, py::mod_gil_not_used()) {
  m.doc() = "Kernels of bptt for the instruction set " BPTT_ISA ".";
  register_config(m);
  register_network(m);
  register_step(m);
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
