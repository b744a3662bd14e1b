"""What an import does not read is named: keys, free text, and names that look like slips."""

from __future__ import annotations

import pytest
from importer_scenes import (
    SQUARE,
    Case,
    Thing,
    View,
    edit,
    labelme_shape,
    pairs,
    save_picture,
    views,
    write_coco,
    write_labelme_file,
)

# What other tools write beside COCO's keys, and what the attribute is called.
KEYS = {
    "metadata": ("ripe", lambda value: {"ripe": value}),  # COCO Annotator
    "extra": ("attributes", lambda value: {"attributes": [value]}),  # V7
    "ripe": ("ripe", lambda value: value),  # FiftyOne
    "tags": ("ripe", lambda value: {"of": {"ripe": value}, "more": []}),  # nested
}


def coco_with(tmp_path, attributes_of) -> Case:
    """The scene's three training objects and one of validation."""
    return Case("coco", tmp_path / "out", *write_coco(tmp_path / "in", views(), attributes_of))


@pytest.mark.parametrize("key", KEYS)
def test_keys_of_an_annotation_are_named_or_read(tmp_path, key):
    name, wrap = KEYS[key]

    def attributes_of(thing):
        return {key: wrap("yes" if thing.name == "dog" else "no"), "score": None}

    case = coco_with(tmp_path, attributes_of)
    done = case.run()
    assert len(done.spec) == 0
    notes = [note for note in done.notes if "score" not in note]
    assert len(notes) == 1
    # An L of a dog is the first; four objects.
    start = f"annotations with {key!r}, which is not read (--attributes-key {key} reads it): 4, "
    assert notes[0].startswith(f"{start}the first {case.inputs['train']}: annotation 5: ")
    assert notes[0].endswith(repr(wrap("yes")))
    done = case.run(attributes_keys=(key,))
    assert done.spec.names == (name,)
    assert [labels[name] for labels in case.labels()] == ["yes", "no", "no", "yes"]
    case.refuses(
        rf"no annotation has anything under 'Ripe'; other keys are \['{key}'\]",
        attributes_keys=("Ripe",),
    )


def test_keys_of_shapes_are_named_or_read(tmp_path):
    view = View("a.png", 64, 48, [])
    save_picture(tmp_path / "in" / "a.png", view)
    shapes = [labelme_shape("cat", pairs(SQUARE), difficult=flag) for flag in (True, False)]
    write_labelme_file(tmp_path / "in" / "a.json", view, shapes)
    case = Case("labelme", tmp_path / "out", {"train": tmp_path / "in"})
    (note,) = case.run().notes
    assert "'difficult', which is not read (--attributes-key difficult reads it): 2, " in note
    case.run(attributes_keys=("difficult",))
    assert [labels["difficult"] for labels in case.labels()] == ["yes", "no"]


@pytest.mark.parametrize(
    ("texts", "is_choice"),
    [
        (["a", "b", "c", "d"], False),  # serial numbers
        (["100.5", "99", "12", "12"], True),  # three texts are few
        (["a", "b", "c"] * 2 + ["d", "e"], False),  # 5 texts on 8 objects
        (["a", "b", "c", "d"] * 2, True),  # 4 texts on 8 objects
        ([str(number // 2) for number in range(240)], True),  # 120 texts on 240 objects
    ],
)
def test_texts_are_a_choice_by_the_share_of_their_objects(tmp_path, texts, is_choice):
    view = View("a.png", 64, 48, [Thing("cat", [SQUARE], text) for text in texts])
    written = write_coco(
        tmp_path / "in", {"train": [view]}, lambda thing: {"attributes": {"serial": thing.colour}}
    )
    case = Case("coco", tmp_path / "out", *written)
    done = case.run()
    assert done.spec.names == (("serial",) if is_choice else ())
    if not is_choice:
        number = len(set(texts))
        assert done.notes == [
            f"attribute 'serial' is left out: it has {number} different values, free text rather "
            f"than a choice (on {len(texts)} objects); --max-values {number} allows them"
        ]
        assert case.run(max_values=number).spec.names == ("serial",)
        assert case.run(subcategories=("serial",)).spec.names == ("serial",)


def test_labels_that_differ_by_blanks_are_one_and_by_case_are_named(tmp_path):
    labels = ["cup", " cup ", "Cup", "cafe\u0301", "caf\u00e9"]
    for number, label in enumerate(labels):
        view = View(f"{number}.png", 64, 48, [])
        save_picture(tmp_path / "in" / view.file_name, view)
        flags = {"attributes": {"ink ": ["red", "red  ", "Red", "red", "red"][number]}}
        shape = labelme_shape(label, pairs(SQUARE), **flags)
        write_labelme_file(tmp_path / "in" / f"{number}.json", view, [shape])
    case = Case("labelme", tmp_path / "out", {"train": tmp_path / "in"})
    done = case.run()
    names = {entry["id"]: entry["name"] for entry in case.document("train")["categories"]}
    found = [names[entry["category_id"]] for entry in case.document("train")["annotations"]]
    assert found == ["cup", "cup", "Cup", "caf\u00e9", "caf\u00e9"]
    assert done.num_classes == 3
    assert [labels["ink"] for labels in case.labels()] == ["red", "red", "Red", "red", "red"]
    assert done.notes == [
        "attribute 'ink ' is called 'ink'",
        "value 'red  ' of attribute 'ink' is called 'red'",
        "class ' cup ' is called 'cup'",
        f"class {labels[3]!r} is called {labels[4]!r}",
        "classes 'cup', 'Cup' differ only by blanks, case or Unicode form; if they are one, rename "
        "them in the source",
        "values of 'ink' 'Red', 'red' differ only by blanks, case or Unicode form; if they are "
        "one, rename them in the source",
    ]


def test_what_one_attribute_says_twice_is_several(tmp_path):
    case = coco_with(
        tmp_path, lambda thing: {"attributes": {"ripe": "yes"}, "ripe": thing.name == "dog"}
    )
    case.run(attributes_keys=("ripe",))
    assert [labels["ripe"] for labels in case.labels()] == ["yes", "unknown", "unknown", "yes"]


def test_classes_that_the_splits_write_differently_are_one(tmp_path):
    case = coco_with(tmp_path, lambda thing: {})
    edit(case.inputs["val"], lambda d: d["categories"][1].update(name="dog "))
    assert case.run().num_classes == 2
    edit(case.inputs["val"], lambda d: d["categories"][1].update(name="dog ", id="77"))
    edit(case.inputs["val"], lambda d: d["annotations"][0].update(category_id=77))
    assert case.run().num_classes == 2
    assert case.document("val")["annotations"][0]["category_id"] == 9
