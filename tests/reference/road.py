"""The golden reference for the road detector: what Python's onnxruntime sees in frames of a synthetic road.

    cargo run --release -p jellybean-operators --example render_road -- film 7 250 FOLDER
    road.py operators/models/road/manifest.toml w8 FOLDER/frames.u8 > tests/data/road-w8-film7.json

Needs what `nanodet.py` beside it needs. It shares no code with the Rust operators; the rules both follow are these:

- Frames are as large as the model's input and go in as they are: in the manifest's channel order, (value - mean) / std.
- A cell gives a detection of a class where its heat is above `score_min` and no lower than that of its eight
  neighbours in the same class; the score is the heat, at most 1.
- Its centre is (column + 0.5, row + 0.5) times the stride; the box reaches as far to each side as `ltrb` says,
  in pixels, and is clipped to the frame.
- Suppression is as in `nanodet.py`.
"""

import json
import pathlib
import platform
import sys
import tomllib

import numpy as np
import onnxruntime

from nanodet import describe, normalise, suppress, write

EVERY = 25


def main(manifest_file, variant_name, frames_file):
    manifest = tomllib.loads(pathlib.Path(manifest_file).read_text())
    variant = next(v for v in manifest["variant"] if v["name"] == variant_name)
    model_file = pathlib.Path(manifest_file).parent / variant["file"]
    session = onnxruntime.InferenceSession(model_file, providers=["CPUExecutionProvider"])
    frames = np.fromfile(frames_file, np.uint8).reshape(-1, variant["height"], variant["width"], 3)
    seen = {str(n): detect(session, manifest, frames[n]) for n in range(0, len(frames), EVERY)}
    header = {
        "model": variant["file"],
        "sha256": variant["sha256"],
        "frames": f"every {EVERY}th of {len(frames)}",
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
    }
    write(header, seen)


def detect(session, manifest, frame):
    head = manifest["head"]
    images = {manifest["input"]["name"]: normalise(frame, manifest["input"])}
    heat, ltrb = session.run([head["heat"], head["ltrb"]], images)
    boxes, scores, classes = peaks(heat[0], ltrb[0].astype(np.float64), head)
    height, width = frame.shape[:2]
    boxes = np.clip(boxes, 0, [width, height, width, height])
    kept = suppress(boxes, scores, classes, head["iou_max"])
    return [describe(manifest["classes"][classes[i]], scores[i], boxes[i]) for i in kept]


def peaks(heat, ltrb, head):
    """Boxes in pixels, scores and class numbers of the cells that stand out."""
    _, rows, columns = heat.shape
    padded = np.pad(heat, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    shifts = [(dy, dx) for dy in range(3) for dx in range(3)]
    hottest = np.max([padded[:, dy : dy + rows, dx : dx + columns] for dy, dx in shifts], axis=0)
    classes, row, column = np.nonzero((heat == hottest) & (heat > head["score_min"]))
    left, top, right, bottom = ltrb[:, row, column]
    x, y = (column + 0.5) * head["stride"], (row + 0.5) * head["stride"]
    boxes = np.stack([x - left, y - top, x + right, y + bottom], axis=1)
    return boxes, np.minimum(heat[classes, row, column], 1), classes


if __name__ == "__main__":
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
