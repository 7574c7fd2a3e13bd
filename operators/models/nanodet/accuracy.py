"""How well the variants of NanoDet agree with `416` on real footage, and how long each takes.

    accuracy.py FOLDER_OF_MODELS VIDEO FFMPEG [VARIANT...]

The video is `vtest.avi`, 768x576. The truth is what `416` finds above a score of 0.4 in every eighth
frame, so this measures agreement and not accuracy. Persons, cars, buses and trucks are compared.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import measuring
from nanodet.detect import detect

EVERY = 8
TRUTH_SCORE_MIN = 0.4
CLASSES = ["person", "car", "bus", "truck"]


def main(folder, video, ffmpeg, *variants):
    pictures = measuring.frames(ffmpeg, video, 768, 576)[::EVERY]
    reference = measuring.Model("nanodet", "416", folder)
    seen = [[d for d in detect(reference, picture) if d[1] in CLASSES] for picture in pictures]
    truth = [[(kind, box) for score, kind, box in one if score > TRUTH_SCORE_MIN] for one in seen]
    print(f"{len(pictures)} frames, {sum(map(len, truth))} boxes")
    for name in variants or [variant["name"] for variant in reference.manifest["variant"]]:
        model = measuring.Model("nanodet", name, folder)
        found = [[d for d in detect(model, picture, 0.05) if d[1] in CLASSES] for picture in pictures]
        agreement = measuring.average_precision(zip(found, truth))
        time_ms = model.time_ms(model.tensor(pictures[0])[0])
        print(f"{name:10} AP50 against 416: {agreement:.3f}  {time_ms:.1f} ms a frame on one thread")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
