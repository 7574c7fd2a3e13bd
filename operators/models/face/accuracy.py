"""How well CenterFace finds faces in mosaics of labelled cut-outs.

    accuracy.py FOLDER_OF_MODELS [FOLDER_FOR_PICTURES]

The cut-outs are scikit-image's subset of "Labeled Faces in the Wild": 100 faces and 100 other things, 25x25,
grey. Each appears five times, 24, 32, 48, 64 and 96 pixels wide, in 84 pictures of 640x480 with twelve of
them on grey. A face's box is its cut-out. Real frames have colours, bodies and backgrounds: the figure
ranks the variants, and says less about footage.
"""

import pathlib
import sys

import numpy as np
from PIL import Image
from skimage import data

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import measuring

SIDES = [24, 32, 48, 64, 96]
COLUMNS, ROWS, CELL = 4, 3, 160
SCORE_MIN = 0.05


def detect(model, picture, score_min=None):
    """The faces in a picture, by falling score: (score, "face", box in its pixels)."""
    tensor, (scale, _) = model.tensor(picture)
    outputs, head, found = model.run(tensor), model.head, []
    score_min = head["score_min"] if score_min is None else score_min
    heat, stride = outputs[head["heat"]][0, 0], head["stride"]
    for row, column in zip(*np.nonzero(heat > score_min)):
        height, width = np.exp(outputs[head["scale"]][0, :, row, column].astype(np.float64)) * stride
        down, right = outputs[head["offset"]][0, :, row, column].astype(np.float64)
        x, y = (column + 0.5 + right) * stride, (row + 0.5 + down) * stride
        box = [(x - width / 2) / scale, (y - height / 2) / scale, (x + width / 2) / scale, (y + height / 2) / scale]
        limits = (picture.shape[1], picture.shape[0]) * 2
        found.append((float(heat[row, column]), "face", [min(max(0.0, v), m) for v, m in zip(box, limits)]))
    return measuring.suppress(found, head["iou_max"])


def mosaics():
    """Pictures with the boxes of the faces in them."""
    cut_outs = (data.lfw_subset() * 255).astype(np.uint8)
    order = np.random.default_rng(1).permutation([(i, side) for i in range(len(cut_outs)) for side in SIDES])
    for begin in range(0, len(order), COLUMNS * ROWS):
        picture, boxes = np.full((ROWS * CELL, COLUMNS * CELL), 110, np.uint8), []
        for cell, (i, side) in enumerate(order[begin : begin + COLUMNS * ROWS]):
            x = cell % COLUMNS * CELL + (CELL - side) // 2
            y = cell // COLUMNS * CELL + (CELL - side) // 2
            enlarged = Image.fromarray(cut_outs[i]).resize((int(side), int(side)), Image.Resampling.BICUBIC)
            picture[y : y + side, x : x + side] = np.asarray(enlarged)
            if i < 100:
                boxes.append(("face", [x, y, x + side, y + side]))
        yield np.repeat(picture[:, :, None], 3, axis=2), boxes


def main(folder, pictures=None):
    scenes = list(mosaics())
    print(f"{len(scenes)} pictures, {sum(len(boxes) for _, boxes in scenes)} faces")
    for name in [variant["name"] for variant in measuring.Model("face", "640", folder).manifest["variant"]]:
        model = measuring.Model("face", name, folder)
        pairs = [(detect(model, picture, SCORE_MIN), boxes) for picture, boxes in scenes]
        above = lambda least: [([f for f in found if f[0] > least], boxes) for found, boxes in pairs]
        counts = [measuring.hits(found, boxes) for found, boxes in above(model.head["score_min"])]
        right, said, there = (sum(count) for count in zip(*counts))
        print(
            f"{name:4} AP50 {measuring.average_precision(pairs):.3f}, above {model.head['score_min']}: "
            f"{right} of {there} found, {said - right} other; astronaut {detect(model, data.astronaut())[:1]}; "
            f"{model.time_ms(model.tensor(scenes[0][0])[0]):.1f} ms a picture on one thread"
        )
    if pictures:
        for i, (picture, _) in enumerate(scenes[:4]):
            Image.fromarray(picture).save(pathlib.Path(pictures) / f"faces-{i}.png")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
