"""The golden reference for every kind of head: what Python's onnxruntime makes of made-up pictures.

    heads.py > tests/data/heads.json

Needs the packages in `requirements.txt` beside it, by `pip install --target FOLDER -r requirements.txt`
and `PYTHONPATH=FOLDER`. It shares no code with the Rust operators. It runs the families in
`tests/data/models` that have random weights; the rules both follow are these:

- The value of a picture's pixel is that of its tile of 9 x 6 pixels, which is hashed, plus a little noise
  (`picture` below); everything is an integer below 2 ** 32.
- Letterbox: the picture is resized to the largest size of its proportions, to the nearest whole pixels
  (halves go up), bilinear with antialiasing; it lies top left, and the rest is `fill`. Stretch: it fills
  the input.
- A line of text is resized to the input's height. The input is as wide as that, rounded up to
  `width_step`, at least the variant's width and at most `width_max`, to which longer lines are squeezed.
- Pixels are put in the manifest's channel order, then (value - mean) / std.
- Boxes are divided by the scale of each axis, clipped to the picture, and empty ones go.
- Suppression goes by falling score and within a class: a box whose overlap (IoU) with a kept one is
  larger than `iou_max` goes.
- The rest is said where each head is read below.
"""

import json
import pathlib
import platform
import sys
import tomllib

import numpy as np
import onnxruntime
import PIL
from PIL import Image

MODELS = pathlib.Path(__file__).parent.parent / "data" / "models"
FAMILIES = ["yolo-rows", "yolo-columns", "center-face", "text-map", "scores", "look", "line"]
# Seed, width and height: wider, taller, tiny, long; and as large as the input, so that nothing is resized.
PICTURES = [(2, 150, 70), (3, 50, 90), (5, 7, 5), (6, 400, 40), (7, 97, 33)]
SAME_SIZE_SEEDS = [1, 4, 8, 9]
LINE_WIDTHS = [100, 33, 160, 16]


def main():
    families = {name: of_family(name) for name in FAMILIES}
    versions = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": onnxruntime.__version__,
        "pillow": PIL.__version__,
    }
    lines = [f'"{name}": [\n' + ",\n".join(json.dumps(one) for one in made) + "\n]" for name, made in families.items()]
    print(f'{{\n"reference": {json.dumps(versions)},\n"families": {{\n' + ",\n".join(lines) + "\n}\n}")


