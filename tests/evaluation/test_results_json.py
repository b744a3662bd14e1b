"""Predictions as entries of results JSON, and files of them of every form, damaged ones too."""

import json
import math

import numpy as np
import pytest
import torch
from detectron2.structures import Instances
from evaluation_scenes import SPEC
from pycocotools import mask as mask_utils

from mask2former_mt.evaluation.results_json import (
    instances_to_results,
    read_labels_of,
    read_predictions,
    write_labels,
)
from mask2former_mt.label_lists import Labels
from mask2former_mt.structures import SubcategorySpec

HEIGHT, WIDTH = 5, 7
CATEGORY_IDS = [3, 8]  # of the contiguous classes 0 and 1


def predictions(**changed):
    """Two instances; the second one has no ripeness."""
    masks_NHW = torch.zeros(2, HEIGHT, WIDTH, dtype=torch.bool)
    masks_NHW[0, 1:3, 2:6] = True  # x 2..5, y 1..2
    masks_NHW[1, 4, 6] = True
    fields = {
        "pred_masks": masks_NHW,
        "scores": torch.tensor([0.75, 0.5]),
        "pred_classes": torch.tensor([1, 0]),
        "pred_subcategories": torch.tensor([[0, 1], [1, 2]]),
        "subcategory_scores": torch.tensor([[0.875, 0.25], [0.5, 0.625]]),
    } | changed
    return Instances((HEIGHT, WIDTH), **{k: v for k, v in fields.items() if v is not None})


def convert(instances, spec=SPEC):
    return instances_to_results(instances, 42, spec=spec, category_ids=CATEGORY_IDS)


def test_an_entry_holds_dataset_ids_names_and_scores():
    first, second = convert(predictions())
    assert (first["image_id"], first["category_id"], first["score"]) == (42, 8, 0.75)
    assert first["subcategories"] == {
        "style": {"value": "photo", "score": 0.875},
        "ripeness": {"value": "unripe", "score": 0.25},
    }
    # 4 pixels wide from x = 2, 2 high from y = 1.
    assert first["bbox"] == [2, 1, 4, 2]
    assert second["category_id"] == 3
    # K_s = 2 is none.
    assert second["subcategories"]["ripeness"] == {"value": None, "score": 0.625}
    assert second["bbox"] == [6, 4, 1, 1]


def test_entries_survive_json_with_their_masks():
    instances = predictions()
    instances.pred_masks[1] = False  # an empty mask is kept
    results = json.loads(json.dumps(convert(instances)))
    for result, mask_HW in zip(results, instances.pred_masks, strict=True):
        np.testing.assert_array_equal(mask_utils.decode(result["segmentation"]), mask_HW.numpy())
    assert results[1]["bbox"] == [0, 0, 0, 0]
    assert convert(instances[:0]) == []


def test_without_subcategories_the_fields_are_not_needed():
    plain = predictions(pred_subcategories=None, subcategory_scores=None)
    assert [r["subcategories"] for r in convert(plain, SubcategorySpec())] == [{}, {}]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"scores": None}, "image 42: the predictions have no field 'scores'"),
        ({"pred_subcategories": None}, "image 42: .* no field 'pred_subcategories'"),
        (
            {"pred_masks": torch.zeros(2, WIDTH, HEIGHT) > 0},
            r"must be \(2, 5, 7\), got \(2, 7, 5\)",
        ),
        ({"pred_masks": torch.zeros(2, HEIGHT, WIDTH)}, r"bool \(N, H, W\), got torch.float32"),
        ({"pred_classes": torch.tensor([0, 2])}, r"instance 1: pred_classes .* \[0, 1\], got 2"),
        ({"pred_classes": torch.tensor([-1, 0])}, r"instance 0: pred_classes .* got -1"),
        (
            {"pred_subcategories": torch.zeros(2, 3, dtype=torch.int64)},
            r"pred_subcategories must be \(2, 2\).*\['style', 'ripeness'\], got \(2, 3\)",
        ),
        ({"subcategory_scores": torch.zeros(2, 1)}, r"subcategory_scores must be \(2, 2\)"),
        (
            {"pred_subcategories": torch.tensor([[0, 0], [3, 0]])},
            r"'style': index must be in \[0, 2\], got 3",
        ),
        (
            {"pred_subcategories": torch.tensor([[-1, 0], [0, 0]])},
            r"'style': index must be in \[0, 2\], got -1",
        ),
        ({"scores": torch.tensor([0.5, math.nan])}, "instance 1: scores must be finite, got nan"),
        (
            {"subcategory_scores": torch.tensor([[0.5, math.nan], [0.5, 0.5]])},
            "image 42, instance 0: scores must be finite",
        ),
    ],
)
def test_predictions_that_do_not_fit_are_named(changed, message):
    with pytest.raises(ValueError, match=message):
        convert(predictions(**changed))


