"""The specs of subcategories, their errors, and the decoder's output."""

from __future__ import annotations

import pytest
import torch

from mask2former_mt.structures import (
    UNKNOWN,
    DecoderOutput,
    MaskFactors,
    Subcategory,
    SubcategorySpec,
    per_subcategory,
)

RIPENESS = Subcategory("ripeness", ("green", "yellow", "brown"))
SPEC = SubcategorySpec((Subcategory("style", ("photo", "cartoon")), RIPENESS))


def test_none_has_the_index_after_the_values():
    # Values 0, 1, 2; none 3; so a head has 4 outputs.
    assert (RIPENESS.num_values, RIPENESS.none_index) == (3, 3)
    assert [RIPENESS.value_name(i) for i in range(4)] == ["green", "yellow", "brown", None]


@pytest.mark.parametrize(
    ("written", "index"),
    [("green", 0), ("brown", 2), (None, 3), (0, 0), (3, 3), (-1, UNKNOWN)],
)
def test_an_annotation_gives_a_name_an_index_or_null(written, index):
    assert RIPENESS.value_index(written) == index


def test_a_spec_survives_json_in_its_order():
    entries = [
        {"name": "style", "values": ["photo"], "none": False},
        {"name": "a", "values": ["b", "c"]},
        {"name": "side", "values": ["l", "r"], "flip": {"l": "r"}, "applies_to": ["shoe"]},
    ]
    spec = SubcategorySpec.from_json(entries)
    assert (spec.names, spec.num_classes) == (("style", "a", "side"), (1, 2, 2))
    assert [s.has_none for s in spec] == [False, True, True]
    assert spec.without_none == ("style",)
    # As files and checkpoints were written before there was the word.
    assert spec.to_json() == entries
    assert SubcategorySpec.from_json([{**entries[1], "none": True}]).to_json() == entries[1:2]
    # The index of none stays: it is what background is.
    assert spec.subcategories[0].none_index == 1
    # A plain COCO file has no such list.
    assert SubcategorySpec.from_json(None) == SubcategorySpec.from_json([]) == SubcategorySpec()


def test_counted_values_are_named_by_their_numbers():
    spec = SubcategorySpec.from_counts(["style", "ripeness"], [2, 3])
    assert spec.num_classes == (2, 3)
    assert spec.subcategories[1].values == ("0", "1", "2")
    # Classes too: 0 and 2 of three; an empty list is all of them.
    spec = SubcategorySpec.from_counts(["a", "b"], [1, 1], [[0, 2], []])
    assert spec.applicable(["0", "1", "2"]) == [[True, True], [False, True], [True, True]]


def test_a_mirroring_exchanges_the_values_of_each_pair():
    side = Subcategory("side", ("left", "front", "right"), flip=(("left", "right"),))
    # left 0 <-> right 2; front 1 and none 3 stay.
    assert side.mirrored == (2, 1, 0, 3)
    spec = SubcategorySpec((side, RIPENESS))
    assert [spec.mirrored_labels([label, 2]) for label in (0, 2, 3, UNKNOWN)] == [
        [2, 2],
        [0, 2],
        [3, 2],
        [UNKNOWN, 2],
    ]
    assert spec.has_flips
    assert not SPEC.has_flips
    # Written in both directions, and with a value that stays, it says the same.
    both = {"left": "right", "right": "left", "front": "front"}
    assert Subcategory("side", side.values, flip=tuple(both.items())).mirrored == side.mirrored


def test_a_subcategory_may_belong_to_some_classes_only():
    breed = Subcategory("breed", ("pug",), applies_to=("dog",))
    spec = SubcategorySpec((breed, RIPENESS))
    assert spec.applicable(["cat", "dog"]) == [[False, True], [True, True]]


def test_labels_of_an_annotation():
    assert SPEC.labels_of({"ripeness": "brown", "style": "photo"}) == [0, 2]
    # null is none, K_s; a missing key is unknown.
    assert SPEC.labels_of({"ripeness": None}) == [UNKNOWN, 3]
    assert SPEC.labels_of({}) == [UNKNOWN, UNKNOWN]
    assert SubcategorySpec().labels_of({}) == []


