"""Mutated files of every format: a named error and nothing written, or what training can read."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from importer_scenes import (
    LEFT,
    Thing,
    brush_bytes,
    edit,
    labelme_shape,
    png_base64,
    views,
    write_format,
)
from mask2former_mt.importers.attribute_choice import ABSENT_CHOICES, SEVERAL_CHOICES
from mask2former_mt.importers.dataset_import import FORMATS, import_dataset
from mask2former_mt.importers.source import UNUSABLE_CHOICES, ImportOptions

from mask2former_mt.dataset.catalog import read_dataset_file
from mask2former_mt.dataset.conventions import CONVENTION_CHOICES
from mask2former_mt.dataset.split import read_split, training_records

MANY = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
# What a damaged or badly written file may hold in place of anything.
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(
        [0, -1, 1, 2**31, 2**63, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"), "", "x"]
    ),
    st.sampled_from(["a\0b", "\ud800", "../..", "/", "x" * 5000, "1", "__undefined__", "a.b"]),
    st.sampled_from([[], {}, [[]], [{}], [1, 2], {"a": 1}, [[1, 2, 3, 4, 5, 6]], [0, 0, 1e9, 1e9]]),
    st.sampled_from([{"size": [48, 64], "counts": c} for c in ([], [3072], "0", "h", [-5, 3077])]),
)
OPTIONS = st.builds(
    ImportOptions,
    unusable=st.sampled_from(UNUSABLE_CHOICES),
    absent=st.sampled_from(ABSENT_CHOICES),
    several=st.sampled_from(SEVERAL_CHOICES),
    crowd=st.sampled_from(CONVENTION_CHOICES["crowd"]),
    holes=st.sampled_from(CONVENTION_CHOICES["holes"]),
    parts=st.booleans(),
)


def write(format_name: str, folder: Path) -> tuple[dict, dict]:
    """A dataset of a format; returns the inputs and the picture folders."""
    scene = views()
    if format_name in ("coco", "fashionpedia", "paco"):
        scene["val"][0].things.append(Thing("cat", [LEFT], "red", True))
    inputs, images = write_format(format_name, folder, scene)
    if format_name == "label-studio":

        def add_brush_and_ellipse(tasks):
            results = tasks[0]["annotations"][0]["result"]
            common = {"from_name": "label", "to_name": "image"}
            value = {"rle": brush_bytes(np.eye(48, 64, dtype=bool)), "brushlabels": ["cat"]}
            results.append({**common, "id": "b", "type": "brushlabels", "value": value})
            value = {"x": 50, "y": 50, "radiusX": 5, "radiusY": 9, "ellipselabels": ["cat"]}
            results.append({**common, "id": "e", "type": "ellipselabels", "value": value})
            value = {"taxonomy": [["a", "b"]], "rating": 3, "text": ["x"], "number": 1}
            for kind in ("taxonomy", "rating", "textarea", "number"):
                results.append({"from_name": kind, "id": "b", "type": kind, "value": value})

        edit(inputs["val"], add_brush_and_ellipse)
    if format_name == "cvat":
        text = inputs["val"].read_text()
        more = (
            '<mask label="cat" group_id="5" rle="3,4,5" left="60" top="1" width="4" height="3"/>'
            '<ellipse label="cat" group_id="5" cx="9" cy="9" rx="3" ry="4" rotation="30"/>'
            '<tag label="sunny"><attribute name="how">very</attribute></tag>'
        )
        inputs["val"].write_text(text.replace("</image>", f"{more}</image>"))
    if format_name == "via":

        def add_shapes(project):
            (entry,) = project["_via_img_metadata"].values()
            for shape in (
                {"name": "circle", "cx": 30, "cy": 20, "r": 5},
                {"name": "ellipse", "cx": 30, "cy": 20, "rx": 5, "ry": 9, "theta": 0.5},
            ):
                attributes = {"class": {"cat": True}, "colour": {"red": True, "blue": False}}
                region = {"shape_attributes": shape, "region_attributes": attributes}
                entry["regions"].append(region)
            entry["file_attributes"] = {"weather": "sunny"}

        edit(inputs["val"], add_shapes)
    if format_name == "labelme":
        mask = png_base64(np.ones((3, 4), dtype=bool))
        shapes = [
            labelme_shape("cat", [[1, 1], [4, 3]], shape_type="mask", mask=mask, group_id=1),
            labelme_shape("cat", [[30, 20], [35, 20]], shape_type="circle", group_id=1),
            labelme_shape("dog", [[3, 3], [9, 9]], shape_type="rectangle", description="old"),
        ]
        edit(folder / "val" / "v.json", lambda document: document["shapes"].extend(shapes))
    return inputs, images


@pytest.fixture(scope="module", params=list(FORMATS))
def original(request, tmp_path_factory):
    """A sound dataset on disk, of which every example changes a copy.

    Returns:
        Format, folder, inputs and picture folders.
    """
    folder = tmp_path_factory.mktemp(request.param) / "in"
    return request.param, folder, *write(request.param, folder)


def places(value: object, path: tuple = ()) -> list[tuple]:
    """The paths to everything in a JSON value."""
    children = value.items() if isinstance(value, dict) else ()
    children = enumerate(value) if isinstance(value, list) else children
    return [path, *(p for key, child in children for p in places(child, (*path, key)))]


def replaced(document: object, path: tuple, value: object, *, remove: bool) -> object:
    if not path:
        return value
    document = copy.deepcopy(document)
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    if remove:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return document


def damage(file: Path, data: st.DataObject) -> None:
    """Changes a file: a JSON by one or two values, any file by its bytes."""
    content = file.read_bytes()
    if file.suffix == ".json" and data.draw(st.integers(0, 9), label="bytes?") > 1:
        document = json.loads(content)
        for _ in range(data.draw(st.integers(1, 2), label="changes")):
            path = data.draw(st.sampled_from(places(document)), label="path")
            remove = data.draw(st.booleans(), label="remove")
            document = replaced(document, path, data.draw(ODD, label="value"), remove=remove)
        file.write_text(json.dumps(document))
        return
    if file.suffix == ".xml" and data.draw(st.booleans(), label="value?"):
        text = content.decode()
        at = data.draw(st.sampled_from([*re.finditer('"[^"]*"|>[^<>]+<', text)]), label="at")
        odd = data.draw(st.sampled_from(["", "-1", "nan", "1e999", "x", "9" * 5000, "1,2;3"]))
        file.write_text(text[: at.start() + 1] + odd + text[at.end() - 1 :])
        return
    kind = data.draw(st.sampled_from(["cut", "insert", "swap", "empty", "gone"]), label="kind")
    at = data.draw(st.integers(0, len(content)), label="at")
    if kind == "gone":
        file.unlink()
        return
    junk = data.draw(
        st.sampled_from([b"\0", b"\xff", b"9", b"-", b".", b" ", b"\n", b"[", b"{", b": ", b"nan "])
        | st.binary(max_size=8),
        label="junk",
    )
    new = {
        "cut": content[:at],
        "insert": content[:at] + junk + content[at:],
        "swap": content[:at] + junk + content[at + len(junk) :],
        "empty": b"",
    }[kind]
    file.write_bytes(new)


@MANY
@given(data=st.data(), options=OPTIONS)
def test_a_named_error_or_a_sound_dataset(original, data, options):
    format_name, sound, inputs, images = original
    with tempfile.TemporaryDirectory(dir=sound.parent) as scratch:
        folder, out = Path(scratch, "in"), Path(scratch, "out")
        shutil.copytree(sound, folder)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        damage(data.draw(st.sampled_from(files), label="file"), data)
        inputs = {split: folder / path.relative_to(sound) for split, path in inputs.items()}
        images = {split: folder / path.relative_to(sound) for split, path in images.items()}
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        try:
            done = import_dataset(
                format_name, inputs, out, images=images, options=options, dataset_name="tiny"
            )
        except (ValueError, FileNotFoundError):
            assert not out.exists()
        else:
            dataset = read_dataset_file(done.files[-1])
            for split in dataset.entries:
                files = dataset.files_of(split)
                records = training_records(files, read_split(files).header)
                assert len(records) == done.num_images[split]
                assert sum(len(r["annotations"]) for r in records) == done.num_instances[split]
            assert len(os.listdir(out)) == len(done.files)
        assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
