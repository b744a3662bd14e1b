"""tools/import_dataset.py: every format from the command line, its notes, and its refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from importer_scenes import (
    check_masks_and_classes,
    cvat_attributes,
    edit,
    load,
    views,
    write_coco,
    write_format,
)
from mask2former_mt.importers.dataset_import import FORMATS
from programs import TOOLS, load_program


@pytest.fixture(scope="module")
def program():
    return load_program("import_dataset.py")


def write(format_name: str, folder: Path) -> list[str]:
    """Writes the scene; returns the command line's inputs and picture folders."""
    inputs, images = write_format(format_name, folder, views())
    arguments = [f"{split}={path}" for split, path in inputs.items()]
    if images:
        arguments += ["--images", *(f"{split}={path}" for split, path in images.items())]
    return arguments


# CVAT's own keys are left out; one object of two colours, whose dominant one PACO names with two
# keys that Fashionpedia does not have.
@pytest.mark.parametrize(
    ("format_name", "subcategory", "num_notes"),
    [
        ("yolo", None, 0),
        ("labelme", "'colour': 2", 0),
        ("label-studio", "'colour': 2", 0),
        ("cvat", "'colour': 2", 0),
        ("via", "'colour': 2", 1),  # a picture without regions
        ("masks", None, 0),
        ("coco", "'colour': 2", 3),
        ("fashionpedia", "'color': 2", 3),
        ("paco", "'color': 2", 0),
    ],
)
def test_every_format(program, tmp_path, capsys, format_name, subcategory, num_notes):
    arguments = write(format_name, tmp_path / "in")
    out = tmp_path / "scene"
    program.main([format_name, *arguments, "--output", str(out), "--yaml"])
    check_masks_and_classes(load(out / "scene.yaml"), views())
    printed = capsys.readouterr()
    assert "train: 3 pictures, 3 instances\nval: 1 pictures, 1 instances\n" in printed.out
    assert f"2 classes; wrote {out / 'train.json'}, {out / 'val.json'}, {out / 'scene.yaml'}" in (
        printed.out
    )
    if subcategory:
        assert f"subcategory {subcategory} values" in printed.out
    assert printed.err.count("note: ") == num_notes


# A COCO file is one of Fashionpedia or PACO that lacks its lists.
@pytest.mark.parametrize(
    "format_name", ["yolo", "labelme", "label-studio", "cvat", "via", "masks", "coco"]
)
def test_another_format_is_named(program, tmp_path, format_name):
    inputs, _ = write_format(format_name, tmp_path / "in", views())
    for asked_for in {*FORMATS} - {format_name, "fashionpedia", "paco"}:
        with pytest.raises(SystemExit) as caught:
            program.main([asked_for, str(inputs["train"]), "--output", str(tmp_path / "out")])
        assert str(caught.value.code).count(f"import it as {format_name}\n") == 1


@pytest.mark.parametrize(
    ("content", "title"),
    [
        ({"item": {}, "annotations": []}, "V7's Darwin JSON"),
        ({"items": [], "categories": {}}, "datumaro's JSON"),
        ({"objects": [], "size": {}}, "Supervisely's JSON"),
        ({"metadata": {}, "view": {}}, "the JSON of VIA 3"),
        ([{"image_id": 1, "category_id": 1, "score": 0.5}], "COCO's results"),
        ({"categories": [], "annotations": [{"segments_info": []}]}, "COCO panoptic"),
        ("<annotation/>", "Pascal VOC's XML"),
    ],
)
def test_a_format_that_is_not_read_is_named(program, tmp_path, content, title):
    file = tmp_path / ("a.xml" if isinstance(content, str) else "a.json")
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    for asked_for in ("coco", "cvat", "via"):
        with pytest.raises(SystemExit) as caught:
            program.main([asked_for, str(file), "--output", str(tmp_path / "out")])
        assert f"{file} looks like {title}" in str(caught.value.code)
        assert "; export COCO instead\n" in str(caught.value.code)