def picture(seed, width, height):
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    tile = (x // 9 * 73 + y // 6 * 151 + c * 199 + seed * 37 + 1) * 2654435761 % 2**32 >> 24
    noise = (x * 31 + y * 17 + c * 101 + seed * 7) * 40503 % 2**16 >> 11
    return np.minimum(tile + noise, 255).astype(np.uint8)


def of_family(name):
    manifest = tomllib.loads((MODELS / name / "manifest.toml").read_text())
    variant = manifest["variant"][0]
    session = onnxruntime.InferenceSession(MODELS / name / variant["file"], providers=["CPUExecutionProvider"])
    head = manifest["head"]
    made = []
    for seed, width, height in PICTURES + same_size(variant, head):
        item, covered = place(picture(seed, width, height), manifest, variant)
        values = session.run(None, {manifest["input"]["name"]: item})
        outputs = {o.name: v[0].astype(np.float64) for o, v in zip(session.get_outputs(), values)}
        result = HEADS[head["kind"]](outputs, head, manifest, ((width, height), covered))
        resized = covered != (width, height)
        made.append({"picture": [seed, width, height], "resized": resized, "result": result})
    return made


def same_size(variant, head):
    width, height = variant["width"], variant["height"]
    widths = LINE_WIDTHS if head["kind"] == "ctc" else [width] * len(SAME_SIZE_SEEDS)
    return [(seed, width, height) for seed, width in zip(SAME_SIZE_SEEDS, widths)]


def place(pixels, manifest, variant):
    """The input tensor, and the size of its part that the picture covers."""
    rules, into = manifest["input"], (variant["width"], variant["height"])
    height, width = pixels.shape[:2]
    if manifest["head"]["kind"] == "ctc":
        step, most = manifest["head"]["width_step"], manifest["head"]["width_max"]
        natural = -(-width * into[1] // height)
        into = (min(max(-(-natural // step) * step, into[0]), most), into[1])
        covered = into if natural > into[0] else letterbox((width, height), into)
    else:
        covered = into if rules["resize"] == "stretch" else letterbox((width, height), into)
    resized = np.asarray(Image.fromarray(pixels).resize(covered, Image.Resampling.BILINEAR))
    whole = np.full((into[1], into[0], 3), rules["fill"], np.uint8)
    whole[: covered[1], : covered[0]] = resized
    ordered = whole[..., ::-1] if rules["channels"] == "bgr" else whole
    scaled = (ordered.astype(np.float32) - np.float32(rules["mean"])) / np.float32(rules["std"])
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None]), covered


def letterbox(size, into):
    """In integers: a scale as a float would round one side of some pictures to a pixel less."""
    (w, h), (wide, high) = size, into
    nearest = lambda a, b: max((2 * a + b) // (2 * b), 1)
    if wide * h <= high * w:
        return wide, min(nearest(h * wide, w), high)
    return min(nearest(w * high, h), wide), high


def boxes_of(boxes, scores, classes, head, manifest, sizes):
    """Suppresses boxes (in pixels of the input), and brings those that stay back to the picture."""
    (width, height), covered = sizes
    described = []
    for i in suppress(boxes, scores, classes, head.get("iou_max", 1.0)):
        x0, x1 = np.clip(boxes[i][[0, 2]] * width / covered[0], 0, width)
        y0, y1 = np.clip(boxes[i][[1, 3]] * height / covered[1], 0, height)
        if x1 > x0 and y1 > y0:
            sides = {side: round(float(v), 3) for side, v in zip(("x0", "y0", "x1", "y1"), (x0, y0, x1, y1))}
            described.append({"class": manifest["classes"][classes[i]], "score": round(float(scores[i]), 5), **sides})
    return described


def suppress(boxes, scores, classes, iou_max):
    kept = []
    for i in np.argsort(-scores, kind="stable"):
        if all(iou(boxes[i], boxes[j]) <= iou_max for j in kept if classes[j] == classes[i]):
            kept.append(i)
    return kept


def iou(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    shared = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union > 0 else 0.0


def yolo(outputs, head, manifest, sizes):
    """Cells of (centre x, centre y, width, height, [objectness,] scores); the best class counts."""
    cells = outputs[head["output"]]
    cells = cells.T if head["layout"] == "columns" else cells
    x, y, w, h = cells[:, :4].T
    scores = cells[:, 5:] * cells[:, 4:5] if head["objectness"] else cells[:, 4:]
    best = scores.max(axis=1)
    chosen = np.nonzero(best > head["score_min"])[0]
    boxes = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=1)[chosen]
    return boxes_of(boxes, best[chosen], scores.argmax(axis=1)[chosen], head, manifest, sizes)


def center_face(outputs, head, manifest, sizes):
    """Sizes are exponentials, height first; a centre lies half a cell and its offset from its cell's corner."""
    heat, stride = outputs[head["heat"]][0], head["stride"]
    rows, columns = np.nonzero(heat > head["score_min"])
    h, w = np.exp(outputs[head["scale"]][:, rows, columns]) * stride
    down, right = outputs[head["offset"]][:, rows, columns]
    x, y = (columns + right + 0.5) * stride, (rows + down + 0.5) * stride
    boxes = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=1)
    return boxes_of(boxes, heat[rows, columns], np.zeros(len(rows), int), head, manifest, sizes)


def text_map(outputs, head, manifest, sizes):
    """Pixels above the threshold that hang together, corners included; at least 3 pixels wide and high."""
    text = outputs[head["map"]][0]
    boxes, scores = [], []
    for pixels in regions(text > head["threshold"]):
        rows, columns = np.array(pixels).T
        x0, y0, x1, y1 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        score = text[rows, columns].mean()
        if min(x1 - x0, y1 - y0) >= 3 and score > head["score_min"]:
            grown = (x1 - x0) * (y1 - y0) * head["unclip"] / (2 * (x1 - x0 + y1 - y0))
            boxes.append([x0 - grown, y0 - grown, x1 + grown, y1 + grown])
            scores.append(score)
    return boxes_of(np.array(boxes), np.array(scores), np.zeros(len(boxes), int), head, manifest, sizes)


def regions(is_text):
    left = set(zip(*np.nonzero(is_text)))
    for start in sorted(left):
        if start not in left:
            continue
        left.remove(start)
        pixels = [start]
        for row, column in pixels:
            near = {(row + dy, column + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            pixels += sorted(near)
        yield pixels


def scores(outputs, head, manifest, _sizes):
    values = outputs[head["output"]]
    values = np.exp(values) / np.exp(values).sum() if head["softmax"] else values
    best = np.argsort(-values, kind="stable")[: head["top"]]
    return [{"name": manifest["classes"][i], "score": round(float(values[i]), 6)} for i in best]


def embedding(outputs, head, _manifest, _sizes):
    values = outputs[head["output"]]
    return [round(float(v), 6) for v in values / np.linalg.norm(values)]


def ctc(outputs, head, manifest, _sizes):
    """The best label of each step; repeats are one, and label 0 is none."""
    alphabet = (MODELS / manifest["name"] / head["alphabet"]).read_text().splitlines()
    alphabet += [" "] if head["space"] else []
    steps = outputs[head["output"]]
    labels = steps.argmax(axis=1)
    told = [t for t in range(len(labels)) if labels[t] != 0 and (t == 0 or labels[t] != labels[t - 1])]
    score = np.mean([steps[t, labels[t]] for t in told]) if told else 0.0
    return {"text": "".join(alphabet[labels[t] - 1] for t in told), "score": round(float(score), 6)}


HEADS = {
    "yolo": yolo,
    "center_face": center_face,
    "text_map": text_map,
    "scores": scores,
    "embedding": embedding,
    "ctc": ctc,
}

if __name__ == "__main__":
    if len(sys.argv) != 1:
        raise SystemExit(__doc__)
    main()
