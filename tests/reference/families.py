"""The golden reference for fetched families: what Python's onnxruntime makes of two pictures.

    families.py FOLDER_OF_FAMILIES > tests/data/families.json

`FOLDER_OF_FAMILIES` holds one folder of ONNX files per family, as `jellybean models fetch` leaves them.
Needs what `heads.py` beside it needs, and follows the rules that are written down there and in
`nanodet.py`. The pictures are `tests/data/face.jpg`, a part of NASA's portrait of Eileen Collins (public
domain), and `tests/data/text.jpg`, which `families.py --write-text` draws. A cut is given in whole pixels
as left, top, right and bottom.
"""

import json
import pathlib
import sys
import tomllib

import numpy as np
import onnxruntime
from PIL import Image, ImageDraw, ImageFont

import heads
import nanodet

ROOT = pathlib.Path(__file__).parent.parent.parent
DATA = ROOT / "tests" / "data"
FONT = ROOT / "operators" / "src" / "draw" / "DejaVuSans-ascii.ttf"
WHOLE = None
LINES = {  # the cut of each line, and what it says
    (22, 16, 330, 64): ("Platform 7", 40),
    (22, 88, 420, 122): ("Next train to Basel: 12:45", 26),
    (22, 148, 250, 196): ("KA 4821 XT", 36),
    (22, 224, 440, 250): ("Please mind the gap, and keep clear of the doors.", 16),
}
# Here a level more or less in the pixels moves no box by half a pixel; elsewhere two cells of the 8-bit
# variant may see the person equally well, and which of them wins is chance.
PERSON = (80, 20, 240, 220)
FACES = [WHOLE, (60, 40, 250, 280)]
ASKED = (
    [("nanodet", variant, "face.jpg", [PERSON]) for variant in ("416", "416-int8")]
    + [("face", variant, "face.jpg", FACES) for variant in ("640", "320")]
    + [("appearance", variant, "face.jpg", FACES) for variant in ("224", "128x64")]
    + [("text-detect", variant, "text.jpg", [WHOLE]) for variant in ("tiny-480", "tiny-736", "small-736")]
    + [("text-read", "tiny", "text.jpg", list(LINES))]
)


def main(folder):
    rows = []
    for family, variant, picture, cuts in ASKED:
        see = opened(pathlib.Path(folder) / family, family, variant)
        pixels = np.asarray(Image.open(DATA / picture).convert("RGB"))
        for cut in cuts:
            left, top, right, bottom = cut or (0, 0, pixels.shape[1], pixels.shape[0])
            result = see(np.ascontiguousarray(pixels[top:bottom, left:right]))
            row = {"family": family, "variant": variant, "picture": picture, "cut": [left, top, right, bottom]}
            rows.append(json.dumps(row | {"result": result}))
    print("[\n" + ",\n".join(rows) + "\n]")


def opened(folder, family, name):
    """What makes a result of a picture: one variant of a family."""
    manifest = tomllib.loads((ROOT / "operators" / "models" / family / "manifest.toml").read_text())
    variant = next(v for v in manifest["variant"] if v["name"] == name)
    session = onnxruntime.InferenceSession(folder / variant["file"], providers=["CPUExecutionProvider"])
    head = manifest["head"]
    heads.MODELS = folder.parent  # where the reader's alphabet lies

    def see(pixels):
        if head["kind"] == "nanodet":
            return nanodet.detect(session, manifest, variant["width"], pixels)
        item, covered = heads.place(pixels, manifest, variant)
        values = session.run(None, {manifest["input"]["name"]: item})
        outputs = {o.name: v[0].astype(np.float64) for o, v in zip(session.get_outputs(), values)}
        size = (pixels.shape[1], pixels.shape[0])
        return heads.HEADS[head["kind"]](outputs, head, manifest, (size, covered))

    return see


def write_text():
    picture = Image.new("RGB", (460, 270))
    picture.putdata([(40 + x // 4, 60 + y // 3, 90) for y in range(270) for x in range(460)])
    for (left, top, _, _), (text, size) in LINES.items():
        font = ImageFont.truetype(str(FONT), size)
        ImageDraw.Draw(picture).text((left + 4, top + 2), text, font=font, fill=(240, 240, 230))
    # Without halved colours: decoders differ in how they widen them again.
    picture.save(DATA / "text.jpg", quality=92, subsampling=0)


if __name__ == "__main__":
    if sys.argv[1:] == ["--write-text"]:
        write_text()
    elif len(sys.argv) == 2:
        main(sys.argv[1])
    else:
        raise SystemExit(__doc__)
