"""Names the open sides of PP-OCRv6's text detectors, and lowers the version of their file format.

    convert.py FOLDER_WITH_tiny.onnx_AND_small.onnx OUTPUT_FOLDER

Graph and weights stay as they are. Input `x`, float32 [N, 3, height, width], both multiples of 32.
Output `map` [N, 1, height, width]: how probable text is at each pixel.
"""

import pathlib
import sys

import onnx

import onnx_file

SIZES = ["tiny", "small"]


def main(folder, output_folder):
    for size in SIZES:
        model = onnx.load(str(pathlib.Path(folder) / f"{size}.onnx"))
        graph = model.graph
        (output,) = graph.output
        last = next(node for node in graph.node if output.name in node.output)
        last.output[0] = output.name = "map"
        del graph.value_info[:]
        onnx_file.name_sides(graph.input, {"x": ["N", 3, "height", "width"]})
        onnx_file.name_sides(graph.output, {"map": ["N", 1, "height", "width"]})
        onnx_file.save(model, pathlib.Path(output_folder) / f"ppocrv6-{size}-detect.onnx")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
