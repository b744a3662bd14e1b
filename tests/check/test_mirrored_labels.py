"""Check says which sides a flip would mix up, if training flips."""

from __future__ import annotations

import pytest
from dataset_to_check import WARNING, check, kinds_of, the_one


def with_sides(dataset, **keys):
    """Makes of the values green and brown a left and a right one."""
    for document in dataset.documents.values():
        document["subcategories"][1] = {"name": "side", "values": ["left", "right"], **keys}
        for annotation, side in zip(document["annotations"], ("left", "right", None), strict=False):
            annotation["subcategories"] = {"style": "photo", "side": side}
        document["subcategories"][0]["values"] = ["photo"]
    return dataset


def kinds(dataset, flips) -> list[str]:
    result = check(dataset, flips=flips)
    return [kind for severity, kind in kinds_of(result) if kind.startswith("side")]


@pytest.mark.parametrize(
    ("flips", "keys", "expected"),
    [
        ({"horizontal"}, {}, ["side-without-flip"]),
        ({"vertical"}, {}, ["side-without-flip"]),
        (set(), {}, []),
        ({"horizontal"}, {"flip": {"left": "right"}}, []),
        ({"horizontal", "vertical"}, {"flip": {"left": "right"}}, ["side-upside-down"]),
    ],
)
def test_sides_are_told_while_training_flips(dataset, flips, keys, expected):
    assert kinds(with_sides(dataset, **keys), flips) == expected


def test_without_a_config_a_flip_is_assumed(dataset):
    problem = the_one(check(with_sides(dataset)), "side-without-flip")
    assert problem.severity == WARNING
    assert problem.file == str(dataset.json_file())
    assert "unless a config says otherwise, training flips" in problem.text
