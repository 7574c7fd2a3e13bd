"""Makes the tiny model families of this folder, whose behaviour is known by construction.

    python3 make.py        # needs the package `onnx`; writes beside itself, 15 KB in all

`spot/spot` sees a class per colour channel: its heat is the mean of red (of green) over each cell of 8 x 8
pixels, and every box reaches 12 pixels from its cell's centre. The others are spoilt in one way each.
"""

import hashlib
import pathlib

import numpy as np
from onnx import TensorProto as T, checker, helper as h, numpy_helper as n, save

HERE = pathlib.Path(__file__).parent
STRIDE = 8
FLOATS = dict(kernel_shape=[STRIDE, STRIDE], strides=[STRIDE, STRIDE])


def constant(name, array):
    return n.from_array(np.asarray(array), name)


def mean_of_channels(channels):
    """Weights of a convolution whose outputs are means of single channels, of pixels in 0..=255."""
    weights = np.zeros((len(channels), 3, STRIDE, STRIDE), np.float32)
    for out, channel in enumerate(channels):
        weights[out, channel] = 1 / (255 * STRIDE * STRIDE)
    return weights


def write(family, name, nodes, inputs, outputs, constants, opset=13):
    graph = h.make_graph(nodes, name, inputs, outputs, constants)
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", opset)], ir_version=8)
    model.producer_name = "make.py"
    checker.check_model(model, full_check=True)
    (HERE / family).mkdir(exist_ok=True)
    save(model, HERE / family / f"{name}.onnx")


def images(batch="N", dtype=T.FLOAT, dims=None):
    return h.make_tensor_value_info("images", dtype, dims or [batch, 3, "H", "W"])


def maps(batch="N", classes=2):
    return [
        h.make_tensor_value_info("heat", T.FLOAT, [batch, classes, "h", "w"]),
        h.make_tensor_value_info("ltrb", T.FLOAT, [batch, 4, "h", "w"]),
    ]


HEAT = [constant("heat_weights", mean_of_channels([0, 1]))]
LTRB = [
    constant("ltrb_shape", np.array([4, 3, STRIDE, STRIDE], np.int64)),
    constant("twelve", np.full(4, 12, np.float32)),
]


def heat(source="images", result="heat"):
    return h.make_node("Conv", [source, "heat_weights"], [result], **FLOATS)


def ltrb(source="images"):
    zeros = h.make_node("ConstantOfShape", ["ltrb_shape"], ["zeros"])
    return [zeros, h.make_node("Conv", [source, "zeros", "twelve"], ["ltrb"], **FLOATS)]


def spot(name, batch):
    write("spot", name, [heat(), *ltrb()], [images(batch)], maps(batch), HEAT + LTRB)


def nan():
    """Not a number wherever a channel's mean is under one half, so in dark items only."""
    half = constant("half", np.float32(0.5))
    nodes = [heat(result="mean"), h.make_node("Sub", ["mean", "half"], ["above"]), h.make_node("Sqrt", ["above"], ["heat"])]
    write("spot", "nan", nodes + ltrb(), [images()], maps(), HEAT + LTRB + [half])


def rank3():
    axis = constant("axis", np.array([0], np.int64))
    nodes = [h.make_node("Unsqueeze", ["images", "axis"], ["batch"]), heat("batch"), *ltrb("batch")]
    write("spot", "rank3", nodes, [images(dims=[3, "H", "W"])], maps(1), HEAT + LTRB + [axis])


def integers():
    nodes = [h.make_node("Cast", ["images"], ["floats"], to=T.FLOAT), heat("floats"), *ltrb("floats")]
    write("spot", "integers", nodes, [images(dtype=T.INT32)], maps(), HEAT + LTRB)


