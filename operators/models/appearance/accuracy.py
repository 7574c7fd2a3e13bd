"""How often the most similar picture a second later shows the same person, on real footage.

    accuracy.py FOLDER_OF_MODELS FOLDER_OF_NANODET VIDEO FFMPEG [FOLDER_FOR_PICTURES]

The video is `vtest.avi`. Nobody labelled it: NanoDet-416 finds persons in every frame, and who is who is
told by overlap from one frame to the next, which is plain but where people cross. There a person is lost,
and counts no more. A query is a person of one frame in ten who is still followed ten frames (a second)
later; it is right if of all persons in that later frame the most similar one, by the cosine, is the same.
Frames with fewer than four persons are left out. For comparison: guessing, and the nearest box.
"""

import pathlib
import sys

import numpy as np
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import measuring
from nanodet.detect import detect

GAP, EVERY, PERSONS_MIN = 10, 10, 4
SCORE_MIN = 0.5
SAME_MIN, CROSSING_MAX = 0.6, 0.1


def persons(detector, picture):
    found = [box for _, kind, box in detect(detector, picture, SCORE_MIN) if kind == "person"]
    height, width = picture.shape[:2]
    clip = lambda box: [min(max(0.0, v), m) for v, m in zip(box, (width, height) * 2)]
    return [box for box in map(clip, found) if box[2] - box[0] >= 8 and box[3] - box[1] >= 16]


def follow(frames):
    """For each frame's boxes, the number of the box in the next frame that is the same person, or None."""
    links = []
    for now, then in zip(frames, frames[1:]):
        alone = [sum(measuring.overlap(a, b) > CROSSING_MAX for b in now) == 1 for a in now]
        best = [max(((measuring.overlap(a, b), j) for j, b in enumerate(then)), default=(0.0, 0)) for a in now]
        links.append([j if clear and same >= SAME_MIN else None for clear, (same, j) in zip(alone, best)])
    return links


def later(links, frame, number):
    """Where a box is after the gap."""
    for step in range(GAP):
        number = links[frame + step][number]
        if number is None:
            return None
    return number


def queries(frames):
    """(frame, box, the same person's box after the gap) as numbers."""
    links = follow(frames)
    for frame in range(0, len(frames) - GAP, EVERY):
        for number in range(len(frames[frame])):
            same = later(links, frame, number)
            if same is not None and len(frames[frame + GAP]) >= PERSONS_MIN:
                yield frame, number, same


def cut(picture, box):
    left, top, right, bottom = (int(v + 0.5) for v in box)
    return picture[top:bottom, left:right]


def embed(model, picture, box):
    vector = model.run(model.tensor(cut(picture, box))[0])[model.head["output"]][0].astype(np.float64)
    return vector / np.linalg.norm(vector)


def main(folder, nanodet, video, ffmpeg, pictures=None):
    footage = measuring.frames(ffmpeg, video, 768, 576)
    detector = measuring.Model("nanodet", "416", nanodet)
    boxes = [persons(detector, picture) for picture in footage]
    asked = list(queries(boxes))
    guessed = np.mean([1 / len(boxes[frame + GAP]) for frame, _, _ in asked])
    centre = lambda box: np.array([box[0] + box[2], box[1] + box[3]]) / 2
    nearest = np.mean([
        int(np.argmin([np.linalg.norm(centre(boxes[f][n]) - centre(b)) for b in boxes[f + GAP]])) == same
        for f, n, same in asked
    ])
    print(f"{len(asked)} queries in {len({f for f, _, _ in asked})} frames; guessing {guessed:.3f}, nearest {nearest:.3f}")
    for name in [variant["name"] for variant in measuring.Model("appearance", "224", folder).manifest["variant"]]:
        model = measuring.Model("appearance", name, folder)
        right = 0
        for frame in sorted({frame for frame, _, _ in asked}):
            gallery = np.array([embed(model, footage[frame + GAP], box) for box in boxes[frame + GAP]])
            for _, number, same in [query for query in asked if query[0] == frame]:
                right += int(np.argmax(gallery @ embed(model, footage[frame], boxes[frame][number]))) == same
        time_ms = model.time_ms(model.tensor(footage[0])[0])
        print(f"{name:7} rank-1 {right / len(asked):.3f} ({right}), {time_ms:.2f} ms a crop on one thread")
    if pictures:
        pairs = [(cut(footage[f], boxes[f][n]), cut(footage[f + GAP], boxes[f + GAP][s])) for f, n, s in asked[::10]]
        pairs = [[np.asarray(Image.fromarray(one).resize((64, 128))) for one in pair] for pair in pairs[:24]]
        sheet = np.concatenate([np.concatenate(pair) for pair in pairs], axis=1)
        Image.fromarray(sheet).save(pathlib.Path(pictures) / "persons.png")


if __name__ == "__main__":
    if len(sys.argv) not in (5, 6):
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
