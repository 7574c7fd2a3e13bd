"""Reads NanoDet's outputs, for what is measured with it."""

import numpy as np

import measuring


def detect(model, picture, score_min=None):
    """What a variant finds, by falling score: (score, class, box in pixels of the picture)."""
    tensor, (scale_x, scale_y) = model.tensor(picture)
    outputs, head, found = model.run(tensor), model.head, []
    score_min = head["score_min"] if score_min is None else score_min
    for stride, classes, boxes in zip(head["strides"], head["classes_out"], head["boxes_out"]):
        probabilities, logits = outputs[classes][0], outputs[boxes][0]
        columns = -(-model.size[0] // stride)
        for cell in np.nonzero(probabilities.max(axis=1) > score_min)[0]:
            weights = np.exp(logits[cell].reshape(4, head["bins"]).astype(np.float64))
            left, top, right, bottom = weights @ np.arange(head["bins"]) / weights.sum(axis=1) * stride
            x, y = (cell % columns + 0.5) * stride, (cell // columns + 0.5) * stride
            box = [(x - left) / scale_x, (y - top) / scale_y, (x + right) / scale_x, (y + bottom) / scale_y]
            kind = int(probabilities[cell].argmax())
            found.append((float(probabilities[cell, kind]), model.manifest["classes"][kind], box))
    return measuring.suppress(found, head["iou_max"])
