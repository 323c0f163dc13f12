"""A graph of ONNX nodes that grows, with names of its own for all values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_OPSET = 17  # the first with LayerNormalization
_IR_VERSION = 8


class Graph:
    """Inputs, constants, nodes and outputs.

    Raises
    ------
    ImportError
        If the package onnx is not installed.
    """

    def __init__(self) -> None:
        try:
            import onnx
        except ImportError as error:
            raise ImportError("to_onnx needs the package onnx: pip install 'bptt[onnx]'") from error
        self._onnx: Any = onnx
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._constants: list[Any] = []
        self._nodes: list[Any] = []

    def input(self, name: str, dtype: str, shape: Sequence[int | str]) -> str:
        """Add an input of the model; return its name."""
        self._inputs.append(self._info(name, dtype, shape))
        return name

    def output(self, name: str, value: str, dtype: str, shape: Sequence[int | str]) -> None:
        """Make a value an output of the model, by this name."""
        self._nodes.append(self._onnx.helper.make_node("Identity", [value], [name]))
        self._outputs.append(self._info(name, dtype, shape))

    def constant(self, value: NDArray[Any], dtype: DTypeLike = np.float32) -> str:
        """Add a constant; return its name."""
        name = f"constant_{len(self._constants)}"
        array = np.ascontiguousarray(value, dtype).reshape(np.shape(value))
        self._constants.append(self._onnx.numpy_helper.from_array(array, name))
        return name

    def node(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add a node with one output; return its name."""
        (output,) = self.nodes(operator, inputs, 1, **attributes)
        return output

    def nodes(
        self, operator: str, inputs: Sequence[str], count: int, **attributes: Any
    ) -> list[str]:
        """Add a node with several outputs; return their names."""
        number = len(self._nodes)
        outputs = [f"{operator.lower()}_{number}_{i}" for i in range(count)]
        node = self._onnx.helper.make_node(operator, list(inputs), outputs, **attributes)
        self._nodes.append(node)
        return outputs

    def model(self) -> Any:
        """Return the checked model."""
        helper = self._onnx.helper
        graph = helper.make_graph(self._nodes, "bptt", self._inputs, self._outputs, self._constants)
        opset = helper.make_opsetid("", _OPSET)
        model = helper.make_model(
            graph, opset_imports=[opset], ir_version=_IR_VERSION, producer_name="bptt"
        )
        self._onnx.checker.check_model(model)
        return model

    def _info(self, name: str, dtype: str, shape: Sequence[int | str]) -> Any:
        kind = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self._onnx.helper.make_tensor_value_info(name, kind, list(shape))