ENTRIES = [{"image_id": i, "score": 0.5, "text": '}{"\\ é' * i} for i in range(30)]


def written(tmp_path, text):
    path = tmp_path / "predictions.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return path


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ENTRIES),
        json.dumps(ENTRIES, indent=2) + "\n\n",
        "[\n" + ",\n".join(map(json.dumps, ENTRIES)) + "\n]\n",
        "\n".join(map(json.dumps, ENTRIES)) + "\n",
        "".join(map(json.dumps, ENTRIES)),
        "\ufeff" + json.dumps(ENTRIES),
        json.dumps({"images": [], "annotations": ENTRIES}),
    ],
)
def test_a_list_lines_and_an_object_hold_the_same(tmp_path, text):
    assert list(read_predictions(written(tmp_path, text))) == ENTRIES


@pytest.mark.parametrize("text", ["[]", "[ ]\n", '{"annotations": []}'])
def test_an_empty_list(tmp_path, text):
    assert list(read_predictions(written(tmp_path, text))) == []


@pytest.mark.parametrize("form", [json.dumps(ENTRIES[:4]), "\n".join(map(json.dumps, ENTRIES[:4]))])
def test_a_file_that_is_cut_short_anywhere_is_named(tmp_path, form):
    whole = {len(form)}
    if form[0] == "{":
        # Between two lines nothing is missing.
        whole |= {i + d for i, c in enumerate(form) if c == "\n" for d in (0, 1)}
    for length in range(1, len(form)):
        if length in whole:
            continue
        path = written(tmp_path, form[:length])
        with pytest.raises(ValueError, match=r"predictions\.json: character \d+: .*cut short"):
            list(read_predictions(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a list or an object, got 'the end of the file'"),
        ("nonsense", "character 0: expected a list or an object, got 'nonsense'"),
        ("[1, 2]", "character 1: expected an object, the next entry, got '1, 2]'"),
        ('[{"a": 1} {"b": 2}]', "character 10: expected ',' or ']', got"),
        ('[{"a": 1}] more', "character 11: expected nothing after the list, got 'more'"),
        ('[{"a": 1},]', "expected an object, the next entry, got ']'"),
        ('[{"a": x, "b": 1}]', "character 7: Expecting value"),
        ('{"a": 1}\n[2]', "expected an object, the next entry"),
        ('{"annotations": 3}', "'annotations' must be a list of entries"),
        (b"\xff\xfe\x00[", r"predictions.json is no text: 'utf-8' codec can't decode"),
    ],
)
def test_what_is_no_predictions_is_named(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        list(read_predictions(written(tmp_path, text)))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.json do not exist"):
        list(read_predictions(tmp_path / "nowhere.json"))
    with pytest.raises(FileNotFoundError, match="are no file"):
        list(read_predictions(tmp_path))


def test_labels_lie_beside_the_predictions_or_in_them(tmp_path):
    labels, path = Labels(("pear", "apple"), SPEC, (3, 8)), tmp_path / "results.json"
    path.write_text("[]")
    assert read_labels_of(path) is None
    categories = [{"id": 3, "name": "pear"}, {"id": 8, "name": "apple"}]
    document = {"annotations": [], "categories": categories, "subcategories": SPEC.to_json()}
    path.write_text(json.dumps(document))
    assert read_labels_of(path) == labels
    # What lies beside the file was written with it.
    write_labels(Labels(("plum",), SPEC, (1,)), path)
    assert (tmp_path / "results.labels.json").is_file()
    assert read_labels_of(path).class_names == ("plum",)
    # A damaged one is no reason to take the labels by number.
    (tmp_path / "results.labels.json").write_text('{"categories": 3}')
    with pytest.raises(ValueError, match=r"results\.labels\.json must hold the lists"):
        read_labels_of(path)


@pytest.mark.parametrize(
    ("categories", "message"),
    [
        ([{"id": 3}], "an entry of 'categories' must be"),
        ([{"id": 3, "name": "pear"}, {"id": 8, "name": "pear"}], "two categories are named 'pear'"),
    ],
)
def test_damaged_labels_are_named(tmp_path, categories, message):
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"annotations": [], "categories": categories}))
    with pytest.raises(ValueError, match=f"results.json: {message}"):
        read_labels_of(path)
