#!/usr/bin/env python3
"""Trains the road detector on rendered frames, exports it to ONNX, measures it and writes its manifest.

The detector is a small network of plain convolutions without anchors: of every 8 x 8 cell it says how much each
class's centre lies there, and how far the box reaches from the cell's middle.

    input   images [N, 3, H, W] f32, RGB, 0..255; H and W are multiples of 16
    output  heat   [N, 4, H/8, W/8], 0..1, one map per class
            ltrb   [N, 4, H/8, W/8], pixels to the left, top, right and bottom edge

From the repository's root, with frames rendered once by our own camera (never with seeds of both kinds):

    cargo build --release -p jellybean-operators --example render_road
    target/release/examples/render_road 1000000 3200 /tmp/road/train
    target/release/examples/render_road 2000000 400 /tmp/road/val
    operators/models/road/train.py train --frames /tmp/road/train --width 8
    operators/models/road/train.py evaluate --frames /tmp/road/val --seed 2000000

PyTorch is needed for both, ONNX Runtime for `evaluate`. On Debian: `apt-get install python3-torch`, then
`python3 -m pip install --target /tmp/ort onnxruntime 'numpy<2'` and `PYTHONPATH=/tmp/ort /usr/bin/python3 …`
(Debian's PyTorch 1.13 wants a NumPy below 2).
"""

import argparse
import hashlib
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

HERE = Path(__file__).resolve().parent
CLASSES = ["car", "truck", "bus", "person"]
WIDTH, HEIGHT = 320, 192
STRIDE = 8
# Box edges are learnt in this unit, so that their loss is of the heat's order.
UNIT_PX = 16.0
# The sizes that variants run at, and how often training shows each.
SIZES = {(320, 192): 0.6, (240, 144): 0.2, (160, 96): 0.2}
# The steps that each width learns in: five to ten minutes of one core each.
STEPS = {4: 4000, 8: 4500, 16: 3000}
# What the manifest lists: name, width of the net, input size.
VARIANTS = [
    ("w4", 4, (320, 192)),
    ("w8", 8, (320, 192)),
    ("w16", 16, (320, 192)),
    ("w8-240", 8, (240, 144)),
    ("w8-160", 8, (160, 96)),
]
DEFAULT = "w8"
SCORE_MIN, IOU_MAX = 0.3, 0.5


class Frames:
    """Frames as `render_road` writes them, with the truth of each: rows of class, x0, y0, x1, y1."""

    def __init__(self, folder):
        self.pixels = np.memmap(folder / "frames.u8", np.uint8, "r").reshape(-1, HEIGHT, WIDTH, 3)
        rows = np.fromfile(folder / "truth.f32", "<f4").reshape(-1, 6)
        ends = np.searchsorted(rows[:, 0], np.arange(len(self.pixels) + 1))
        self.truth = [rows[a:b, 1:] for a, b in zip(ends, ends[1:])]

    def __len__(self):
        return len(self.pixels)

    def images(self, indices, size):
        """A batch [N, 3, H, W] f32 at a size, shrunk as the product shrinks: by area-weighted interpolation."""
        batch = torch.from_numpy(np.ascontiguousarray(self.pixels[indices])).permute(0, 3, 1, 2).float()
        return shrink(batch, size)


def shrink(batch, size):
    width, height = size
    if (width, height) == (WIDTH, HEIGHT):
        return batch
    return F.interpolate(batch, (height, width), mode="bilinear", antialias=True).round()


def convolution(inputs, outputs, kernel=3, stride=1):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Detector(nn.Module):
    """Features at stride 8, helped by wider context at stride 16, and two heads of 1 x 1 convolutions.

    Plain 3 x 3 convolutions are faster on CPUs at these widths than depthwise ones, whose arithmetic is less but
    waits for memory.
    """

    def __init__(self, width):
        super().__init__()
        w = width
        self.fine = nn.Sequential(
            convolution(3, w, stride=2),
            convolution(w, 2 * w, stride=2),
            convolution(2 * w, 4 * w, stride=2),
            convolution(4 * w, 4 * w),
        )
        self.coarse = nn.Sequential(
            convolution(4 * w, 6 * w, stride=2),
            convolution(6 * w, 6 * w),
            convolution(6 * w, 6 * w),
            convolution(6 * w, 4 * w, kernel=1),
        )
        self.joint = convolution(4 * w, 4 * w)
        self.heat = nn.Conv2d(4 * w, len(CLASSES), 1)
        self.ltrb = nn.Conv2d(4 * w, 4, 1)
        # Almost every cell is empty: start from there, or the first steps are spent on learning it.
        nn.init.constant_(self.heat.bias, -3.0)

    def forward(self, images):
        fine = self.fine(images / 255.0)
        context = F.interpolate(self.coarse(fine), scale_factor=2.0, mode="nearest")
        features = self.joint(fine + context)
        return torch.sigmoid(self.heat(features)), self.ltrb(features) * UNIT_PX


