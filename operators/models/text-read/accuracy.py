"""How well PP-OCRv6's reader reads lines whose letters are known.

    accuracy.py FOLDER_OF_MODELS

The lines are those of `text-detect/pages.py`, cut out at their known places with a tenth of their height
around, and five lines of a photographed page (`page` of scikit-image). The accuracy is one minus the
edit distance over the length, at least 0, averaged over the lines.
"""

import pathlib
import sys

import numpy as np
from skimage import data

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "text-detect")]
import measuring
import pages

PAGES = 60
PAGE_LINES = [
    ([4, 10, 296, 34], "Region-based segmentation"),
    ([4, 49, 380, 65], "Let us first determine markers of the coins and the"),
    ([4, 65, 380, 84], "background. These markers are pixels that we can label"),
    ([4, 83, 380, 102], "unambiguously as either object or background. Here,"),
    ([4, 101, 380, 120], "the markers are found at the two extreme parts of the"),
    ([4, 116, 176, 137], "histogram of grey values:"),
]


class Reader:
    """The model with its alphabet: class 0 is the blank, the last one the space."""

    def __init__(self, folder, variant):
        self.model = measuring.Model("text-read", variant, folder)
        keys = (pathlib.Path(folder) / self.model.head["alphabet"]).read_text().split("\n")[:-1]
        self.letters = ["", *keys, *([" "] if self.model.head["space"] else [])]

    def size(self, line):
        """Width and height of the input for a line: its proportions, in steps, within bounds."""
        head, (least, height) = self.model.head, self.model.size
        width = int(line.shape[1] * height / line.shape[0] + 0.5)
        steps = -(-max(width, least) // head["width_step"])
        return min(steps * head["width_step"], head["width_max"]), height

    def read(self, line):
        """The text of a picture (RGB) of one line, and the mean score of its letters."""
        tensor, _ = self.model.tensor(line, self.size(line))
        rows = self.model.run(tensor)[self.model.head["output"]][0]
        best = rows.argmax(axis=1)
        told = [i for i, k in enumerate(best) if k != 0 and (i == 0 or best[i - 1] != k)]
        text = "".join(self.letters[best[i]] for i in told)
        return text, float(np.mean([rows[i, best[i]] for i in told])) if told else 0.0


def cut(picture, box):
    margin = max(1, (box[3] - box[1]) // 10)
    left, top, right, bottom = box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin
    return picture[max(0, top) : bottom, max(0, left) : right]


def right_share(said, there):
    """One minus the edit distance over the length, at least 0."""
    row = list(range(len(there) + 1))
    for i, a in enumerate(said, 1):
        above, row = row, [i]
        for j, b in enumerate(there, 1):
            row.append(min(row[-1] + 1, above[j] + 1, above[j - 1] + (a != b)))
    return max(0.0, 1 - row[-1] / len(there))


def main(folder):
    drawn = [(cut(picture, box), text) for picture, lines in map(pages.page, range(PAGES)) for box, text in lines]
    page = np.repeat(data.page()[:, :, None], 3, axis=2)
    photographed = [(cut(page, box), text) for box, text in PAGE_LINES]
    for name in [variant["name"] for variant in measuring.Model("text-read", "tiny", folder).manifest["variant"]]:
        reader = Reader(folder, name)
        for what, lines in [("written", drawn), ("photographed", photographed)]:
            read = [(reader.read(line)[0], text) for line, text in lines]
            exact = sum(said == text for said, text in read)
            share = np.mean([right_share(*pair) for pair in read])
            print(f"{name}: {len(lines)} {what} lines, {share:.3f} of their letters right, {exact} lines exact")
            for said, text in [pair for pair in read if pair[0] != pair[1]][:12]:
                print(f"    {text!r} read as {said!r}")
        tensor = reader.model.tensor(drawn[0][0], (320, 48))[0]
        print(f"{name}: {reader.model.time_ms(tensor):.1f} ms a line of 320 pixels on one thread")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
