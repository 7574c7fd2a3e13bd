"""Writes ONNX files: checked, and the same bytes for the same graph, so that manifests can pin them.

IR version 8 is what ONNX Runtime has read since 1.10; nothing these graphs use came later.
"""

import onnx
from onnx import helper

IR_VERSION = 8


def model_of(graph, opset):
    """A model around a graph that was put together here."""
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="jellybean")


def save(model, path):
    model.ir_version = min(model.ir_version, IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def name_sides(values, sides):
    """Gives inputs or outputs their sides by name: numbers are fixed, words are left open."""
    for value in values:
        shape = value.type.tensor_type.shape
        del shape.dim[:]
        for side in sides[value.name]:
            shape.dim.add(**({"dim_param": side} if isinstance(side, str) else {"dim_value": side}))
