"""Measures the ranges of NanoDet's activations on real footage: what `convert.py` rounds `416-int8` by.

    calibrate.py FOLDER_OF_MODELS VIDEO FFMPEG > operators/models/nanodet/calibration.json

The video is `vtest.avi`. Frames 20, 60, 100 and so on are taken, none of which `accuracy.py` looks at.
The last convolutions are left out: their results are few, and go to the boxes and scores as they are.
"""

import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import measuring
import quantise

FIRST, EVERY = 20, 40
PASSING = {"MaxPool", "Resize"}  # their results lie within their inputs, and share their steps
ROUNDED = {"Add", "Conv", "Concat", "LeakyRelu", "MaxPool", "Resize"}


def main(folder, video, ffmpeg):
    model = measuring.Model("nanodet", "416", folder)
    onnx_model = onnx.load(str(pathlib.Path(folder) / model.variant["file"]))
    names = rounded_tensors(onnx_model.graph)
    onnx_model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(onnx_model.SerializeToString(), providers=["CPUExecutionProvider"])
    tensors = [model.tensor(frame)[0] for frame in measuring.frames(ffmpeg, video, 768, 576)[FIRST::EVERY]]
    ends = []
    for tensor in tensors:
        outputs = session.run(names, {model.rules["name"]: tensor})
        ends.append([(output.min(), output.max()) for output in outputs])
    ends = np.array(ends)
    ranges = {model.rules["name"]: (min(t.min() for t in tensors), max(t.max() for t in tensors))}
    ranges |= {name: (ends[:, i, 0].min(), ends[:, i, 1].max()) for i, name in enumerate(names)}
    for node in onnx_model.graph.node:
        if node.op_type in PASSING and node.output[0] in ranges:
            ranges[node.output[0]] = ranges[node.input[0]]
    lines = [f"  {json.dumps(name)}: [{least:.5g}, {greatest:.5g}]" for name, (least, greatest) in ranges.items()]
    print("{\n" + ",\n".join(lines) + "\n}")


def rounded_tensors(graph):
    """What is rounded, by name, in the order of the graph."""
    quantise.fold_biases(graph)
    readers = {name: node.op_type for node in graph.node for name in node.input}
    chosen = [node.output[0] for node in graph.node if node.op_type in ROUNDED]
    return [name for name in chosen if readers.get(name) in ROUNDED]


if __name__ == "__main__":
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
