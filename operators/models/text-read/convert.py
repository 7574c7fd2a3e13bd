"""Names the open sides of PP-OCRv6's smallest text reader, and tidies its list of characters.

    convert.py FOLDER_WITH_tiny.onnx_AND_tiny.txt OUTPUT_FOLDER

Graph and weights stay as they are. Input `x`, float32 [N, 3, 48, width]. Output `probabilities`
[N, steps, classes], a step for every eight pixels of width. Class 0 is the blank, then come the lines
of `keys.txt`, then the space.
"""

import pathlib
import sys

import onnx

import onnx_file


def main(folder, output_folder):
    folder, output_folder = pathlib.Path(folder), pathlib.Path(output_folder)
    keys = (folder / "tiny.txt").read_bytes().decode().replace("\r\n", "\n")
    model = onnx.load(str(folder / "tiny.onnx"))
    graph = model.graph
    (output,) = graph.output
    classes = output.type.tensor_type.shape.dim[2].dim_value
    if classes != keys.count("\n") + 2:
        raise SystemExit(f"{classes} classes are not a blank, {keys.count(chr(10))} keys and a space")
    last = next(node for node in graph.node if output.name in node.output)
    last.output[0] = output.name = "probabilities"
    del graph.value_info[:]
    onnx_file.name_sides(graph.input, {"x": ["N", 3, 48, "width"]})
    onnx_file.name_sides(graph.output, {"probabilities": ["N", "steps", classes]})
    onnx_file.save(model, output_folder / "ppocrv6-tiny-read.onnx")
    (output_folder / "keys.txt").write_bytes(keys.encode())


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
