"""The golden reference for NanoDet: what Python's onnxruntime sees in 20 frames of a video.

    nanodet.py MANIFEST VARIANT MODEL_FILE VIDEO FFMPEG > tests/data/nanodet-VARIANT-vtest.json

Needs the packages in `requirements.txt` beside it, by `pip install --target FOLDER -r requirements.txt`
and `PYTHONPATH=FOLDER`. It shares no code with the Rust
operators; the rules both follow are these:

- Frame i of 20 is number i * frames // 20, decoded by ffmpeg to yuv420p, and RGB by limited-range
  BT.601 with the nearest chroma sample.
- Letterbox: scale = min(S / width, S / height); the picture is resized to the nearest whole pixels
  (halves go up), bilinear with antialiasing, lies top left, and the rest is `fill`.
- Pixels are put in the manifest's channel order, then (value - mean) / std.
- A cell's distance to each of its four sides (left, top, right, bottom) is the expectation over the
  softmax of its bins, times the stride; its centre is (column + 0.5, row + 0.5) times the stride.
- A cell gives one detection, of its most probable class, if that is at least `score_min`.
- Boxes are divided by the scale and clipped to the frame.
- Suppression goes by falling score and within a class: a box whose overlap (IoU) with a kept one is
  larger than `iou_max` goes.
"""

import json
import pathlib
import platform
import subprocess
import sys
import tomllib

import numpy as np
import onnxruntime
import PIL
from PIL import Image

FRAMES = 20


def main(manifest_file, variant_name, model_file, video, ffmpeg):
    manifest = tomllib.loads(pathlib.Path(manifest_file).read_text())
    variant = next(v for v in manifest["variant"] if v["name"] == variant_name)
    session = onnxruntime.InferenceSession(model_file, providers=["CPUExecutionProvider"])
    frames = decode(ffmpeg, video)
    chosen = [i * len(frames) // FRAMES for i in range(FRAMES)]
    seen = {str(n): detect(session, manifest, variant["width"], to_rgb(*frames[n])) for n in chosen}
    header = {
        "model": variant["file"],
        "sha256": variant["sha256"],
        "video": pathlib.Path(video).name,
        "frames_in_video": len(frames),
        "versions": versions(ffmpeg),
    }
    write(header, seen)


def decode(ffmpeg, video):
    """All frames as they are coded, each as its planes Y, U and V (U and V at half the size)."""
    width, height = size_of(ffmpeg, video)
    command = [ffmpeg, "-v", "error", "-i", video, "-f", "rawvideo", "-pix_fmt", "yuv420p", "-"]
    data = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    half = (height // 2, width // 2)
    sizes = [height * width, half[0] * half[1], half[0] * half[1]]
    frames = np.frombuffer(data, np.uint8).reshape(-1, sum(sizes))
    planes = lambda frame: np.split(frame, np.cumsum(sizes)[:2])
    shape = lambda y, u, v: (y.reshape(height, width), u.reshape(half), v.reshape(half))
    return [shape(*planes(frame)) for frame in frames]


def to_rgb(y, u, v):
    """Limited-range BT.601 (Kr = 0.299, Kb = 0.114) to RGB; each chroma sample colours four pixels."""
    twice = lambda plane: plane.repeat(2, axis=0).repeat(2, axis=1).astype(np.float64)
    luma = (y.astype(np.float64) - 16) / 219
    blue, red = (twice(u) - 128) / 224, (twice(v) - 128) / 224
    r = luma + 2 * (1 - 0.299) * red
    b = luma + 2 * (1 - 0.114) * blue
    g = (luma - 0.299 * r - 0.114 * b) / 0.587
    return np.clip(np.floor(255 * np.stack([r, g, b], axis=-1) + 0.5), 0, 255).astype(np.uint8)


def size_of(ffmpeg, video):
    """The size of the pictures, read off the header of the first one as a portable pixmap."""
    command = [ffmpeg, "-v", "error", "-i", video, "-frames:v", "1", "-f", "image2pipe", "-c:v", "ppm", "-"]
    header = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout[:32].split()
    return int(header[1]), int(header[2])


def detect(session, manifest, size, frame):
    picture, scale = letterbox(frame, size, manifest["input"]["fill"])
    outputs = session.run(None, {manifest["input"]["name"]: normalise(picture, manifest["input"])})
    by_name = dict(zip((o.name for o in session.get_outputs()), outputs))
    boxes, scores, classes = cells(by_name, manifest["head"], size)
    height, width = frame.shape[:2]
    boxes = np.clip(boxes / scale, 0, [width, height, width, height])
    names = manifest["classes"]
    kept = suppress(boxes, scores, classes, manifest["head"]["iou_max"])
    return [describe(names[classes[i]], scores[i], boxes[i]) for i in kept]


def letterbox(frame, size, fill):
    height, width = frame.shape[:2]
    scale = min(size / width, size / height)
    target = (int(width * scale + 0.5), int(height * scale + 0.5))
    resized = np.asarray(Image.fromarray(frame).resize(target, Image.Resampling.BILINEAR))
    picture = np.full((size, size, 3), fill, np.uint8)
    picture[: target[1], : target[0]] = resized
    return picture, scale


def normalise(picture, rules):
    ordered = picture[..., ::-1] if rules["channels"] == "bgr" else picture
    scaled = (ordered.astype(np.float32) - np.float32(rules["mean"])) / np.float32(rules["std"])
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])


