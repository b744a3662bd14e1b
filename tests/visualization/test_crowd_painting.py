"""Pictures of very many instances: whose pixel is whose, and how many labels there are."""

import dataclasses

import numpy as np
import pytest
from visualization_tools import CLASSES, NAMES, NO_SPEC, OWN_SIZE, SPEC, box_masks, grey, lines_of

from mask2former_mt.structures import UNKNOWN
from mask2former_mt.visualization import (
    Label,
    LabelNames,
    SizeLimits,
    draw_disagreements,
    draw_ground_truth,
    draw_instances,
)
from mask2former_mt.visualization.colours import class_colour
from mask2former_mt.visualization.crowd_painting import CROWD

PLAIN = LabelNames(CLASSES, NO_SPEC, range(10, 20))


def squares(count: int, side: int, step: int) -> list[dict]:
    """Annotations of squares in rows of fifty."""
    corners = [(step * (i % 50), step * (i // 50)) for i in range(count)]
    return [
        {
            "segmentation": [[x, y, x + side, y, x + side, y + side, x, y + side]],
            "category_id": 3,
            "subcategories": [UNKNOWN] * len(SPEC),
        }
        for x, y in corners
    ]


@pytest.mark.parametrize(("count", "num_labels"), [(CROWD, CROWD), (CROWD + 1, 61), (3000, 61)])
def test_so_many_labels_as_the_picture_has_room_for(drawn, count, num_labels):
    # 1000 x 1000 / (128 x 128) = 61.04
    draw_ground_truth(grey(1000, 1000), squares(count, 12, 20), NAMES, OWN_SIZE)
    assert len(drawn) == num_labels


@pytest.mark.parametrize("scored", [True, False])
def test_the_highest_scores_or_the_largest_masks_are_labelled(drawn, scored):
    # The picture has room for 256 * 128 / 128 ** 2 = 2 labels.
    boxes = [(i % 25 * 10, i // 25 * 10, i % 25 * 10 + 4, i // 25 * 10 + 4) for i in range(CROWD)]
    boxes += [(0, 100, 9, 109), (20, 100, 28, 108), (40, 100, 44, 104), (60, 100, 64, 104)]
    labels = [Label(0, score=0.3) for _ in range(CROWD)]
    labels += [Label(1, score=0.1), Label(2, score=0.2), Label(3, score=0.9), Label(4, score=0.8)]
    if not scored:
        labels = [dataclasses.replace(label, score=None) for label in labels]
    draw_instances(grey(128, 256), box_masks(128, 256, boxes), labels, PLAIN, OWN_SIZE)
    assert sorted(lines_of(drawn)) == (["3 .90", "4 .80"] if scored else ["1", "2"])


def test_a_pixel_is_the_smallest_masks():
    boxes = [(10, 10, 50, 50), (20, 20, 40, 40)]
    boxes += [(i // 2, 0, i // 2 + 1, 1) for i in range(CROWD)]
    labels = [Label(1), Label(2), *[Label(0)] * CROWD]
    for order in (slice(None), slice(None, None, -1)):
        # Too small for any label.
        masks = box_masks(100, 150, boxes[order])
        picture = draw_instances(grey(100, 150), masks, labels[order], PLAIN, OWN_SIZE)
        # A fifth of the class's colour inside, all of it at the rim.
        for (y, x), shade, index in (
            ((48, 15), 0.2, 1),
            ((49, 15), 1.0, 1),
            ((30, 30), 0.2, 2),
            ((39, 39), 1.0, 2),
        ):
            expected = (1 - shade) * 128 + shade * np.array(class_colour(index))
            np.testing.assert_allclose(picture[y, x], expected, atol=1)
        assert (picture[90, 140] == 128).all()


def test_masks_follow_the_size_of_the_picture():
    boxes = [(100, 40, 180, 80)] + [(i, 0, i + 1, 1) for i in range(CROWD)]
    labels = [Label(1), *[Label(0)] * CROWD]
    picture = draw_instances(
        grey(100, 300), box_masks(100, 300, boxes), labels, PLAIN, SizeLimits(0, max_side=150)
    )
    # Half the size: the mask's rows are 20 to 39, its columns 50 to 89.
    assert picture.shape == (50, 150, 3)
    coloured = (picture == class_colour(1)).all(axis=2)
    assert coloured[20, 50:90].all()
    assert not coloured[:20].any()


def test_disagreements_of_a_crowd_show_the_annotated_outline():
    annotations = squares(CROWD + 1, 12, 20)
    results = [
        {
            "segmentation": annotation["segmentation"],
            "category_id": 14,
            "score": 0.5,
            "subcategories": {},
        }
        for annotation in annotations
    ]
    disagreements = [("wrong class", i, i) for i in range(len(results))]
    picture = draw_disagreements(
        grey(100, 1000), results, annotations, disagreements, 0, PLAIN, OWN_SIZE
    )
    white = (picture == 255).all(axis=2)
    # Squares of 12 pixels, 20 apart. 100 * 1000 / 128 ** 2 = 6 labels lie over some.
    parts = [white[y : y + 12, x : x + 12] for x in range(0, 1000, 20) for y in range(0, 80, 20)]
    num_whole = sum(part[0].all() and part[:, -1].all() and part.sum() == 44 for part in parts)
    assert CROWD / 2 < num_whole < CROWD