def targets(truth, size):
    """Heat [4, h, w], ltrb [4, h, w] in units and the mask [1, h, w] of the cells that learn boxes, of one frame."""
    width, height = size[0] // STRIDE, size[1] // STRIDE
    heat = np.zeros((len(CLASSES), height, width), np.float32)
    ltrb = np.zeros((4, height, width), np.float32)
    mask = np.zeros((1, height, width), np.float32)
    rows, columns = np.mgrid[:height, :width]
    # Small boxes come last and win the cells that several claim: a large one has others.
    areas = (truth[:, 3] - truth[:, 1]) * (truth[:, 4] - truth[:, 2])
    for kind, x0, y0, x1, y1 in truth[np.argsort(-areas)]:
        x = min(int((x0 + x1) / 2 / STRIDE), width - 1)
        y = min(int((y0 + y1) / 2 / STRIDE), height - 1)
        spread_x = max(0.45, (x1 - x0) / STRIDE / 6)
        spread_y = max(0.45, (y1 - y0) / STRIDE / 6)
        bell = np.exp(-(((columns - x) / spread_x) ** 2 + ((rows - y) / spread_y) ** 2) / 2)
        heat[int(kind)] = np.maximum(heat[int(kind)], bell)
        near = (bell > 0.6) & (abs(columns - x) <= 1) & (abs(rows - y) <= 1)
        middle_x, middle_y = (columns[near] + 0.5) * STRIDE, (rows[near] + 0.5) * STRIDE
        ltrb[:, near] = np.stack([middle_x - x0, middle_y - y0, x1 - middle_x, y1 - middle_y]) / UNIT_PX
        mask[0, near] = 1
    return heat, ltrb, mask


def batch(frames, random, count):
    """A random batch of one size, half of the time mirrored, a little brighter or darker than it was."""
    size = list(SIZES)[random.choice(len(SIZES), p=list(SIZES.values()))]
    indices = random.integers(0, len(frames), count)
    images = frames.images(indices, size) * float(random.uniform(0.75, 1.2))
    scale = np.float32([1, size[0] / WIDTH, size[1] / HEIGHT, size[0] / WIDTH, size[1] / HEIGHT])
    heat, ltrb, mask = (
        torch.from_numpy(np.stack(part)) for part in zip(*(targets(frames.truth[i] * scale, size) for i in indices))
    )
    if random.random() < 0.5:
        images, heat, mask = images.flip(3), heat.flip(3), mask.flip(3)
        ltrb = ltrb[:, [2, 1, 0, 3]].flip(3)
    return images.clamp(0, 255), heat, ltrb, mask


def losses(answer, wanted):
    """The focal loss of the heat, which minds empty cells less the nearer they are to a centre; that of the boxes."""
    (heat, ltrb), (heat_wanted, ltrb_wanted, mask) = answer, wanted
    heat = heat.clamp(1e-4, 1 - 1e-4)
    centre = (heat_wanted > 0.999).float()
    hit = centre * (1 - heat) ** 2 * heat.log()
    miss = (1 - centre) * (1 - heat_wanted) ** 4 * heat**2 * (1 - heat).log()
    heat_loss = -(hit + miss).sum() / centre.sum().clamp(min=1)
    box_loss = (box_losses(ltrb / UNIT_PX, ltrb_wanted) * mask[:, 0]).sum() / mask.sum().clamp(min=1)
    return heat_loss, box_loss