def cells(outputs, head, size):
    """Boxes in pixels of the model's input, scores and class numbers of the cells that see something."""
    found = []
    rows = zip(head["strides"], head["classes_out"], head["boxes_out"])
    for stride, classes_out, boxes_out in rows:
        probabilities = outputs[classes_out][0]
        best = probabilities.argmax(axis=1)
        score = probabilities[np.arange(len(best)), best]
        chosen = np.nonzero(score >= head["score_min"])[0]
        logits = outputs[boxes_out][0][chosen].reshape(-1, 4, head["bins"]).astype(np.float64)
        weights = np.exp(logits - logits.max(axis=2, keepdims=True))
        weights /= weights.sum(axis=2, keepdims=True)
        left, top, right, bottom = ((weights * np.arange(head["bins"])).sum(axis=2) * stride).T
        columns = size // stride
        x, y = (chosen % columns + 0.5) * stride, (chosen // columns + 0.5) * stride
        boxes = np.stack([x - left, y - top, x + right, y + bottom], axis=1)
        found.append((boxes, score[chosen], best[chosen]))
    return (np.concatenate(parts) for parts in zip(*found))


def suppress(boxes, scores, classes, iou_max):
    kept = []
    for i in np.argsort(-scores, kind="stable"):
        rivals = (j for j in kept if classes[j] == classes[i])
        if all(iou(boxes[i], boxes[j]) <= iou_max for j in rivals):
            kept.append(i)
    return kept


def iou(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    shared = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union > 0 else 0.0


def describe(name, score, box):
    sides = {side: round(float(v), 2) for side, v in zip(("x0", "y0", "x1", "y1"), box)}
    return {"class": name, "score": round(float(score), 4), **sides}


def versions(ffmpeg):
    first_line = subprocess.run([ffmpeg, "-version"], check=True, capture_output=True, text=True).stdout
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": onnxruntime.__version__,
        "pillow": PIL.__version__,
        "ffmpeg": first_line.split()[2],
    }


def write(header, seen):
    """One detection a line, so that a change can be read as a difference of lines."""
    lines = []
    for number, detections in seen.items():
        inner = ",\n".join("    " + json.dumps(d) for d in detections)
        lines.append(f'  "{number}": [\n{inner}\n  ]' if detections else f'  "{number}": []')
    body = ",\n".join(lines)
    print(f'{{\n"reference": {json.dumps(header)},\n"frames": {{\n{body}\n}}\n}}')


if __name__ == "__main__":
    if len(sys.argv) != 6:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
