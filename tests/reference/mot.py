"""The golden reference for MOTA and IDF1: what motmetrics makes of a few made-up sequences.

    mot.py > tests/data/mot.json
    mot.py GT TRACKED        prints the same numbers for two files of the MOTChallenge's format instead

Needs motmetrics 1.4.0. The sequences are random boxes that move evenly, seen with noise, misses, false positives,
tracks that break and tracks that swap; ids are small, boxes are whole tenths of pixels.
"""

import json
import random
import sys

import motmetrics
import numpy as np

IOU_MIN = 0.5
WANTED = {
    "mota": "mota",
    "idf1": "idf1",
    "truth": "num_objects",
    "matches": "num_detections",
    "misses": "num_misses",
    "false_positives": "num_false_positives",
    "switches": "num_switches",
}


def main(files):
    if files:
        truth = motmetrics.io.loadtxt(files[0], fmt="mot15-2D", min_confidence=1)
        tracked = motmetrics.io.loadtxt(files[1], fmt="mot15-2D")
        last = max(truth.index.get_level_values(0).max(), tracked.index.get_level_values(0).max())
        frames = [[rows(truth, n), rows(tracked, n)] for n in range(1, last + 1)]
        print(json.dumps(scored(frames)["score"]))
        return
    sequences = [scored(sequence(random.Random(seed))) for seed in range(4)]
    print(json.dumps({"motmetrics": motmetrics.__version__, "iou_min": IOU_MIN, "sequences": sequences}))


def rows(table, frame):
    """The boxes of a frame as [id, x0, y0, x1, y1]."""
    if frame not in table.index.get_level_values(0):
        return []
    part = table.loc[frame]
    return [[int(i), r.X, r.Y, r.X + r.Width, r.Y + r.Height] for i, r in part.iterrows()]


def sequence(rng):
    things = []
    for _ in range(6):
        width, height = rng.uniform(15, 40), rng.uniform(15, 40)
        things.append([rng.uniform(0, 200), rng.uniform(0, 100), width, height, rng.uniform(-4, 4), rng.uniform(-2, 2)])
    names, fresh, frames = list(range(1, 7)), 7, []
    for n in range(40):
        # First who is who, so that no name is twice in a frame.
        for i in range(len(things)):
            if rng.random() < 0.02:
                names[i], fresh = fresh, fresh + 1
            if rng.random() < 0.02:
                j = rng.randrange(len(things))
                names[i], names[j] = names[j], names[i]
        truth, tracked = [], []
        for i, (x, y, w, h, vx, vy) in enumerate(things):
            x, y = x + n * vx, y + n * vy
            truth.append(box(i + 1, x, y, w, h))
            if rng.random() > 0.15:
                off = [rng.gauss(0, 0.12 * w), rng.gauss(0, 0.12 * h)]
                tracked.append(box(names[i], x + off[0], y + off[1], w, h))
        if rng.random() < 0.3:
            tracked.append(box(fresh + 100, rng.uniform(0, 200), rng.uniform(0, 100), 20, 20))
        frames.append([truth, tracked])
    return frames


def box(name, x, y, width, height):
    return [name] + [round(v, 1) for v in (x, y, x + width, y + height)]


def scored(frames):
    events = motmetrics.MOTAccumulator(auto_id=True)
    for truth, tracked in frames:
        # Distances are 1 - IoU; what overlaps less than needed cannot be a pair.
        distances = motmetrics.distances.iou_matrix(sides(truth), sides(tracked), max_iou=1 - IOU_MIN)
        events.update([t[0] for t in truth], [t[0] for t in tracked], distances)
    metrics = motmetrics.metrics.create()
    summary = metrics.compute(events, metrics=list(WANTED.values()), return_dataframe=False)
    score = {name: float(summary[of]) if of in ("mota", "idf1") else int(summary[of]) for name, of in WANTED.items()}
    return {"frames": frames, "score": score}


def sides(boxes):
    """motmetrics wants left, top, width, height."""
    return np.array([[x0, y0, x1 - x0, y1 - y0] for _, x0, y0, x1, y1 in boxes])


if __name__ == "__main__":
    # motmetrics 1.4.0 asks numpy for a function that numpy 2 has no more.
    np.asfarray = getattr(np, "asfarray", lambda values: np.asarray(values, float))
    main(sys.argv[1:])
