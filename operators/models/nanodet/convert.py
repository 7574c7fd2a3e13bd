"""Converts NanoDet from a TensorFlow.js graph to ONNX files, one per input size.

    convert.py FOLDER_WITH_nanodet.json OUTPUT_FOLDER

Needs numpy and onnx alone. It knows the operations NanoDet uses, in the way NanoDet uses them, and
refuses everything else. The same input and package versions give the same bytes, so that the
manifest can pin the sha256 of what comes out.

The TensorFlow graph keeps pictures as NCHW and turns them to NHWC and back around every
convolution. Here every tensor stays NCHW: a transposition only changes how its axes are read
(`Tensor.axes`) and writes no node. Padding likewise waits (`Tensor.margin`) until the convolution
or pooling that follows takes it in.

Input `input_1`, float32 [N, 3, SIZE, SIZE]. Outputs for each stride S of 8, 16, 32:
`cls_S` [N, cells, 80], class probabilities, and `box_S` [N, cells, 44], the distances to the four
sides as logits over 11 bins each. Cells go row by row.
"""

import base64
import dataclasses
import json
import math
import pathlib
import sys

import numpy as np
from onnx import TensorProto, helper, numpy_helper

import onnx_file
import quantise

SIZES = [416, 320, 256]
NATIVE_SIZE = 416  # the input size which the sizes inside the source graph belong to
OPSET = 18  # the first whose Resize takes target sizes for some of the axes


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor of the ONNX graph, as the TensorFlow graph reads it."""

    name: str
    axes: tuple  # axes[i] is the ONNX axis that TensorFlow calls i
    margin: tuple = (0, 0, 0, 0)  # top, left, bottom, right: padding still to be applied
    fill: float = 0.0  # what the margin is filled with


class Converter:
    """One walk over the TensorFlow graph; `graph()` gives the ONNX graph it wrote."""

    def __init__(self, source, constants, size):
        self.source = source
        self.size = size
        self.values = dict(constants)  # by TensorFlow name: an array or a Tensor
        self.nodes = []
        self.weights = []
        self.inputs = []
        self.outputs = []
        self.output_names = output_names(source["signature"]["outputs"])

    def graph(self):
        for node in self.source["modelTopology"]["node"]:
            if node["op"] == "Const":
                continue
            convert = OPERATIONS.get(node["op"])
            if convert is None:
                raise SystemExit(f"{node['name']}: no conversion for the operation {node['op']}")
            convert(self, node)
        return helper.make_graph(self.nodes, "nanodet", self.inputs, self.outputs, self.weights)

    def inputs_of(self, node):
        return [self.values[name.removesuffix(":0")] for name in node["input"]]

    def emit(self, operation, inputs, name, outputs=None, **attributes):
        outputs = [name] if outputs is None else outputs
        self.nodes.append(helper.make_node(operation, inputs, outputs, name=name, **attributes))
        return name

    def weight(self, array, name):
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name


def placeholder(converter, node):
    shape = ["N", 3, converter.size, converter.size]
    info = helper.make_tensor_value_info(node["name"], TensorProto.FLOAT, shape)
    converter.inputs.append(info)
    converter.values[node["name"]] = Tensor(node["name"], (0, 1, 2, 3))


def transpose(converter, node):
    tensor, order = converter.inputs_of(node)
    axes = tuple(tensor.axes[i] for i in order)
    converter.values[node["name"]] = dataclasses.replace(tensor, axes=axes)


def pad(converter, node):
    tensor, widths, *fill = converter.inputs_of(node)
    tensor = whole(tensor, node)
    by_axis = {tensor.axes[i]: tuple(int(w) for w in width) for i, width in enumerate(widths)}
    expect(by_axis[0] == by_axis[1] == (0, 0), node, "pads batch or channels")
    (top, bottom), (left, right) = by_axis[2], by_axis[3]
    margin, fill = (top, left, bottom, right), float(fill[0]) if fill else 0.0
    converter.values[node["name"]] = dataclasses.replace(tensor, margin=margin, fill=fill)


def convolution(converter, node):
    tensor, kernel = converter.inputs_of(node)
    expect(tensor.axes == (0, 2, 3, 1), node, "reads another layout than NHWC")
    expect(text(node, "padding") == "VALID", node, "pads by itself")
    expect(tensor.fill == 0.0, node, "reads a margin of something else than zeros")
    expect(numbers(node, "dilations") == [1, 1, 1, 1], node, "is dilated")
    name = short(node)
    weight = converter.weight(kernel.transpose(3, 2, 0, 1), f"{name}_weight")
    converter.emit(
        "Conv",
        [tensor.name, weight],
        name,
        kernel_shape=kernel.shape[:2],
        strides=numbers(node, "strides")[1:3],
        pads=tensor.margin,
    )
    converter.values[node["name"]] = Tensor(name, tensor.axes)


def maximum(converter, node):
    tensor = converter.inputs_of(node)[0]
    expect(tensor.axes == (0, 2, 3, 1), node, "reads another layout than NHWC")
    expect(text(node, "padding") == "VALID", node, "pads by itself")
    expect(tensor.fill == -math.inf, node, "reads a margin that can win")
    converter.emit(
        "MaxPool",
        [tensor.name],
        short(node),
        kernel_shape=numbers(node, "ksize")[1:3],
        strides=numbers(node, "strides")[1:3],
        pads=tensor.margin,
    )
    converter.values[node["name"]] = Tensor(short(node), tensor.axes)


def add(converter, node):
    left, right = converter.inputs_of(node)
    if isinstance(left, np.ndarray):
        # Sums of constants are the shapes of the flattenings below, which need no shape.
        converter.values[node["name"]] = left
        return
    name = short(node)
    if isinstance(right, np.ndarray):
        expect(tuple(left.axes) == (0, 2, 3, 1), node, "adds a bias to another layout than NHWC")
        operand = converter.weight(right.reshape(-1, 1, 1), f"{name}_bias")
    else:
        expect(left.axes == right.axes, node, "adds tensors of two layouts")
        operand = whole(right, node).name
    converter.emit("Add", [whole(left, node).name, operand], name)
    converter.values[node["name"]] = Tensor(name, left.axes)


def leaky_relu(converter, node):
    tensor = whole(converter.inputs_of(node)[0], node)
    converter.emit("LeakyRelu", [tensor.name], short(node), alpha=float(node["attr"]["alpha"]["f"]))
    converter.values[node["name"]] = Tensor(short(node), tensor.axes)


def sigmoid(converter, node):
    tensor = whole(converter.inputs_of(node)[0], node)
    converter.emit("Sigmoid", [tensor.name], short(node))
    converter.values[node["name"]] = Tensor(short(node), tensor.axes)


def concatenate(converter, node):
    *tensors, axis = converter.inputs_of(node)
    axes = tensors[0].axes
    expect(all(t.axes == axes for t in tensors), node, "joins tensors of several layouts")
    converter.emit("Concat", [whole(t, node).name for t in tensors], short(node), axis=axes[int(axis)])
    converter.values[node["name"]] = Tensor(short(node), axes)


def resize(converter, node):
    tensor, native = converter.inputs_of(node)
    half_pixel = node["attr"]["half_pixel_centers"]["b"]
    expect(half_pixel and not node["attr"]["align_corners"]["b"], node, "has other pixel centres")
    expect(tensor.axes == (0, 2, 3, 1), node, "reads another layout than NHWC")
    sizes = [int(s) * converter.size // NATIVE_SIZE for s in native]
    name = short(node)
    target = converter.weight(np.array(sizes, np.int64), f"{name}_sizes")
    inputs = [whole(tensor, node).name, "", "", target]
    converter.emit("Resize", inputs, name, mode="linear", axes=[2, 3])
    converter.values[node["name"]] = Tensor(name, tensor.axes)


def split(converter, node):
    tensor, sizes, axis = converter.inputs_of(node)
    name = short(node)
    parts = [f"{name}_{i}" for i in range(len(sizes))]
    lengths = converter.weight(sizes.astype(np.int64), f"{name}_lengths")
    inputs = [whole(tensor, node).name, lengths]
    converter.emit("Split", inputs, name, outputs=parts, axis=tensor.axes[int(axis)])
    for i, part in enumerate(parts):
        name = node["name"] if i == 0 else f"{node['name']}:{i}"
        converter.values[name] = Tensor(part, tensor.axes)


def flatten(converter, node):
    """NanoDet reshapes only at its end: the cells of a picture become one row of cells."""
    tensor, shape = converter.inputs_of(node)
    expect(len(shape) == 3 and shape[2] == -1, node, "does more than flatten a picture")
    expect(tensor.axes == (0, 1, 2, 3), node, "reads another layout than NCHW")
    name = short(node)
    target = converter.weight(np.array([0, 0, -1], np.int64), f"{name}_shape")
    converter.emit("Reshape", [whole(tensor, node).name, target], name)
    converter.values[node["name"]] = Tensor(name, (0, 1, 2))


def output(converter, node):
    tensor = converter.inputs_of(node)[0]
    expect(tensor.axes == (0, 2, 1), node, "gives another layout than cells by channels")
    name, stride, channels = converter.output_names[node["name"]]
    converter.emit("Transpose", [tensor.name], name, perm=tensor.axes)
    shape = ["N", (converter.size // stride) ** 2, channels]
    converter.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))


def shape_of_nothing(converter, node):
    """The exporter fills a vector of zeros in a roundabout way; only the sum with it is read."""
    converter.values[node["name"]] = np.zeros(3, np.int32)


OPERATIONS = {
    "Placeholder": placeholder,
    "Transpose": transpose,
    "Pad": pad,
    "PadV2": pad,
    "Conv2D": convolution,
    "MaxPool": maximum,
    "Add": add,
    "AddV2": add,
    "LeakyRelu": leaky_relu,
    "Sigmoid": sigmoid,
    "ConcatV2": concatenate,
    "ResizeBilinear": resize,
    "SplitV": split,
    "Reshape": flatten,
    "Identity": output,
    "SparseToDense": shape_of_nothing,
}


def output_names(signature):
    """By TensorFlow name: the readable name, the stride and the channels of each output."""
    names = {}
    for entry in signature.values():
        _, cells, channels = (int(d["size"]) for d in entry["tensorShape"]["dim"])
        stride = NATIVE_SIZE // math.isqrt(cells)
        kind = "cls" if channels == 80 else "box"
        names[entry["name"].removesuffix(":0")] = (f"{kind}_{stride}", stride, channels)
    return names


def expect(condition, node, complaint):
    if not condition:
        raise SystemExit(f"{node['name']} ({node['op']}) {complaint}: not the NanoDet this converter knows")


def whole(tensor, node):
    expect(not any(tensor.margin), node, "reads a padded tensor")
    return tensor


def short(node):
    return node["name"].removeprefix("PartitionedCall/").removeprefix("onnx_tf_prefix_").replace("/", "_")


def numbers(node, attribute):
    return [int(i) for i in node["attr"][attribute]["list"]["i"]]


def text(node, attribute):
    return base64.b64decode(node["attr"][attribute]["s"]).decode()


def read_constants(folder, source):
    """The arrays of the weight file by name; 16-bit floats are widened."""
    constants = {}
    for group in source["weightsManifest"]:
        data = b"".join((folder / path).read_bytes() for path in group["paths"])
        offset = 0
        for entry in group["weights"]:
            kind = entry.get("quantization", entry)["dtype"]
            stored = np.dtype({"float16": "<f2", "float32": "<f4", "int32": "<i4"}[kind])
            count = math.prod(entry["shape"])
            array = np.frombuffer(data, stored, count, offset).reshape(entry["shape"])
            offset += array.nbytes
            constants[entry["name"]] = array.astype(np.dtype(entry["dtype"]))
    return constants


def main(folder, output_folder):
    folder, output_folder = pathlib.Path(folder), pathlib.Path(output_folder)
    source = json.loads((folder / "nanodet.json").read_text())
    constants = read_constants(folder, source)
    for size in SIZES:
        model = onnx_file.model_of(Converter(source, constants, size).graph(), OPSET)
        onnx_file.save(model, output_folder / f"nanodet-{size}.onnx")
        if size == NATIVE_SIZE:
            # Ranges were measured at this size.
            quantise.quantise(model, json.loads((folder / "calibration.json").read_text()))
            onnx_file.save(model, output_folder / f"nanodet-{size}-int8.onnx")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
