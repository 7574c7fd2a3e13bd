"""What the families' `accuracy.py` share: feeding models as manifests say, and comparing boxes.

They need Python 3.11 and `tests/reference/requirements.txt`, those on pictures also scikit-image 0.26.0.
The rules by which pictures become tensors are those of the Rust operators, and are spelled out in
`tests/reference/nanodet.py`.
"""

import pathlib
import statistics
import subprocess
import time
import tomllib

import numpy as np
import onnxruntime
from PIL import Image

HERE = pathlib.Path(__file__).parent


class Model:
    """A variant of a family, on one thread."""

    def __init__(self, family, variant, folder):
        self.manifest = tomllib.loads((HERE / family / "manifest.toml").read_text())
        self.variant = next(v for v in self.manifest["variant"] if v["name"] == variant)
        self.rules, self.head = self.manifest["input"], self.manifest["head"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        file = str(pathlib.Path(folder) / self.variant["file"])
        self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self.names = [output.name for output in self.session.get_outputs()]

    @property
    def size(self):
        return self.variant["width"], self.variant["height"]

    def run(self, tensor):
        """The outputs by name."""
        return dict(zip(self.names, self.session.run(None, {self.rules["name"]: tensor})))

    def tensor(self, picture, size=None):
        """A picture (RGB, [height, width, 3]) as the model takes it, and how much it was scaled each way."""
        width, height = size or self.size
        scales = width / picture.shape[1], height / picture.shape[0]
        if self.rules["resize"] == "letterbox":
            scales = (min(scales),) * 2
        target = tuple(max(1, int(s * n + 0.5)) for s, n in zip(scales, (picture.shape[1], picture.shape[0])))
        resized = np.asarray(Image.fromarray(picture).resize(target, Image.Resampling.BILINEAR))
        whole = np.full((height, width, 3), self.rules["fill"], np.uint8)
        whole[: target[1], : target[0]] = resized[:height, :width]
        ordered = whole[..., ::-1] if self.rules["channels"] == "bgr" else whole
        scaled = (ordered.astype(np.float32) - np.float32(self.rules["mean"])) / np.float32(self.rules["std"])
        return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None]), scales

    def time_ms(self, tensor, runs=9):
        """The median time of a run, after two that do not count."""
        times = []
        for _ in range(runs + 2):
            begin = time.perf_counter()
            self.run(tensor)
            times.append((time.perf_counter() - begin) * 1000)
        return statistics.median(times[2:])


def frames(ffmpeg, video, width, height):
    """The frames of a video of this size, RGB."""
    command = [ffmpeg, "-v", "error", "-i", video, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    data = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    return np.frombuffer(data, np.uint8).reshape(-1, height, width, 3)


def overlap(a, b):
    """Intersection over union of two boxes, each left, top, right, bottom."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, width) * max(0.0, height)
    area = lambda box: (box[2] - box[0]) * (box[3] - box[1])
    union = area(a) + area(b) - shared
    return shared / union if union > 0 else 0.0


def suppress(found, iou_max):
    """Of boxes of a class that overlap more than this, the best one. A box is (score, class, box)."""
    kept = []
    for one in sorted(found, key=lambda one: -one[0]):
        if all(one[1] != other[1] or overlap(one[2], other[2]) <= iou_max for other in kept):
            kept.append(one)
    return kept


def average_precision(pairs, iou_min=0.5):
    """The average precision over 101 recalls, of pictures as (found, truth): (score, class, box), (class, box)."""
    hits, total = [], 0
    for found, truth in pairs:
        total += len(truth)
        taken = set()
        for score, kind, box in sorted(found, key=lambda one: -one[0]):
            like = [(overlap(box, t[1]), i) for i, t in enumerate(truth) if i not in taken and t[0] == kind]
            best, i = max(like, default=(0.0, None))
            if best >= iou_min:
                taken.add(i)
            hits.append((score, best >= iou_min))
    right = np.cumsum([hit for _, hit in sorted(hits, key=lambda hit: -hit[0])])
    recall, precision = right / max(total, 1), right / np.arange(1, len(right) + 1)
    levels = np.linspace(0, 1, 101)
    return float(np.mean([max(precision[recall >= level], default=0.0) for level in levels]))


def hits(found, truth, iou_min=0.5):
    """How many of the boxes that are there were found, how many were said to be, and how many there are."""
    taken = set()
    for _, kind, box in sorted(found, key=lambda one: -one[0]):
        like = [(overlap(box, t[1]), i) for i, t in enumerate(truth) if i not in taken and t[0] == kind]
        best, i = max(like, default=(0.0, None))
        if best >= iou_min:
            taken.add(i)
    return len(taken), len(found), len(truth)
