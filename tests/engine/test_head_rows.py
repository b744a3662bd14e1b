"""Rows of the label heads go with their labels' names."""

from __future__ import annotations

import pytest
import torch

from mask2former_mt.engine.head_rows import describe_rows, rows_of, take_rows
from mask2former_mt.label_lists import Labels
from mask2former_mt.structures import Subcategory, SubcategorySpec

HEAD = "sem_seg_head.predictor"


def labels(classes: str, **values: str) -> Labels:
    names = tuple(classes.split())
    spec = SubcategorySpec(tuple(Subcategory(s, tuple(v.split())) for s, v in values.items()))
    return Labels(names, spec, tuple(range(1, len(names) + 1)))


THEIRS = labels("cat dog owl", style="photo cartoon", age="old young")
OURS = labels("owl bee cat", style="cartoon photo", side="left right")


def test_rows_stand_for_classes_and_values():
    assert rows_of(f"{HEAD}.class_embed.weight", OURS) == ("owl", "bee", "cat", None)
    assert rows_of(f"{HEAD}.subcategory_embed.side.bias", OURS) == ("left", "right", None)
    assert rows_of(f"{HEAD}.subcategory_embed.age.bias", OURS) is None
    assert rows_of(f"{HEAD}.mask_embed.layers.0.weight", OURS) is None
    assert rows_of("weight", OURS) is None


def test_rows_of_the_same_name_are_taken_and_others_start_afresh():
    source = {
        f"{HEAD}.class_embed.bias": torch.tensor([1.0, 2.0, 3.0, 4.0]),  # cat dog owl nothing
        f"{HEAD}.subcategory_embed.style.weight": torch.tensor([[5.0], [6.0], [7.0]]),
        f"{HEAD}.subcategory_embed.age.weight": torch.ones(3, 1),
    }
    own = {
        f"{HEAD}.class_embed.bias": torch.tensor([-1.0, -2.0, -3.0, -4.0]),
        f"{HEAD}.subcategory_embed.style.weight": torch.zeros(3, 1),
        f"{HEAD}.subcategory_embed.side.weight": torch.zeros(3, 1),
    }
    taken = take_rows(source, own, THEIRS, OURS)
    assert set(taken) == {f"{HEAD}.class_embed.bias", f"{HEAD}.subcategory_embed.style.weight"}
    # owl and cat are kept, bee is ours, "no object" is the last one everywhere.
    assert taken[f"{HEAD}.class_embed.bias"].tolist() == [3, -2, 1, 4]
    # cartoon and photo change places, none stays.
    assert taken[f"{HEAD}.subcategory_embed.style.weight"].tolist() == [[6], [5], [7]]
    assert own[f"{HEAD}.class_embed.bias"].tolist() == [-1, -2, -3, -4]


def test_the_heads_of_mask_rcnn_are_taken_by_name_too():
    box, mask, score = "bbox_pred.bias", "mask_head.predictor.bias", "cls_score.bias"
    source = {f"roi_heads.box_predictor.{box}": torch.arange(12.0)}  # four of each class
    source[f"roi_heads.{mask}"] = torch.tensor([1.0, 2.0, 3.0])
    source[f"roi_heads.box_predictor.{score}"] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    own = {name: torch.full_like(tensor, -1) for name, tensor in source.items()}
    boxes, masks, scores = (take_rows(source, own, THEIRS, OURS)[n].tolist() for n in source)
    assert boxes == [8, 9, 10, 11, -1, -1, -1, -1, 0, 1, 2, 3]  # owl, bee, cat
    assert masks == [3, -1, 1]
    assert scores == [3, -1, 1, 4]
    # One box for all classes is no head of labels.
    shared = {"roi_heads.box_predictor.bbox_pred.bias": torch.arange(4.0)}
    assert take_rows(shared, shared, THEIRS, OURS) == {}


def test_another_width_is_left_to_the_report_and_a_false_record_is_refused():
    name = f"{HEAD}.class_embed.weight"
    assert take_rows({name: torch.ones(4, 2)}, {name: torch.ones(4, 3)}, THEIRS, OURS) == {}
    with pytest.raises(ValueError, match=r"weight has 3 rows, .* needs 4: \['cat'"):
        take_rows({name: torch.ones(3, 2)}, {name: torch.ones(4, 2)}, THEIRS, OURS)


def test_one_table_says_what_becomes_of_every_label():
    lines = [line.split("  ") for line in describe_rows(THEIRS, OURS).splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert cells == [
        ["kept", "new, starts afresh", "only in the checkpoint"],
        ["class", "'owl', 'cat'", "'bee'", "'dog'"],
        ["style", "'cartoon', 'photo'", "-", "-"],
        ["side", "-", "'left', 'right'", "-"],
        ["age", "-", "-", "'old', 'young'"],
    ]
