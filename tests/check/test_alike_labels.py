"""Twins among classes, subcategories and values are one warning each."""

from __future__ import annotations

import json

from mask2former_mt.check.alike_labels import find_alike_labels
from mask2former_mt.dataset.split import SplitFiles, read_split


def test_twins_are_warned_of_once(tmp_path):
    document = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 1, "name": "cup"}, {"id": 2, "name": "Cup"}],
        "subcategories": [
            {"name": "ink", "values": ["red", "red "]},
            {"name": "Ink", "values": ["blue", "green"]},
        ],
    }
    splits = []
    for name in ("train", "val"):
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(document))
        splits.append(read_split(SplitFiles(name, tmp_path, file)))
    problems = find_alike_labels(splits)
    assert [problem.message for problem in problems] == [
        "classes 'cup', 'Cup' differ only by blanks, case or Unicode form",
        "subcategories 'ink', 'Ink' differ only by blanks, case or Unicode form",
        "values of subcategory 'ink' 'red', 'red ' differ only by blanks, case or Unicode form",
    ]
    assert {(p.severity, p.kind, p.file) for p in problems} == {
        ("warning", "names-alike", str(tmp_path / "train.json"))
    }