def test_one_number_stands_for_all_subcategories():
    assert per_subcategory([2], 3, "KEY") == (2.0, 2.0, 2.0)
    assert per_subcategory([2], 0, "KEY") == ()
    assert per_subcategory([1, 0.5], 2, "KEY") == (1.0, 0.5)


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (RIPENESS.value_index, ["red"], r"'ripeness' has no value 'red'; listed are \['green', 'y"),
        (RIPENESS.value_index, ["Green"], "has no value 'Green'"),
        (RIPENESS.value_index, [4], r"index must be in \[-1, 3\] \(-1 unknown, 3 none\), got 4"),
        (RIPENESS.value_index, [-2], r"index must be in \[-1, 3\].*got -2"),
        (RIPENESS.value_index, [True], "must be a name, an index or null, got True"),
        (RIPENESS.value_index, [1.0], "must be a name, an index or null, got 1.0"),
        (RIPENESS.value_index, [["green"]], "must be a name, an index or null"),
        (RIPENESS.value_name, [-1], r"'ripeness': index must be in \[0, 3\], got -1"),
        (RIPENESS.value_name, [4], r"'ripeness': index must be in \[0, 3\], got 4"),
        (Subcategory, ["", ("a",)], "name must be a non-empty string, got ''"),
        (Subcategory, [3, ("a",)], "name must be a non-empty string, got 3"),
        (Subcategory, ["a.b", ("a",)], "'a.b' must not contain a dot"),
        (Subcategory, ["style", ()], "'style' has 0 values; it needs at least one"),
        (
            Subcategory,
            ["style", ("a", "b", "a")],
            r"'style' lists a value twice: \['a', 'b', 'a'",
        ),
        (SPEC.labels_of, [{"style": "photo", "colour": "red"}], r"'colour' is not listed; listed"),
        (SubcategorySpec().labels_of, [{"a": "b"}], r"'a' is not listed; listed are \[\]"),
        (SubcategorySpec.from_counts, [["a"], [0]], "'a' has 0 values"),
        (SubcategorySpec.from_counts, [["a", "a"], [1, 1]], "listed twice"),
        (
            SubcategorySpec.from_counts,
            [["a", "b"], [2]],
            r"as many subcategory names as numbers .* got \['a', 'b'\] and \[2\]",
        ),
        (
            per_subcategory,
            [[1, 2, 3], 2, "KEY"],
            r"KEY must hold 1 number or one .* \(2\), got",
        ),
        (per_subcategory, [[], 2, "KEY"], r"KEY must hold 1 number or one .* \(2\), got \[\]"),
        (per_subcategory, [[1, -1], 2, "KEY"], r"KEY must not be negative, got \[1, -1\]"),
    ],
)
def test_what_does_not_fit_is_refused(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["style"], "an entry of 'subcategories' must be .* got 'style'"),
        *(
            ([{"name": "side", "values": ["l", "r", "t"], "flip": flip}], f"'side': {message}")
            for flip, message in (
                ({"l": "right"}, r"'flip' names 'right', which is no value; listed are \['l', 'r'"),
                ({"l": "r", "r": "t"}, "'flip' exchanges 'r' with 'l' and with 't'"),
                ({"l": "r", "t": "r"}, "'flip' exchanges 'r' with 'l' and with 't'"),
                ({"l": "l", "r": "l"}, "'flip' exchanges 'l' with 'l' and with 'r'"),
                ({"l": 1}, "'flip' must be pairs of values"),
                (["l", "r"], "'flip' must be pairs of values"),
            )
        ),
        *(
            ([{"name": "breed", "values": ["pug"], "applies_to": classes}], f"'breed': {message}")
            for classes, message in (
                ([], "'applies_to' lists no class"),
                (["dog", "dog"], r"'applies_to' lists a class twice: \['dog', 'dog'\]"),
                ("dog", "'applies_to' must be a list of class names, got 'dog'"),
                ([1], r"'applies_to' must be a list of class names, got \[1\]"),
                (None, "'applies_to' must be a list of class names, got None"),
            )
        ),
        ([{"name": "style"}], "an entry of 'subcategories' must be"),
        ([{"values": ["a"]}], "an entry of 'subcategories' must be"),
        ([{"name": "style", "values": "ab"}], "'values' must be a list of strings, got 'ab'"),
        ([{"name": "style", "values": [1, 2]}], r"'values' must be a list of strings, got \[1, 2"),
        ([{"name": "style", "values": []}], "'style' has 0 values"),
        ([{"name": "s", "values": ["a"], "none": 0}], "'s': 'none' must be true or false .* got 0"),
        ([{"name": "s", "values": ["a"]}] * 2, r"a subcategory is listed twice: \['s', 's'\]"),
    ],
)
def test_a_malformed_list_is_refused(entries, message):
    with pytest.raises(ValueError, match=message):
        SubcategorySpec.from_json(entries)


def test_the_layers_of_an_output_end_with_itself():
    def output() -> DecoderOutput:
        return DecoderOutput(torch.zeros(1, 2, 3), torch.zeros(1, 2, 4, 4), {})

    first, second, last = output(), output(), output()
    last.aux_outputs = [first, second]
    assert [id(layer) for layer in last.layers] == [id(first), id(second), id(last)]
    assert first.layers == [first]


def test_masks_of_some_queries_are_those_of_all():
    generator = torch.Generator().manual_seed(0)
    factors = MaskFactors(
        torch.randn(2, 5, 3, generator=generator), torch.randn(2, 3, 4, 6, generator=generator)
    )
    factored = DecoderOutput(torch.zeros(2, 5, 3), factors, {})
    queries = torch.tensor([4, 0, 4])
    some = factored.masks_of(1, queries)
    # Asked for before all were multiplied out, and after.
    torch.testing.assert_close(some, factored.pred_masks[1, queries])
    torch.testing.assert_close(some, factored.masks_of(1, queries))
    assert factored.masks_of(0, queries[:0]).shape == (0, 4, 6)
