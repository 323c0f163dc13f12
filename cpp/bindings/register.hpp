#pragma once

#include <pybind11/pybind11.h>

namespace py = pybind11;

void register_config(py::module_& m);
void register_network(py::module_& m);
void register_step(py::module_& m);
void register_stepper(py::module_& m);
void register_linear(py::module_& m);
void register_embedding(py::module_& m);
void register_dropout(py::module_& m);
void register_losses(py::module_& m);
void register_crf(py::module_& m);
void register_attention(py::module_& m);
void register_normalization(py::module_& m);
void register_optimizers(py::module_& m);
void register_padding(py::module_& m);
void register_activations(py::module_& m);