def slow():
    """Loops a million times per level of its brightest value: at once for black, hours for white."""
    body = h.make_graph(
        [
            h.make_node("Identity", ["go_on"], ["still"]),
            h.make_node("MatMul", ["carried", "square"], ["next"]),
        ],
        "body",
        [
            h.make_tensor_value_info("round", T.INT64, []),
            h.make_tensor_value_info("go_on", T.BOOL, []),
            h.make_tensor_value_info("carried", T.FLOAT, [8, 8]),
        ],
        [
            h.make_tensor_value_info("still", T.BOOL, []),
            h.make_tensor_value_info("next", T.FLOAT, [8, 8]),
        ],
        [constant("square", np.eye(8, dtype=np.float32))],
    )
    constants = [
        constant("million", np.float32(1e6)),
        constant("start", np.zeros((8, 8), np.float32)),
        constant("yes", np.bool_(True)),
    ]
    nodes = [
        h.make_node("ReduceMax", ["images"], ["brightest"], keepdims=0),
        h.make_node("Mul", ["brightest", "million"], ["rounds"]),
        h.make_node("Cast", ["rounds"], ["trips"], to=T.INT64),
        h.make_node("Loop", ["trips", "yes", "start"], ["end"], body=body),
        h.make_node("ReduceSum", ["end"], ["nothing"], keepdims=0),
        heat(result="mean"),
        h.make_node("Add", ["mean", "nothing"], ["heat"]),
        *ltrb(),
    ]
    write("spot", "slow", nodes, [images()], maps(), HEAT + LTRB + constants)


def distributions():
    """As `spot`, with NanoDet's outputs: every distance is 1.5 cells, as a peak between two of four bins."""
    peaks = np.full(16, -30, np.float32)
    peaks[1::4] = peaks[2::4] = 5
    constants = HEAT + [
        constant("bins_shape", np.array([16, 3, STRIDE, STRIDE], np.int64)),
        constant("peaks", peaks),
        constant("two", np.array([0, -1, 2], np.int64)),
        constant("sixteen", np.array([0, -1, 16], np.int64)),
    ]
    nodes = [
        heat(result="mean"),
        h.make_node("Transpose", ["mean"], ["mean_last"], perm=[0, 2, 3, 1]),
        h.make_node("Reshape", ["mean_last", "two"], ["classes"]),
        h.make_node("ConstantOfShape", ["bins_shape"], ["zeros"]),
        h.make_node("Conv", ["images", "zeros", "peaks"], ["bins"], **FLOATS),
        h.make_node("Transpose", ["bins"], ["bins_last"], perm=[0, 2, 3, 1]),
        h.make_node("Reshape", ["bins_last", "sixteen"], ["boxes"]),
    ]
    outputs = [
        h.make_tensor_value_info("classes", T.FLOAT, ["N", "cells", 2]),
        h.make_tensor_value_info("boxes", T.FLOAT, ["N", "cells", 16]),
    ]
    write("distributions", "distributions", nodes, [images()], outputs, constants)


MANIFEST = """\
version = 1
name = "{family}"
task = "detect"
classes = ["red", "green"]
license = "Apache-2.0 OR MIT"
source = "made by make.py in the folder above"

[input]
name = "images"
layout = "nchw"
channels = "rgb"
mean = [0.0, 0.0, 0.0]
std = [1.0, 1.0, 1.0]
resize = "letterbox"
fill = 0

[head]
{head}
score_min = 0.3
iou_max = 0.5
"""
VARIANT = """
[[variant]]
name = "{name}"
file = "{name}.onnx"
sha256 = "{sha256}"
width = 64
height = 48
precision = "f32"
accuracy = 1.0
accuracy_data = "by construction"
"""
HEADS = {
    "spot": 'kind = "heat_map"\nheat = "heat"\nltrb = "ltrb"\nstride = 8',
    "distributions": 'kind = "nanodet"\nstrides = [8]\nbins = 4\nclasses_out = ["classes"]\nboxes_out = ["boxes"]',
}


def manifest(family, names):
    text = MANIFEST.format(family=family, head=HEADS[family])
    for name in names:
        sha256 = hashlib.sha256((HERE / family / f"{name}.onnx").read_bytes()).hexdigest()
        text += VARIANT.format(name=name, sha256=sha256)
    (HERE / family / "manifest.toml").write_text(text)


if __name__ == "__main__":
    spot("spot", "N")
    spot("spot_single", 1)
    nan()
    rank3()
    integers()
    slow()
    distributions()
    manifest("spot", ["spot", "spot_single", "nan", "rank3", "integers", "slow"])
    manifest("distributions", ["distributions"])
