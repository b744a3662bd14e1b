"""Lists of labels meet by their names: mapped, joined, or refused with both of them."""

from __future__ import annotations

import pytest

from mask2former_mt.label_lists import Labels, alike_names, differences, map_by_name, union
from mask2former_mt.structures import Subcategory, SubcategorySpec

STYLE = Subcategory("style", ("photo", "cartoon", "sketch"))
SIDE = Subcategory("side", ("left", "right"), has_none=False, flip=(("left", "right"),))
MODEL = Labels(("cat", "dog", "owl"), SubcategorySpec((STYLE, SIDE)), (1, 2, 3))


def labels(classes: str, *subcategories: Subcategory) -> Labels:
    names = tuple(classes.split())
    return Labels(names, SubcategorySpec(subcategories), tuple(range(1, len(names) + 1)))


def mapped(source: Labels, target: Labels = MODEL):
    return map_by_name(source, target, source_name="the test set", target_name="the model")


def test_another_order_is_mapped_by_name():
    # None of style (3 of theirs and ours) and unknown stay what they are.
    found = mapped(labels("owl cat", SIDE, Subcategory("style", ("sketch", "cartoon", "photo"))))
    assert found.classes == (2, 0)
    assert found.values([0, 0]) == [2, 0]  # left sketch
    assert found.values([1, 3]) == [3, 1]  # right, none
    assert found.values([-1, -1]) == [-1, -1]


def test_what_is_not_listed_is_unknown():
    fewer = Subcategory("style", ("cartoon", "photo"))
    found = mapped(labels("dog", fewer))
    # Of two values none is 2, of three it is 3; side is not listed.
    assert [found.values([value]) for value in (0, 1, 2, -1)] == [
        [1, -1],
        [0, -1],
        [3, -1],
        [-1] * 2,
    ]
    assert mapped(labels("dog")).values([]) == [-1, -1]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            labels("cat bird dog"),
            r"the test set lists classes that the model does not: \['bird'\]; the test set lists "
            r"\['cat', 'bird', 'dog'\], the model \['cat', 'dog', 'owl'\]",
        ),
        (labels("cat", Subcategory("age", ("old",))), r"lists subcategories .*: \['age'\]"),
        (labels("cat", Subcategory("side", ("up",))), r"lists values of 'side' .*: \['up'\]"),
        # As many labels prove nothing.
        (labels("cat dog bird", STYLE, SIDE), r"does not: \['bird'\]"),
    ],
)
def test_what_the_target_does_not_list_is_refused_with_both_lists(source, message):
    with pytest.raises(ValueError, match=message):
        mapped(source)


def test_a_union_has_every_name_once_in_the_order_of_appearance():
    both = union([labels("dog cat", SIDE), labels("owl cat", Subcategory("side", ("right", "up")))])
    assert both.class_names == ("dog", "cat", "owl")
    (side,) = both.spec
    assert side.values == ("left", "right", "up")
    assert side.has_none  # the second says that an object may have none
    assert side.flip == SIDE.flip
    assert both.category_ids == (1, 2, 3)
    # With all names in the first list, its ids stay.
    whole = Labels(("a", "b"), SubcategorySpec(), (7, 9))
    assert union([whole, labels("b")]) == whole


def test_a_union_applies_to_what_one_of_its_parts_applies_to():
    cats, dogs = (Subcategory("age", ("old",), applies_to=(name,)) for name in ("cat", "dog"))
    (age,) = union([labels("cat", cats), labels("dog", dogs)]).spec
    assert age.applies_to == ("cat", "dog")
    # Cars are in one list only, and have no age there.
    (age,) = union([labels("cat car", cats), labels("dog", Subcategory("age", ("old",)))]).spec
    assert age.applies_to == ("cat", "dog")
    # A list without the subcategory says nothing of its classes.
    (age,) = union([labels("cat", cats), labels("bus")]).spec
    assert age.applies_to == ("cat",)
    with pytest.raises(ValueError, match="'age' applies to class 'dog' in one dataset, and not in"):
        union([labels("cat dog", cats), labels("dog", dogs)])


def test_a_record_comes_back():
    assert Labels.from_record(MODEL.to_record()) == MODEL
    with pytest.raises(ValueError, match="record of labels must have 'thing_classes'"):
        Labels.from_record({"thing_classes": ["cat"]})
    for damaged in (["cat", "cat"], [1, 2], "ab"):
        with pytest.raises(ValueError, match="'thing_classes', different texts"):
            Labels.from_record({**MODEL.to_record(), "thing_classes": damaged})
    with pytest.raises(ValueError, match=r"as many category ids as classes .* \[1\] for \['a', 'b"):
        Labels(("a", "b"), SubcategorySpec(), (1,))


def test_a_test_set_is_judged_by_all_values_that_a_model_may_predict():
    judged = labels("owl", Subcategory("style", ("sketch",), has_none=False)).with_values_of(MODEL)
    (style,) = judged.spec
    assert style.values == STYLE.values
    assert not style.has_none  # an option of the test set's own
    assert judged.class_names == ("owl",)


def test_differences_are_told_in_words():
    source = labels("owl cat", Subcategory("style", ("cartoon", "photo")))
    assert differences(source, MODEL) == (
        "no classes ['dog']; another order of classes; no subcategories ['side']; "
        "no values of 'style' ['sketch']; another order of values of 'style'"
    )
    assert differences(MODEL, MODEL) == ""


def test_names_that_look_alike_are_told():
    style = Subcategory("style", ("photo", "pho to", "sketch"))
    both = union([labels("cat", style), labels("dog Cat")])
    assert list(both.alike()) == [
        ("classes", ["cat", "Cat"]),
        ("values of subcategory 'style'", ["photo", "pho to"]),
    ]
    assert list(MODEL.alike()) == []
    # "é" as "e" with a combining accent, and as one character; the same name twice is no slip.
    names = ["cup", "Cup", "cat", "cat", "cafe\u0301", "caf\u00e9"]
    assert alike_names(names) == [["cup", "Cup"], ["cafe\u0301", "caf\u00e9"]]
