"""ONNX's messages without its package: the same classes, and the same values as its helpers make."""

from __future__ import annotations

import subprocess
import sys

import onnx
import pytest
from dnnc.frontend import messages
from dnnc.frontend.network import OnnxNode, numpy_type, tensor_value_info
from onnx import TensorProto, helper

ALONE = """
import sys
from dnnc.frontend import importer, messages
assert not {"onnx", "onnxruntime"} & sys.modules.keys()
node = messages.NodeProto(op_type="Relu")
import onnx
from onnx import numpy_helper, onnx_ml_pb2
assert all(getattr(onnx, name) is getattr(messages, name) for name in messages.__all__ if name != "IR_VERSION")
assert onnx_ml_pb2.TensorProto is messages.TensorProto and onnx.IR_VERSION == messages.IR_VERSION
assert isinstance(node, onnx.NodeProto) and onnx.helper.make_node("Relu", [], []) == node
"""


def test_the_package_has_the_same_messages_when_it_is_imported_later() -> None:
    ended = subprocess.run([sys.executable, "-c", ALONE], check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_the_package_has_the_same_messages_when_it_was_imported_before() -> None:
    assert all(getattr(onnx, name) is getattr(messages, name) for name in messages.__all__ if name != "IR_VERSION")
    assert messages.IR_VERSION == onnx.IR_VERSION


INTERRUPTED = """
import importlib.util, sys
made = importlib.util.module_from_spec
def interrupted(spec):
    module = made(spec)
    def stop(module):
        module.half = True
        raise KeyboardInterrupt
    spec.loader.exec_module = stop
    return module
importlib.util.module_from_spec = interrupted
try:
    from dnnc.frontend import messages
except KeyboardInterrupt:
    importlib.util.module_from_spec = made
from dnnc.frontend.messages import ModelProto
import onnx
assert onnx.ModelProto is ModelProto
"""


def test_messages_that_were_not_loaded_to_the_end_are_loaded_again() -> None:
    ended = subprocess.run([sys.executable, "-c", INTERRUPTED], check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("shape", [None, (), (0,), (1, 3, 224, 224)])
def test_types_of_values_are_those_of_the_helper(shape: tuple[int, ...] | None) -> None:
    made = tensor_value_info("x", TensorProto.INT8, shape)
    assert made.SerializeToString() == helper.make_tensor_value_info("x", TensorProto.INT8, shape).SerializeToString()


@pytest.mark.parametrize("number", [number for number in TensorProto.DataType.values() if number])
def test_types_of_arrays_are_those_of_the_helper(number: int) -> None:
    assert numpy_type(number) == helper.tensor_dtype_to_np_dtype(number)


@pytest.mark.parametrize(
    "value",
    [1, 0.5, "a", [1, 2], [0.5], ["a", "b"], helper.make_tensor("t", TensorProto.FLOAT, [1], [1.0])],
    ids=repr,
)
def test_attributes_are_those_of_the_helper(value: object) -> None:
    node = helper.make_node("Op", [], [], attribute=value)
    assert OnnxNode("op", node, ()).attributes == {"attribute": helper.get_attribute_value(node.attribute[0])}
