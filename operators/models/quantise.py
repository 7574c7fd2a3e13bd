"""Writes the 8-bit twin of a convolutional network, from its graph and the ranges of its activations.

Every tensor with a range is rounded to 256 steps (`QuantizeLinear`, `DequantizeLinear`), every kernel to
127 steps per output channel, and ONNX Runtime turns the operations in between into integer ones. The
ranges were measured once and are text (`calibration.json`), so that what is written needs numpy and onnx
alone and is the same bytes on every machine, which a calibration of its own would not be.

Kernels use 7 of their 8 bits: on processors without VNNI the products of two neighbours are added in 16
bits, and 255 * 64 * 2 is the most that fits there. So sums are exact on all of them.
"""

import numpy as np
from onnx import helper, numpy_helper, shape_inference

KERNEL_MAX = 63


def quantise(model, ranges):
    """Changes the model: `ranges` has the least and greatest value of each tensor to be rounded."""
    graph = model.graph
    resize_by_scales(model)
    fold_biases(graph)
    weights = {weight.name: numpy_helper.to_array(weight) for weight in graph.initializer}
    scales = {name: steps(*ends) for name, ends in ranges.items()}
    nodes, made = list(graph.node), []
    given = [value.name for value in graph.input]
    made += [node for name in given if name in scales for node in rounded(graph, name, *scales[name])]
    for node in nodes:
        if node.op_type == "Conv" and node.input[0] in scales:
            made += round_kernel(graph, node, weights, scales[node.input[0]][0])
        node.input[:] = [f"{name}_rounded" if name in scales else name for name in node.input]
        made.append(node)
        made += [other for name in node.output if name in scales for other in rounded(graph, name, *scales[name])]
    del graph.node[:]
    graph.node.extend(made)
    read = {name for node in made for name in node.input}
    kept = [weight for weight in graph.initializer if weight.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def resize_by_scales(model):
    """Has each resizing named by its factors. ONNX Runtime (1.31) wants to move 8-bit pictures to another
    layout, and fails at a resizing that names sizes for some of the axes."""
    graph = model.graph
    known = {value.name: value for value in shape_inference.infer_shapes(model).graph.value_info}
    sizes = lambda name: [side.dim_value for side in known[name].type.tensor_type.shape.dim[2:]]
    for node in [node for node in graph.node if node.op_type == "Resize"]:
        factors = np.array(sizes(node.output[0])) / np.array(sizes(node.input[0]))
        factors = constant(graph, f"{node.name}_factors", np.array([1, 1, *factors], np.float32))
        node.input[:] = [node.input[0], "", factors]
        kept = [attribute for attribute in node.attribute if attribute.name != "axes"]
        del node.attribute[:]
        node.attribute.extend(kept)


def fold_biases(graph):
    """Gives each convolution the constant that is added to its result."""
    weights = {weight.name: weight for weight in graph.initializer}
    sums = {node.input[0]: node for node in graph.node if node.op_type == "Add" and node.input[1] in weights}
    for node in [node for node in graph.node if node.op_type == "Conv" and node.output[0] in sums]:
        addition = sums[node.output[0]]
        bias = weights[addition.input[1]]
        bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias).reshape(-1), bias.name))
        node.input.append(bias.name)
        node.output[0] = addition.output[0]
        graph.node.remove(addition)


def steps(least, greatest):
    """The scale and the zero point by which 0..=255 covers a range that holds 0."""
    least, greatest = min(least, 0.0), max(greatest, 0.0)
    scale = np.float32((greatest - least) / 255)
    return scale, np.uint8(round(-least / float(scale)))


def rounded(graph, name, scale, zero):
    """The nodes that round a tensor."""
    constants = [constant(graph, f"{name}_scale", scale), constant(graph, f"{name}_zero", zero)]
    yield helper.make_node("QuantizeLinear", [name, *constants], [f"{name}_steps"], name=f"{name}_to_steps")
    yield helper.make_node("DequantizeLinear", [f"{name}_steps", *constants], [f"{name}_rounded"], name=f"{name}_from_steps")


def round_kernel(graph, node, weights, scale_in):
    """The nodes that give a convolution its kernel and bias as integers; changes what it reads."""
    kernel = weights[node.input[1]].astype(np.float64)
    greatest = np.abs(kernel).max(axis=(1, 2, 3))
    scales = np.where(greatest > 0, greatest / KERNEL_MAX, 1.0).astype(np.float32)
    wide = scales.astype(np.float64)
    made = [as_integers(graph, node.input[1], np.rint(kernel / wide[:, None, None, None]).astype(np.int8), scales)]
    if len(node.input) > 2:
        # Sums are in steps of kernel times input, so the bias is as well.
        finest = scales * scale_in
        bias = np.rint(weights[node.input[2]].astype(np.float64) / finest.astype(np.float64)).astype(np.int32)
        made.append(as_integers(graph, node.input[2], bias, finest))
    node.input[1:] = [one.output[0] for one in made]
    return made


def as_integers(graph, name, values, scales):
    inputs = [constant(graph, f"{name}_integers", values), constant(graph, f"{name}_scales", scales)]
    inputs.append(constant(graph, f"{name}_zeros", np.zeros(len(scales), values.dtype)))
    return helper.make_node("DequantizeLinear", inputs, [f"{name}_values"], name=f"{name}_from_integers", axis=0)


def constant(graph, name, value):
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value).reshape(np.shape(value)), name))
    return name
