"""Values of an ONNX graph that are known without running it: constants, and views of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bptt.importers._buffers import item_size, numbers

Node: TypeAlias = Any  # onnx.NodeProto
STANDARD = ("", "ai.onnx")
"""Domains of the standard operators."""


class Values:
    """Nodes and constants of a graph.

    Parameters
    ----------
    onnx : module
    graph : onnx.GraphProto
    folder : Path
        That of the file, in which external data are read.

    Attributes
    ----------
    tensors : dict of str to array
    unread : dict of str to str
        Tensors of types that NumPy does not have.
    inputs, outputs : set of str
        Values.
    nodes : list
        Those on which outputs depend, in their order.
    producers, consumers : dict
        Value -> the node that computes it, and the nodes that read it.
    """

    def __init__(self, onnx: Any, graph: Any, folder: Path) -> None:
        self._onnx, self._folder = onnx, folder
        self.tensors: dict[str, NDArray[Any]] = {}
        self.unread: dict[str, str] = {}
        for tensor in graph.initializer:
            array = self._read(tensor)
            if array is None:
                self.unread[tensor.name] = f"({onnx.TensorProto.DataType.Name(tensor.data_type)})"
            else:
                self.tensors[tensor.name] = array
        self.inputs = {info.name for info in graph.input} - self.tensors.keys()
        self.outputs = {info.name for info in graph.output}
        self.nodes = _live(graph.node, self.outputs)
        self.producers: dict[str, Node] = {}
        self.consumers: dict[str, list[Node]] = {}
        for node in self.nodes:
            self.producers |= dict.fromkeys(filter(None, node.output), node)
            for name in filter(None, node.input):
                self.consumers.setdefault(name, []).append(node)
        self._known = dict(self.tensors)
        self._unknown: dict[str, str] = {}  # value -> what it is instead of a constant
        self._limit = 1024 + sum(array.nbytes for array in self.tensors.values())

    def array(self, name: str) -> NDArray[Any]:
        """Return a constant.

        What ``Expand`` repeats is returned as it is, and one number of ``ConstantOfShape``.

        Raises
        ------
        ValueError
            If it is an input, or computed.
        """
        if name not in self._known:
            if name not in self._unknown:
                try:
                    self._known[name] = self._folded(name)
                except ValueError as error:
                    self._unknown[name] = str(error)
            if name in self._unknown:
                raise ValueError(self._unknown[name])
        return self._known[name]

    def is_known(self, name: str) -> bool:
        """Return whether a value is a constant."""
        try:
            self.array(name)
        except ValueError:
            return False
        return True

    def parts(self, name: str, kinds: Collection[str]) -> tuple[str, set[str]]:
        """Return of which value a value is a part, and the first outputs of the nodes between."""
        between: set[str] = set()
        while name in self.producers and self.producers[name].op_type in kinds:
            node = self.producers[name]
            if node.output[0] in between:  # a cycle
                break
            between.add(node.output[0])
            name = node.input[0]
        return name, between

    def attribute(self, node: Node, name: str, default: Any = None) -> Any:
        """Return an attribute of a node."""
        for attribute in node.attribute:
            if attribute.name == name:
                return self._onnx.helper.get_attribute_value(attribute)
        return default

    def attributes(self, node: Node) -> dict[str, Any]:
        """Return all attributes of a node."""
        value = self._onnx.helper.get_attribute_value
        return {attribute.name: value(attribute) for attribute in node.attribute}

    def _folded(self, name: str) -> NDArray[Any]:
        node = self.producers.get(name)
        if node is None:
            raise ValueError(f"{name!r} is an input of the model, not a constant")
        fold = _FOLDS.get(node.op_type) if node.domain in STANDARD else None
        if fold is None:
            raise ValueError(f"{name!r} is computed by a {node.op_type} node, not a constant")
        return fold(self, node)

    def _read(self, tensor: Any) -> NDArray[Any] | None:
        """Return the numbers of a tensor, or None if they are none that NumPy has."""
        onnx = self._onnx
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            return self._external(tensor)
        if tensor.data_type in (onnx.TensorProto.STRING, onnx.TensorProto.UNDEFINED):
            return None
        array: NDArray[Any] = onnx.numpy_helper.to_array(tensor)
        return array if array.dtype.kind in "fiub" or array.dtype.name == "bfloat16" else None

    def _external(self, tensor: Any) -> NDArray[Any]:
        """Return numbers in another file, which must be beside this one."""
        given = {entry.key: entry.value for entry in tensor.external_data}
        location = given.get("location", "")
        path = self._folder / location
        if not location or Path(location).name != location or path.is_symlink():
            raise ValueError(
                f"the data of {tensor.name!r} must be in a file beside the model, got {location!r}"
            )
        if not path.is_file():
            raise ValueError(f"the file {location!r} with the data of {tensor.name!r} is missing")
        dtype = self._onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).name
        shape = tuple(tensor.dims)
        size = math.prod(shape) * item_size(dtype)
        offset, length = int(given.get("offset", 0)), int(given.get("length", size))
        if min(shape, default=0) < 0 or length != size or not 0 <= offset <= offset + size:
            raise ValueError(f"{tensor.name!r} of shape {shape} does not fit its external data")
        if offset + size > path.stat().st_size:
            raise ValueError(f"{tensor.name!r} of shape {shape} is beyond the end of {location!r}")
        with open(path, "rb") as file:
            file.seek(offset)
            return numbers(file.read(size), dtype).reshape(shape)

    # ---- operators that make constants of constants

    def _constant(self, node: Node) -> NDArray[Any]:
        for attribute in node.attribute:
            if attribute.name == "value":
                array = self._read(attribute.t)
                if array is not None:
                    return array
            if attribute.name in ("value_float", "value_floats"):
                return np.asarray(self.attribute(node, attribute.name), np.float32)
            if attribute.name in ("value_int", "value_ints"):
                return np.asarray(self.attribute(node, attribute.name), np.int64)
        raise ValueError(f"{node.output[0]!r} is a constant of another type than numbers")

    def _constant_of_shape(self, node: Node) -> NDArray[Any]:
        tensor = self.attribute(node, "value")
        value = np.zeros(1, np.float32) if tensor is None else self._read(tensor)
        if value is None or value.size != 1:
            raise ValueError(f"{node.output[0]!r} must have one number as its value")
        return value.reshape(())

    def _first(self, node: Node) -> NDArray[Any]:
        return self.array(node.input[0])

    def _transpose(self, node: Node) -> NDArray[Any]:
        return np.transpose(self._first(node), self.attribute(node, "perm"))

    def _squeeze(self, node: Node) -> NDArray[Any]:
        axes = self._integers(node, "axes", 1)
        return np.squeeze(self._first(node), None if axes is None else tuple(axes))

    def _unsqueeze(self, node: Node) -> NDArray[Any]:
        return np.expand_dims(self._first(node), tuple(self._integers(node, "axes", 1) or ()))

    def _concat(self, node: Node) -> NDArray[Any]:
        parts = [self.array(name) for name in node.input]
        if sum(part.nbytes for part in parts) > self._limit:
            raise ValueError(f"{node.output[0]!r} is larger than all tensors of the file")
        return np.concatenate(parts, self.attribute(node, "axis"))

    def _slice(self, node: Node) -> NDArray[Any]:
        data = self._first(node)
        if not data.ndim:
            return data
        places = ("starts", "ends", "axes", "steps")
        given = [self._integers(node, name, i) for i, name in enumerate(places, start=1)]
        starts, ends, axes, steps = given
        if starts is None or ends is None:
            raise ValueError(f"{node.output[0]!r} must have starts and ends")
        index = [slice(None)] * data.ndim
        for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
            index[i if axes is None else axes[i]] = slice(start, end, steps[i] if steps else 1)
        view: NDArray[Any] = data[tuple(index)]
        return view

    def _integers(self, node: Node, name: str, place: int) -> list[int] | None:
        """Return integers that are an input of new operators, and an attribute of old ones."""
        if len(node.input) > place and node.input[place]:
            return [int(value) for value in self.array(node.input[place]).ravel()]
        found = self.attribute(node, name)
        return None if found is None else [int(value) for value in found]


def _live(nodes: Sequence[Node], outputs: set[str]) -> list[Node]:
    """Return the nodes on which outputs depend, in their order: those before others first."""
    needed, found = set(outputs), []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed.update(node.input)
            found.append(node)
    return found[::-1]


_FOLDS: dict[str, Callable[[Values, Node], NDArray[Any]]] = {
    "Constant": Values._constant,
    "ConstantOfShape": Values._constant_of_shape,
    "Expand": Values._first,
    "Identity": Values._first,
    "Transpose": Values._transpose,
    "Squeeze": Values._squeeze,
    "Unsqueeze": Values._unsqueeze,
    "Concat": Values._concat,
    "Slice": Values._slice,
}
