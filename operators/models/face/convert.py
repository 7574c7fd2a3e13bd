"""Frees CenterFace of the sizes it was exported with, so that it takes any batch and picture.

    convert.py FOLDER_WITH_source.onnx OUTPUT_FOLDER

The weights stay as they are, but for counters that nothing reads. They are also taken off the graph's
inputs, where the old exporter put them: what could be set from outside cannot be folded into the layers
around it.

Input `input.1`, float32 [N, 3, height, width], RGB 0..=255, both sides multiples of 32. Outputs at a
quarter of the size: `heat` [N, 1, h, w], `scale` [N, 2, h, w] (the logarithms of height and width, in
cells), `offset` [N, 2, h, w] (down and to the right, in cells), `landmarks` [N, 10, h, w].
"""

import pathlib
import sys

import onnx

import onnx_file

INPUT = "input.1"
OUTPUTS = {"537": ("heat", 1), "538": ("scale", 2), "539": ("offset", 2), "540": ("landmarks", 10)}


def main(folder, output_folder):
    model = onnx.load(str(pathlib.Path(folder) / "source.onnx"))
    graph = model.graph
    read = {name for node in graph.node for name in node.input}
    kept = [weight for weight in graph.initializer if weight.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    inputs = [value for value in graph.input if value.name == INPUT]
    del graph.input[:]
    graph.input.extend(inputs)
    del graph.value_info[:]
    for node in graph.node:
        node.output[:] = [OUTPUTS.get(name, (name,))[0] for name in node.output]
    for value in graph.output:
        value.name = OUTPUTS[value.name][0]
    onnx_file.name_sides(graph.input, {INPUT: ["N", 3, "height", "width"]})
    onnx_file.name_sides(graph.output, {name: ["N", channels, "h", "w"] for name, channels in OUTPUTS.values()})
    onnx_file.save(model, pathlib.Path(output_folder) / "centerface.onnx")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
