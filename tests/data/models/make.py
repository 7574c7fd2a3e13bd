"""Makes the tiny model families of this folder.

    python3 make.py        # needs the package `onnx`; writes beside itself, 60 KB in all

The families of `spot` and `distributions` are known by construction; those of `HEADS_OF_NOISE` have random
weights, always the same, and are compared with a reference (`tests/reference/heads.py`).

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


def noise(seed, *shape, spread=0.3):
    """Weights that are the same with any version of numpy: splitmix64, summed to a bell."""
    count = int(np.prod(shape))
    state = (np.arange(1, 4 * count + 1, dtype=np.uint64) + np.uint64(seed << 32)) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    unit = ((state ^ (state >> np.uint64(31))) >> np.uint64(40)).astype(np.float64) / (1 << 24)
    bell = unit.reshape(4, count).sum(axis=0) - 2
    return (spread * bell).astype(np.float32).reshape(shape)


def outputs(**shapes):
    return [h.make_tensor_value_info(name, T.FLOAT, shape) for name, shape in shapes.items()]


def conv(result, weights, bias=None, source="images", **attributes):
    return h.make_node("Conv", [source, weights] + ([bias] if bias else []), [result], **attributes)


def yolo(family, classes, objectness, rows):
    """Centres within 64 x 48 pixels, sizes up to 30 x 30, scores of sigmoids."""
    values = 4 + objectness + classes
    scale = np.ones((values, 1), np.float32)
    scale[:4, 0] = [64, 48, 30, 30]
    constants = [
        constant("weights", noise(len(family), values, 3, STRIDE, STRIDE)),
        constant("flat", np.array([0, 0, -1], np.int64)),
        constant("scale", scale),
    ]
    nodes = [
        conv("cells", "weights", **FLOATS),
        h.make_node("Reshape", ["cells", "flat"], ["logits"]),
        h.make_node("Sigmoid", ["logits"], ["shares"]),
        h.make_node("Mul", ["shares", "scale"], ["columns" if rows else "output"]),
    ]
    nodes += [h.make_node("Transpose", ["columns"], ["output"], perm=[0, 2, 1])] if rows else []
    shape = ["N", "cells", values] if rows else ["N", values, "cells"]
    write(family, family, nodes, [images()], outputs(output=shape), constants)


def center_face():
    constants = [
        constant("heat_weights", noise(1, 1, 3, 4, 4, spread=0.6)),
        constant("scale_weights", noise(2, 2, 3, 4, 4, spread=0.2)),
        constant("offset_weights", noise(3, 2, 3, 4, 4, spread=0.1)),
    ]
    four = dict(kernel_shape=[4, 4], strides=[4, 4])
    nodes = [
        conv("logits", "heat_weights", **four),
        h.make_node("Sigmoid", ["logits"], ["heat"]),
        conv("scale", "scale_weights", **four),
        conv("offset", "offset_weights", **four),
    ]
    shapes = dict(heat=["N", 1, "h", "w"], scale=["N", 2, "h", "w"], offset=["N", 2, "h", "w"])
    write("center-face", "center-face", nodes, [images()], outputs(**shapes), constants)


def text_map():
    """Means over 5 x 5 pixels, steepened, so that regions have a shape."""
    kernel = np.full((1, 3, 5, 5), 12 / 75, np.float32)
    constants = [constant("weights", kernel), constant("bias", np.array([-6], np.float32))]
    nodes = [
        conv("logits", "weights", "bias", kernel_shape=[5, 5], pads=[2, 2, 2, 2]),
        h.make_node("Sigmoid", ["logits"], ["map"]),
    ]
    write("text-map", "text-map", nodes, [images()], outputs(map=["N", 1, "H", "W"]), constants)


def pooled(family, length, activation):
    """What a picture's cells are on average, mixed into `length` numbers."""
    constants = [
        constant("weights", noise(len(family), 8, 3, STRIDE, STRIDE)),
        constant("mix", noise(9, 8, length, spread=2.0)),
    ]
    nodes = [
        conv("cells", "weights", **FLOATS),
        h.make_node(activation, ["cells"], ["bent"]),
        h.make_node("GlobalAveragePool", ["bent"], ["means"]),
        h.make_node("Flatten", ["means"], ["flat"]),
        h.make_node("MatMul", ["flat", "mix"], ["output"]),
    ]
    write(family, family, nodes, [images()], outputs(output=["N", length]), constants)


