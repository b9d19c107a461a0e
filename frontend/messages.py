"""The messages of ONNX files without the rest of the package `onnx`, whose import takes longer than most models.

Where that package is imported later, its messages are these: they are loaded under the name that they have there.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import (
        IR_VERSION,
        AttributeProto,
        FunctionProto,
        GraphProto,
        ModelProto,
        NodeProto,
        TensorProto,
        TypeProto,
        ValueInfoProto,
    )
else:
    _NAME = "onnx.onnx_ml_pb2"

    def _messages():
        import importlib.util
        from pathlib import Path

        package = None if "onnx" in sys.modules else importlib.util.find_spec("onnx")
        file = Path(package.origin).with_name("onnx_ml_pb2.py") if package and package.origin else None
        if file is None or not file.exists():
            return importlib.import_module(_NAME)
        spec = importlib.util.spec_from_file_location(_NAME, file)
        module = importlib.util.module_from_spec(spec)
        sys.modules[_NAME] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[_NAME]  # as an import statement does: half a module is none
            raise
        return module

    _found = sys.modules.get(_NAME) or _messages()
    AttributeProto, FunctionProto, GraphProto = _found.AttributeProto, _found.FunctionProto, _found.GraphProto
    ModelProto, NodeProto, TensorProto = _found.ModelProto, _found.NodeProto, _found.TensorProto
    TypeProto, ValueInfoProto = _found.TypeProto, _found.ValueInfoProto
    IR_VERSION = _found.Version.Value("IR_VERSION")

__all__ = [
    "IR_VERSION",
    "AttributeProto",
    "FunctionProto",
    "GraphProto",
    "ModelProto",
    "NodeProto",
    "TensorProto",
    "TypeProto",
    "ValueInfoProto",
]
