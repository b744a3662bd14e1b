"""What is right in each image, and which classes are confused, from one score on."""

import numpy as np
import pytest
from evaluation_scenes import ERROR_SCENE, PEAR, explained, found, truth

from mask2former_mt.evaluation.at_threshold import ImageScores, class_confusion, image_scores
from mask2former_mt.evaluation.errors import find_errors


def parts(annotations, results, **options):
    e = explained(annotations, results, **options)
    errors = find_errors(e.truth, e.detections, e.pairs, e.matches)
    return e.truth, e.detections, e.matches, errors


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        # Rows apple, pear, nothing; columns apple, pear, missed. Two apples are found, one of them
        # with a wrong label; one is a pear; three are missed; badly placed, twice and on nothing.
        (0.0, [[2, 1, 3], [0, 0, 0], [3, 1, 0]]),
        (0.65, [[2, 1, 3], [0, 0, 0], [0, 0, 0]]),
        (0.95, [[0, 0, 6], [0, 0, 0], [0, 0, 0]]),
    ],
)
def test_class_confusion_by_hand(threshold, expected):
    counts = class_confusion(*parts(*ERROR_SCENE), threshold)
    assert counts.tolist() == expected


def test_an_object_is_confused_once_and_not_when_it_is_found():
    annotations = [truth(0), truth(40)]
    results = [
        found(0, score=0.5),
        found(0, score=0.9, category_id=PEAR),
        found(40, score=0.8, category_id=PEAR),
        found(40, score=0.7, category_id=PEAR),
    ]
    counts = class_confusion(*parts(annotations, results), 0.0)
    assert counts.tolist() == [[1, 1, 0], [0, 0, 0], [0, 2, 0]]
    # Above .6 the first apple is not found: the pear that lies there is what it is taken for.
    counts = class_confusion(*parts(annotations, results), 0.6)
    assert counts.tolist() == [[0, 2, 0], [0, 0, 0], [0, 1, 0]]


def test_image_scores_by_hand():
    annotations = [*ERROR_SCENE[0], truth(0, image_id=2)]
    results = [*ERROR_SCENE[1], found(0, image_id=2, score=0.2)]
    scores = image_scores(*parts(annotations, results, num_images=3), 0.0)
    assert scores.right.tolist() == [1, 1, 0]
    assert scores.wrong.tolist() == [6, 0, 0]
    assert scores.missed.tolist() == [5, 0, 0]
    # 2 / (2 + 6 + 5); nothing there and nothing said is right.
    np.testing.assert_allclose(scores.f1, [2 / 13, 1, 1])
    assert scores.worst_first().tolist() == [0, 1, 2]
    # An image with nothing in it is no good picture.
    assert scores.best_first().tolist() == [1, 0]
    # Above .5 the second image has lost its object.
    scores = image_scores(*parts(annotations, results, num_images=3), 0.5)
    assert scores.worst_first().tolist() == [1, 0, 2]


def test_equal_images_are_ordered_by_how_much_is_in_them():
    scores = ImageScores(*(np.array(x) for x in ([0, 0, 2, 4], [1, 2, 0, 0], [1, 3, 0, 0])))
    assert scores.worst_first()[:2].tolist() == [1, 0]
    assert scores.best_first().tolist() == [3, 2]
