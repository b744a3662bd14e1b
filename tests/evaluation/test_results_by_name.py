"""Results in the terms of a dataset that lists other labels than the model."""

from __future__ import annotations

import pytest

from mask2former_mt.evaluation.results_by_name import ResultsForDataset
from mask2former_mt.label_lists import Labels
from mask2former_mt.structures import Subcategory, SubcategorySpec

STYLE = SubcategorySpec((Subcategory("style", ("photo",)),))
# The predictions have 1 for the cat, 2 for the dog and 3 for the owl; the dataset 1 for the dog.
DATASET = Labels(("dog", "cat"), STYLE, (1, 5))


@pytest.fixture
def results() -> ResultsForDataset:
    return ResultsForDataset(["cat", "dog", "owl"], [1, 2, 3], DATASET)


def test_ids_follow_the_names_and_what_the_dataset_does_not_list_is_left_out(results):
    labels = {"style": {"value": "photo"}, "age": {"value": "old"}}
    entries = [{"category_id": i, "score": i / 10, "subcategories": labels} for i in (1, 2, 3, 3)]
    style = {"style": {"value": "photo"}}
    assert list(results.translate(entries)) == [
        {"category_id": 5, "score": 0.1, "subcategories": style},
        {"category_id": 1, "score": 0.2, "subcategories": style},
    ]
    assert results.left_out == {"owl": 2}
    assert entries[0]["category_id"] == 1
    assert set(entries[0]["subcategories"]) == {"style", "age"}


def test_damaged_entries_are_left_to_the_reader(results):
    damaged = [7, {}, {"category_id": [1]}]
    assert list(results.translate(damaged)) == damaged
    # Without labels of subcategories, or with damaged ones.
    entries = [{"category_id": 2}, {"category_id": 2, "subcategories": "photo"}]
    assert list(results.translate(entries)) == [{**entry, "category_id": 1} for entry in entries]


def test_an_id_without_a_name_is_refused(results):
    # The dataset knows a 5, and it may be another class.
    with pytest.raises(ValueError, match=r"category_id 5 is not one of .*\['1: cat', '2: dog', '3"):
        list(results.translate([{"category_id": 5}]))