def sides(name, inputs, declared, hidden):
    """As many values of a picture's mean as `hidden` says; that number is only known once it runs."""
    constants = [
        constant("nothing", np.float32(0)),
        constant("sides", np.array([1, hidden], np.int64)),
    ]
    nodes = [
        h.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=0),
        h.make_node("Unsqueeze", ["mean", "last"], ["column"]),
        h.make_node("ReduceSum", ["images"], ["sum"], keepdims=0),
        h.make_node("Mul", ["sum", "nothing"], ["zero"]),
        h.make_node("Cast", ["zero"], ["integer"], to=T.INT64),
        h.make_node("Add", ["sides", "integer"], ["shape"]),
        h.make_node("Expand", ["column", "shape"], ["output"]),
    ]
    constants.append(constant("last", np.array([1], np.int64)))
    write("sides", name, nodes, [images(dims=inputs)], outputs(output=declared), constants)


def voice():
    """The signature of a voice detector with state: that halves, and grows by the loudness of the window."""
    constants = [
        constant("half", np.float32(0.5)),
        constant("around", np.array([0, 2], np.int64)),
        constant("eight", np.float32(8)),
        constant("quiet", np.float32(0.3)),
        constant("last", np.array([1], np.int64)),
    ]
    nodes = [
        h.make_node("Abs", ["input"], ["size"]),
        h.make_node("ReduceMean", ["size"], ["loudness"], axes=[1], keepdims=0),
        h.make_node("Unsqueeze", ["loudness", "around"], ["grown"]),
        h.make_node("Mul", ["state", "half"], ["halved"]),
        h.make_node("Add", ["halved", "grown"], ["stateN"]),
        h.make_node("ReduceMean", ["stateN"], ["mean"], axes=[0, 2], keepdims=0),
        h.make_node("Sub", ["mean", "quiet"], ["above"]),
        h.make_node("Mul", ["above", "eight"], ["steep"]),
        h.make_node("Sigmoid", ["steep"], ["likely"]),
        h.make_node("Unsqueeze", ["likely", "last"], ["output"]),
    ]
    inputs = [
        h.make_tensor_value_info("input", T.FLOAT, ["N", 576]),
        h.make_tensor_value_info("state", T.FLOAT, [2, "N", 128]),
    ]
    write("voice", "voice", nodes, inputs, outputs(output=["N", 1], stateN=[2, "N", 128]), constants)


LETTERS = "abcdefghij"


def line():
    """A step per 4 pixels of a line that is 16 pixels high."""
    constants = [
        constant("weights", noise(4, len(LETTERS) + 2, 3, 16, 4, spread=0.4)),
        constant("second", np.array([2], np.int64)),
    ]
    nodes = [
        conv("cells", "weights", kernel_shape=[16, 4], strides=[16, 4]),
        h.make_node("Squeeze", ["cells", "second"], ["columns"]),
        h.make_node("Transpose", ["columns"], ["logits"], perm=[0, 2, 1]),
        h.make_node("Softmax", ["logits"], ["output"], axis=2),
    ]
    shape = ["N", "steps", len(LETTERS) + 2]
    write("line", "line", nodes, [images(dims=["N", 3, 16, "W"])], outputs(output=shape), constants)


