"""The check reads the pixels of maps, and compares them with what is listed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from map_datasets import CLASSES, SEGMENTS, write_panoptic, write_segments, write_semantic
from PIL import Image

from mask2former_mt.check.check import check_dataset

# Small pictures of noise, of which one class and value are rare, are no fault of these.
OF_MAPS = (
    *("missing-image", "missing-map", "bad-map", "map-size", "map-value"),
    *("segment-without-pixels", "unlisted-segment"),
)


def _found(yaml_file: Path) -> list[tuple[str, str]]:
    """Kind and file of each problem of a map."""
    problems = check_dataset(yaml_file, num_workers=1).problems
    return [(p.kind, Path(p.file).name) for p in problems if p.kind in OF_MAPS]


def test_sound_maps_are_counted(tmp_path):
    result = check_dataset(write_semantic(tmp_path / "s"), num_workers=1)
    assert result.counts["error"] == 0
    # Two pictures, in each of them all three classes.
    assert result.statistics["train"].class_counts.tolist() == [2, 2, 2]
    result = check_dataset(write_panoptic(tmp_path / "p"), num_workers=1)
    assert result.counts["error"] == 0
    statistics = result.statistics["train"]
    assert (statistics.class_counts.tolist(), statistics.num_crowds) == ([2, 2], 2)
    # Of the cats, whose style alone is asked for: photo, cartoon, none, unknown.
    assert statistics.value_counts[0][0].tolist() == [2, 0, 0, 0]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda path: os.remove(path), "missing-map"),
        (lambda path: Image.fromarray(CLASSES + 1).save(path), "map-value"),
        (lambda path: Image.fromarray(CLASSES[:, :3]).save(path), "map-size"),
        (lambda path: Image.fromarray(np.stack([CLASSES] * 3, -1)).save(path), "bad-map"),
        (lambda path: path.write_bytes(path.read_bytes()[:-32]), "bad-map"),
    ],
)
def test_a_map_of_classes_with_a_fault_is_told(tmp_path, change, expected):
    yaml_file = write_semantic(tmp_path)
    change(tmp_path / "maps" / "a.png")
    assert set(_found(yaml_file)) == {(expected, "a.png")}


def test_segments_are_compared_in_both_directions(tmp_path):
    yaml_file = write_panoptic(tmp_path)
    write_segments(tmp_path / "maps" / "1_map.png", np.where(SEGMENTS == 7, 8, SEGMENTS))
    found = _found(yaml_file)
    assert found == [("segment-without-pixels", "1_map.png"), ("unlisted-segment", "1_map.png")]
