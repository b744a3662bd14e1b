"""Which names look like sides, and what is said of them."""

from __future__ import annotations

import unicodedata

import pytest

from mask2former_mt.data.side_names import find_sides, unflipped_sides
from mask2former_mt.structures import Subcategory, SubcategorySpec


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (["left", "front", "right"], {"left": "right"}),
        (["left shoe", "right shoe"], {"left shoe": "right shoe"}),
        (["shoe_left", "shoe_right"], {"shoe_left": "shoe_right"}),
        (["LeftShoe", "RightShoe"], {"LeftShoe": "RightShoe"}),
        (["shoeL", "shoeR"], {"shoeL": "shoeR"}),
        (["Shoe, Left", "Shoe, Right"], {"Shoe, Left": "Shoe, Right"}),
        (["L", "R"], {"L": "R"}),
        (["left 1", "left 2", "right 2"], {"left 2": "right 2"}),
        (["front left", "front right", "rear left", "rear right"], None),
        (["links", "rechts", "Mitte"], {"links": "rechts"}),
        (["linker Schuh", "rechter Schuh"], {"linker Schuh": "rechter Schuh"}),
        (["gauche", "droite"], {"gauche": "droite"}),
        (["izquierda", "derecha"], {"izquierda": "derecha"}),
        (["sinistra", "destra"], {"sinistra": "destra"}),
        (["vänster", "höger"], {"vänster": "höger"}),
        (["левый", "правый"], {"левый": "правый"}),
        (["左", "右"], {"左": "右"}),
        (["左足", "右足", "両足"], {"左足": "右足"}),
        (["왼쪽", "오른쪽"], {"왼쪽": "오른쪽"}),
        (["clockwise", "counterclockwise"], {"counterclockwise": "clockwise"}),
        # Sides, but nobody can tell which belongs to which.
        (["upper left", "lower right"], {}),
    ],
)
def test_names_that_look_like_sides(names, pairs):
    if pairs is None:
        pairs = {"front left": "front right", "rear left": "rear right"}
    sides = find_sides(names)
    assert sides.pairs == pairs
    assert find_sides([unicodedata.normalize("NFD", name) for name in names]) is not None


@pytest.mark.parametrize(
    "names",
    [
        ["right", "wrong"],
        ["left", "stayed"],
        ["bright", "leftover"],
        ["sol", "nube"],  # Turkish for left, Spanish for sun
        list("abcdefghijklmnopqrstuvwxyz"),
        ["s", "m", "l", "r"],
        [],
    ],
)
def test_names_that_do_not(names):
    assert find_sides(names) is None


def test_what_is_said_of_values_and_classes():
    values = ("left", "right", "front")
    side = Subcategory("side", values)
    (message, remedy), (of_classes, advice) = unflipped_sides(
        ["left hand", "right hand"], SubcategorySpec((side,))
    )
    assert "values 'left' and 'right' of subcategory 'side' look like sides" in message
    assert 'add "flip": {"left": "right"} to the subcategory' in remedy
    assert "the classes 'left hand' and 'right hand' look like sides" in of_classes
    assert "make one class of both, and of the side a subcategory" in advice
    flipped = Subcategory("side", values, flip=(("left", "right"),))
    assert unflipped_sides(["hand"], SubcategorySpec((flipped,))) == []


def test_a_pair_that_was_forgotten_is_added_to_those_that_were_not():
    values = ("front left", "front right", "rear left", "rear right")
    side = Subcategory("side", values, flip=(("front right", "front left"),))
    ((message, remedy),) = unflipped_sides([], SubcategorySpec((side,)))
    assert "the values 'rear left' and 'rear right' of" in message
    assert '{"front right": "front left", "rear left": "rear right"}' in remedy