MANIFEST = """\
version = 1
name = "{family}"
task = "{task}"
{classes}license = "Apache-2.0 OR MIT"
source = "made by make.py in the folder above"

[input]
name = "images"
layout = "nchw"
channels = "{channels}"
mean = {mean}
std = {std}
resize = "{resize}"
fill = {fill}

[head]
{head}
"""
VARIANT = """
[[variant]]
name = "{name}"
file = "{name}.onnx"
sha256 = "{sha256}"
width = {size[0]}
height = {size[1]}
precision = "f32"
accuracy = 1.0
accuracy_data = "by construction"
"""
PLAIN = dict(channels="rgb", mean=[0.0, 0.0, 0.0], std=[1.0, 1.0, 1.0], resize="letterbox", fill=0)
# Values of a mean of about 0, so that weights of any sign tell pictures apart.
CENTRED = dict(channels="bgr", mean=[123.5, 116.25, 103.5], std=[58.5, 57.0, 57.5], resize="letterbox", fill=114)
SPOT_BOUNDS = "\nscore_min = 0.3\niou_max = 0.5"
HEADS = {
    "spot": 'kind = "heat_map"\nheat = "heat"\nltrb = "ltrb"\nstride = 8' + SPOT_BOUNDS,
    "distributions": 'kind = "nanodet"\nstrides = [8]\nbins = 4\nclasses_out = ["classes"]\nboxes_out = ["boxes"]'
    + SPOT_BOUNDS,
}
HEADS_OF_NOISE = {
    "yolo-rows": 'kind = "yolo"\noutput = "output"\nlayout = "rows"\nobjectness = true\nscore_min = 0.3\niou_max = 0.45',
    "yolo-columns": 'kind = "yolo"\noutput = "output"\nlayout = "columns"\nobjectness = false\nscore_min = 0.6\niou_max = 0.45',
    "center-face": 'kind = "center_face"\nheat = "heat"\nscale = "scale"\noffset = "offset"\nstride = 4\n'
    "score_min = 0.7\niou_max = 0.3",
    "text-map": 'kind = "text_map"\nmap = "map"\nthreshold = 0.6\nscore_min = 0.75\nunclip = 1.5',
    "sides": 'kind = "scores"\noutput = "output"\nsoftmax = false\ntop = 3',
    "scores": 'kind = "scores"\noutput = "output"\nsoftmax = true\ntop = 3',
    "look": 'kind = "embedding"\noutput = "output"\nlength = 16',
    "line": 'kind = "ctc"\noutput = "output"\nalphabet = "letters.txt"\nalphabet_sha256 = "{alphabet}"\nspace = true\n'
    "width_step = 8\nwidth_max = 160",
}


def sha256_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def manifest(family, names, classes=("red", "green"), task="detect", rules=PLAIN, size=(64, 48), **changes):
    classes = "classes = [" + ", ".join(f'"{c}"' for c in classes) + "]\n" if classes else ""
    head = HEADS.get(family) or HEADS_OF_NOISE[family]
    if "{alphabet}" in head:
        head = head.format(alphabet=sha256_of(HERE / family / "letters.txt"))
    text = MANIFEST.format(family=family, task=task, classes=classes, head=head, **{**rules, **changes})
    for name in names:
        text += VARIANT.format(name=name, size=size, sha256=sha256_of(HERE / family / f"{name}.onnx"))
    (HERE / family / "manifest.toml").write_text(text)


def of_noise():
    yolo("yolo-rows", classes=3, objectness=True, rows=True)
    manifest("yolo-rows", ["yolo-rows"], ["a", "b", "c"], rules=CENTRED)
    yolo("yolo-columns", classes=5, objectness=False, rows=False)
    manifest("yolo-columns", ["yolo-columns"], ["a", "b", "c", "d", "e"], rules=CENTRED, channels="rgb")
    center_face()
    manifest("center-face", ["center-face"], ["face"], rules=CENTRED)
    text_map()
    manifest("text-map", ["text-map"], ["text"], std=[255.0, 255.0, 255.0])
    pooled("scores", 6, "Tanh")
    manifest("scores", ["scores"], ["a", "b", "c", "d", "e", "f"], "classify", CENTRED, (40, 40), resize="stretch")
    pooled("look", 16, "Tanh")
    manifest("look", ["look"], [], "embed", CENTRED, (32, 64), resize="stretch")
    line()
    (HERE / "line" / "letters.txt").write_text("\n".join(LETTERS) + "\n")
    manifest("line", ["line"], [], "read", CENTRED, (16, 16), fill=128)


def of_sides():
    """Graphs whose sides are nothing, or more than there is memory for."""
    any_size = ["N", 3, "H", "W"]
    sides("six", any_size, ["N", "K"], 6)
    sides("empty_in", [0, 3, 40, 40], ["N", 6], 6)
    sides("huge_in", [1, 3, 1 << 40, 40], ["N", 6], 6)
    sides("empty_out", any_size, ["N", "K"], 0)
    sides("huge_out", any_size, ["N", 1 << 40], 1 << 40)
    sides("huge_hidden", any_size, ["N", "K"], 1 << 40)
    names = ["six", "empty_in", "huge_in", "empty_out", "huge_out", "huge_hidden"]
    manifest("sides", names, ["a", "b", "c", "d", "e", "f"], "classify", PLAIN, (40, 40))


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
    of_noise()
    of_sides()
    voice()
