"""How well PP-OCRv6's detectors find lines of text whose places are known.

    accuracy.py FOLDER_OF_MODELS [FOLDER_FOR_PICTURES]

The pictures are those of `pages.py`: written text on photographs. Real signs are harder, so the figures
rank the variants, and say less about streets.
"""

import pathlib
import sys

from PIL import Image, ImageDraw
from skimage.measure import label, regionprops

sys.path[:0] = [str(pathlib.Path(__file__).parent.parent), str(pathlib.Path(__file__).parent)]
import measuring
import pages

PAGES = 60
SIDE_MIN = 3


def detect(model, picture, score_min=None):
    """The lines in a picture: (score, "text", box in its pixels). Regions touch at corners, too."""
    tensor, (scale, _) = model.tensor(picture)
    head = model.head
    score_min = head["score_min"] if score_min is None else score_min
    likely, found = model.run(tensor)[head["map"]][0, 0], []
    for region in regionprops(label(likely > head["threshold"], connectivity=2), intensity_image=likely):
        top, left, bottom, right = region.bbox
        width, height, score = right - left, bottom - top, float(region.intensity_mean)
        if min(width, height) < SIDE_MIN or score <= score_min:
            continue
        grown = width * height * head["unclip"] / (2 * (width + height))
        box = [v / scale for v in (left - grown, top - grown, right + grown, bottom + grown)]
        limits = (picture.shape[1], picture.shape[0]) * 2
        found.append((score, "text", [min(max(0.0, v), m) for v, m in zip(box, limits)]))
    return found


def main(folder, pictures=None):
    scenes = [pages.page(seed) for seed in range(PAGES)]
    scenes = [(picture, [("text", box) for box, _ in lines]) for picture, lines in scenes]
    print(f"{len(scenes)} pictures, {sum(len(lines) for _, lines in scenes)} lines")
    for name in [variant["name"] for variant in measuring.Model("text-detect", "tiny-736", folder).manifest["variant"]]:
        model = measuring.Model("text-detect", name, folder)
        pairs = [(detect(model, picture), lines) for picture, lines in scenes]
        right, said, there = (sum(count) for count in zip(*(measuring.hits(*pair) for pair in pairs)))
        print(
            f"{name:10} F1 {2 * right / (said + there):.3f}: {right} of {there} lines found, {said - right} other; "
            f"AP50 {measuring.average_precision(pairs):.3f}; "
            f"{model.time_ms(model.tensor(scenes[0][0])[0]):.1f} ms a picture on one thread"
        )
        if pictures:
            draw_boxes(scenes[4][0], pairs[4][0], pathlib.Path(pictures) / f"text-{name}.png")


def draw_boxes(picture, found, file):
    image = Image.fromarray(picture)
    for _, _, box in found:
        ImageDraw.Draw(image).rectangle(box, outline=(255, 0, 0), width=2)
    image.save(file)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