def box_losses(ltrb, wanted):
    """Per cell: what intersection over union lacks, which minds small boxes as much as large ones, and a little L1,
    which pulls boxes together that do not meet yet."""
    shared = torch.minimum(ltrb, wanted).clamp(min=0)
    sides, sides_wanted = ltrb.clamp(min=0), wanted.clamp(min=0)

    def area(edges):
        return (edges[:, 0] + edges[:, 2]) * (edges[:, 1] + edges[:, 3])

    overlap = area(shared)
    union = area(sides) + area(sides_wanted) - overlap
    return 2 * (1 - overlap / union.clamp(min=1e-4)) + (ltrb - wanted).abs().mean(1)


def train(frames, width, steps, batch_size, seed):
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    detector = Detector(width)
    optimiser = torch.optim.AdamW(detector.parameters(), lr=5e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, steps, pct_start=0.15)
    start = time.monotonic()
    for step in range(1, steps + 1):
        images, *wanted = batch(frames, random, batch_size)
        heat_loss, box_loss = losses(detector(images), wanted)
        optimiser.zero_grad()
        (heat_loss + box_loss).backward()
        optimiser.step()
        schedule.step()
        if step % 100 == 0:
            elapsed = time.monotonic() - start
            print(f"w{width} step {step}: heat {heat_loss:.3f} box {box_loss:.3f}, {elapsed:.0f} s", flush=True)
    return detector.eval()


def export(detector, path):
    axes = {"images": {0: "n", 2: "height", 3: "width"}}
    axes.update({name: {0: "n", 2: "rows", 3: "columns"} for name in ("heat", "ltrb")})
    torch.onnx.export(
        detector,
        torch.zeros(1, 3, HEIGHT, WIDTH),
        str(path),
        opset_version=13,
        input_names=["images"],
        output_names=["heat", "ltrb"],
        dynamic_axes=axes,
    )


def iou(box, others):
    """Of one box [4] with many [n, 4]."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.prod(np.maximum(sides, 0), axis=1)
    area = np.prod(box[2:] - box[:2]) + np.prod(others[:, 2:] - others[:, :2], axis=1)
    return shared / np.maximum(area - shared, 1e-9)


def decode(heat, ltrb, size, score_min):
    """Rows of class, x0, y0, x1, y1, score in pixels of the full frame, by falling score, overlaps removed."""
    padded = np.pad(heat, ((0, 0), (1, 1), (1, 1)))
    around = np.max(np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2)), axis=(3, 4))
    kinds, rows, columns = np.nonzero((heat >= around) & (heat > score_min))
    left, top, right, bottom = ltrb[:, rows, columns]
    x, y = (columns + 0.5) * STRIDE, (rows + 0.5) * STRIDE
    scale = np.array([WIDTH / size[0], HEIGHT / size[1]] * 2)
    boxes = np.stack([x - left, y - top, x + right, y + bottom], axis=1) * scale
    found = np.column_stack([kinds, boxes, heat[kinds, rows, columns]])
    found = found[np.argsort(-found[:, 5], kind="stable")][:100]
    kept = []
    for row in found:
        rivals = np.array([k[1:5] for k in kept if k[0] == row[0]]).reshape(-1, 4)
        if not (iou(row[1:5], rivals) > IOU_MAX).any():
            kept.append(row)
    return np.array(kept).reshape(-1, 6)


def matches(found, truth):
    """For each row found of one class, by falling score, whether it hits a truth that none before it hit."""
    free = np.ones(len(truth), bool)
    hits = []
    for row in found:
        overlap = np.where(free, iou(row[1:5], truth[:, 1:5]), 0) if len(truth) else np.zeros(1)
        best = int(np.argmax(overlap))
        hits.append(bool(overlap[best] >= 0.5))
        if hits[-1]:
            free[best] = False
    return hits


def average_precision(scores, hits, count):
    """The area below the precision-recall curve, read at 101 recalls."""
    hits = np.array(hits, bool)[np.argsort(-np.array(scores), kind="stable")]
    right = np.cumsum(hits)
    recall, precision = right / max(count, 1), right / np.arange(1, len(hits) + 1)
    return float(np.mean([precision[recall >= r].max(initial=0) for r in np.linspace(0, 1, 101)]))


def measure(path, frames, size):
    """AP50 per class, and precision and recall of all boxes at the manifest's threshold."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    scores, hits, counts = ([[] for _ in CLASSES] for _ in range(3))
    for index, truth in enumerate(frames.truth):
        image = frames.images([index], size).numpy()
        heat, ltrb = session.run(["heat", "ltrb"], {"images": image})
        found = decode(heat[0], ltrb[0], size, 0.05)
        for kind in range(len(CLASSES)):
            mine, real = found[found[:, 0] == kind], truth[truth[:, 0] == kind]
            scores[kind] += list(mine[:, 5])
            hits[kind] += matches(mine, real)
            counts[kind].append(len(real))
    by_class = {
        name: round(average_precision(scores[kind], hits[kind], sum(counts[kind])), 3)
        for kind, name in enumerate(CLASSES)
    }
    taken = np.concatenate(scores) >= SCORE_MIN
    right = float((np.concatenate(hits) * taken).sum())
    return {
        "map50": round(float(np.mean(list(by_class.values()))), 3),
        "ap50": by_class,
        "precision": round(right / max(taken.sum(), 1), 3),
        "recall": round(right / max(sum(map(sum, counts)), 1), 3),
    }


