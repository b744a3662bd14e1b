"""Whatever is in the files: a list of findings, in time, and training's judgement is among them."""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path

import numpy as np
from dataset_to_check import DOCUMENTS, DatasetToCheck
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mask2former_mt.check.check import check_dataset
from mask2former_mt.check.check_report import report_json
from mask2former_mt.check.repair import clean_document
from mask2former_mt.dataset.catalog import read_dataset_file
from mask2former_mt.dataset.split import SplitFiles, read_split
from mask2former_mt.evaluation.ground_truth import read_ground_truth

RUNS = settings(
    deadline=10_000,
    max_examples=100,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)

# Numbers at the edges of what is meant, what a file can hold, and what is neither.
NUMBERS = st.one_of(
    st.integers(-3, 45),
    st.sampled_from([10**9, 2**31, 2**63, 10**300, 10**400, -(10**400), 0.5, 1e-300, 1e308]),
    st.floats(),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=6))
VALUES = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=8),
    st.lists(st.lists(NUMBERS, max_size=12), max_size=3),
    st.dictionaries(st.sampled_from(["size", "counts", "style", "name", "values", "id"]), SCALARS),
    st.fixed_dictionaries(
        {
            "size": st.sampled_from([[30, 40], [40, 30], [30], [0, 0], [2**40, 2**40], "30"]),
            "counts": st.one_of(
                st.text("0123456789:;<=>?@ABCDEFGHIJKLMNO`abcdefghijklmno", max_size=20),
                st.lists(st.integers(-5, 1300), max_size=5),
                st.lists(NUMBERS, max_size=5),
            ),
        }
    ),
    st.lists(st.lists(st.floats(-5, 45), min_size=6, max_size=20), min_size=1, max_size=3),
)


def places(value: object, path: tuple = ()) -> list[tuple]:
    """The path of everything in a JSON value."""
    found = [path] if path else []
    items = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, child in items:
        found += places(child, (*path, key))
    return found


PLACES = places(DOCUMENTS["train"])


@st.composite
def mutated_documents(draw) -> dict:
    """The sound document with one to three places replaced, taken out or doubled."""
    document = copy.deepcopy(DOCUMENTS["train"])
    for _ in range(draw(st.integers(1, 3))):
        *path, last = draw(st.sampled_from(PLACES))
        holder = document
        try:
            for key in path:
                holder = holder[key]
            holder[last]
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took it away
        if isinstance(holder, str):
            continue
        action = draw(st.sampled_from(["replace", "replace", "replace", "remove", "double"]))
        if action == "remove":
            del holder[last]
        elif action == "double" and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[last]))
        else:
            holder[last] = draw(VALUES)
    return document


def check_everything(dataset: DatasetToCheck, *, draw: bool) -> None:
    result = check_dataset(dataset.yaml, num_workers=1, draw=draw)
    json.loads(report_json(result))
    # What training refuses has an error; what has none, training takes, and evaluation after it.
    is_refused = dataset.is_refused()
    assert not is_refused or result.exit_code == 2, result.problems
    if not is_refused:
        for split in read_dataset_file(dataset.yaml).entries:
            read = read_split(read_dataset_file(dataset.yaml).files_of(split))
            truth = read_ground_truth(read.records, read.header)
            assert np.isfinite(truth.areas).all()
            assert np.isfinite(truth.boxes).all()


@RUNS
@given(mutated_documents(), st.integers(0, 4).map(lambda number: number == 0))
def test_any_annotations_give_findings(document, draw):
    with tempfile.TemporaryDirectory() as folder:
        dataset = DatasetToCheck(Path(folder) / "tiny")
        dataset.documents["train"] = document
        dataset.write()
        check_everything(dataset, draw=draw)
        if all(
            isinstance(document.get(key), list) and all(isinstance(e, dict) for e in document[key])
            for key in ("images", "annotations", "categories")
        ):
            files = SplitFiles("train", dataset.folder / "train", dataset.json_file())
            json.dumps(clean_document(document, files).document)


@RUNS
@given(st.data())
def test_any_bytes_give_findings(data):
    with tempfile.TemporaryDirectory() as folder:
        dataset = DatasetToCheck(Path(folder) / "tiny")
        dataset.write()
        suffix = data.draw(st.sampled_from([".png", ".jpg", ".gif", ".tiff", ".webp", ".bmp"]))
        image = dataset.image("train", f"a{suffix}")
        dataset.write_image(image, seed=0)
        dataset.train["images"][0]["file_name"] = image.name
        dataset.write()
        target = data.draw(
            st.sampled_from([image, image, image, dataset.json_file(), dataset.yaml])
        )
        content = bytearray(target.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            if content:
                position = data.draw(st.integers(0, min(len(content) - 1, 700)))
                content[position] = data.draw(st.integers(0, 255))
        end = data.draw(st.one_of(st.none(), st.integers(0, len(content))))
        target.write_bytes(bytes(content[:end]))
        check_everything(dataset, draw=False)