def test_a_single_input_is_the_split_train(program, tmp_path):
    inputs, images = write_coco(tmp_path / "in", views(), cvat_attributes)
    command = ["coco", str(inputs["val"]), "--images", str(images["val"])]
    program.main([*command, "--output", str(tmp_path / "out")])
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["train.json"]


def test_one_picture_folder_serves_all_splits(program, tmp_path):
    inputs, _ = write_coco(tmp_path / "in", views(), cvat_attributes)
    for split, file in inputs.items():

        def into_folder(document, split=split):
            for entry in document["images"]:
                entry["file_name"] = f"{split}/{entry['file_name']}"

        edit(file, into_folder)
    command = ["coco", *(f"{s}={f}" for s, f in inputs.items()), "--output", str(tmp_path / "out")]
    program.main([*command, "--images", str(tmp_path / "in" / "images")])
    document = json.loads((tmp_path / "out" / "val.json").read_text())
    assert document["images"][0]["file_name"] == "val/v.png"


def test_options_reach_the_import(program, tmp_path):
    arguments = write("coco", tmp_path / "in")
    options = ["--subcategories", "occluded", "colour", "--none-values", "blue", "--force"]
    options += ["--absent", "none", "--several", "first", "--max-values", "3"]
    options += ["--crowd", "object", "--unusable", "skip", "--yaml", "--name", "mine"]
    program.main(["coco", *arguments, "--output", str(tmp_path / "out"), *options])
    document = json.loads((tmp_path / "out" / "train.json").read_text())
    assert document["subcategories"] == [
        {"name": "occluded", "values": ["no", "yes"]},
        {"name": "colour", "values": ["red"]},
    ]
    assert [a["subcategories"] for a in document["annotations"]] == [
        {"occluded": "yes", "colour": "red"},
        {"occluded": None, "colour": None},
        {"occluded": "no", "colour": None},
    ]
    assert (tmp_path / "out" / "mine.yaml").is_file()


def test_an_import_without_an_object_is_no_success(program, tmp_path, capsys):
    arguments = write("yolo", tmp_path / "in")
    (tmp_path / "in" / "labels" / "val" / "v.txt").write_text("")
    program.main(["yolo", *arguments, "--output", str(tmp_path / "out")])
    assert "note: split 'val' has no object\n" in capsys.readouterr().err
    for file in (tmp_path / "in" / "labels" / "train").iterdir():
        file.write_text("")
    with pytest.raises(SystemExit) as caught:
        program.main(["yolo", *arguments, "--output", str(tmp_path / "out"), "--force"])
    assert caught.value.code == 1
    assert "note: no split has an object" in capsys.readouterr().err


def test_options_of_one_format_only(program, tmp_path, capsys):
    for arguments in (["yolo", "x", "--images", "y"], ["paco", "x", "--absent", "none"]):
        with pytest.raises(SystemExit) as caught:
            program.main([*arguments, "--output", str(tmp_path)])
        assert caught.value.code == 2
        assert "unrecognized arguments" in capsys.readouterr().err
    args = program.build_parser().parse_args(["paco", "x", "--output", "y", "--no-parts"])
    assert program.options_of(args).parts is False


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--name", "mine"], "--name is the YAML's: give --yaml too"),
        (["--max-values", "0"], "must be at least 1, got 0"),
        (["--several", "all"], "invalid choice: 'all'"),
    ],
)
def test_wrong_options_end_with_usage(program, tmp_path, capsys, options, match):
    with pytest.raises(SystemExit) as caught:
        program.main(["labelme", "x", "--output", str(tmp_path), *options])
    assert caught.value.code == 2
    assert match in capsys.readouterr().err


def test_broken_input_is_one_message_and_exit_code_1(tmp_path):
    arguments = write("coco", tmp_path / "in")
    file = tmp_path / "in" / "annotations" / "instances_val.json"
    file.write_bytes(file.read_bytes()[:99])
    program = str(TOOLS / "import_dataset.py")
    command = [sys.executable, "-W", "ignore", program, "coco", *arguments]
    done = subprocess.run(
        [*command, "--output", tmp_path / "out"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {file} is not valid JSON: ")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