MANIFEST = """\
version = 1
name = "road"
task = "detect"
classes = {classes}
license = "Apache-2.0 OR MIT"
source = "trained by operators/models/road/train.py on frames of operators/src/road.rs"

[input]
name = "images"
layout = "nchw"
channels = "rgb"
mean = [0.0, 0.0, 0.0]
std = [1.0, 1.0, 1.0]
resize = "letterbox"
fill = 0

[head]
kind = "heat_map"
heat = "heat"
ltrb = "ltrb"
stride = {stride}
score_min = {score_min}
iou_max = {iou_max}
"""

VARIANT = """
[[variant]]
name = "{name}"
{default}file = "{file}"
sha256 = "{sha256}"
width = {width}
height = {height}
precision = "f32"
accuracy = {accuracy}
accuracy_data = "mAP50 on {data}"
"""


def manifest(folder, results, data):
    text = MANIFEST.format(classes=json.dumps(CLASSES), stride=STRIDE, score_min=SCORE_MIN, iou_max=IOU_MAX)
    for name, net, (width, height) in VARIANTS:
        file = f"road-w{net}.onnx"
        if file not in results:
            continue
        text += VARIANT.format(
            name=name,
            default="default = true\n" if name == DEFAULT else "",
            file=file,
            sha256=hashlib.sha256((folder / file).read_bytes()).hexdigest(),
            width=width,
            height=height,
            accuracy=results[file][f"{width}x{height}"]["map50"],
            data=data,
        )
    return text


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    learn = commands.add_parser("train", help="train one width and export it")
    learn.add_argument("--width", type=int, choices=STEPS, required=True)
    learn.add_argument("--steps", type=int, help="instead of the width's own number")
    learn.add_argument("--batch", type=int, default=8)
    learn.add_argument("--seed", type=int, default=1)
    judge = commands.add_parser("evaluate", help="measure each trained width at every size; write manifest and accuracy")
    judge.add_argument("--seed", type=int, required=True, help="the first scene's seed of the frames, for the record")
    for command in (learn, judge):
        command.add_argument("--frames", type=Path, required=True, help="a folder that render_road wrote")
        command.add_argument("--models", type=Path, default=HERE, help="the folder of the ONNX files")
    return parser.parse_args()


def main():
    args = arguments()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    frames = Frames(args.frames)
    if args.command == "train":
        steps = args.steps or STEPS[args.width]
        detector = train(frames, args.width, steps, args.batch, args.seed)
        export(detector, args.models / f"road-w{args.width}.onnx")
        return
    results = {}
    for file in (f"road-w{net}.onnx" for net in STEPS):
        if not (args.models / file).exists():
            continue
        results[file] = {f"{w}x{h}": measure(args.models / file, frames, (w, h)) for w, h in SIZES}
        for size, result in results[file].items():
            print(file, size, json.dumps(result), flush=True)
    data = f"{len(frames)} rendered frames of held-out scenes, seeds from {args.seed}"
    (args.models / "accuracy.json").write_text(json.dumps({"data": data, "models": results}, indent=1) + "\n")
    (args.models / "manifest.toml").write_text(manifest(args.models, results, data))


if __name__ == "__main__":
    main()
