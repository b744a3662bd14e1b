"""From files to a checked config: overrides, refusals, datasets, devices, error messages."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog
from training_files import SUBCATEGORIES, write_config, write_dataset

from mask2former_mt.dataset import document
from mask2former_mt.engine.setup import (
    errors_named,
    fill_from_datasets,
    labels_of_run,
    load_config,
    prepare_run,
    save_config,
    tell_of_labels,
)
from mask2former_mt.engine.trainer import MultiTaskTrainer
from mask2former_mt.label_lists import Labels
from mask2former_mt.structures import SubcategorySpec


@pytest.fixture
def config_file(tmp_path: Path) -> str:
    dataset = write_dataset(tmp_path / "shapes", "shapes")
    return str(write_config(tmp_path / "c.yaml", dataset))


def test_overrides_win_over_the_file_and_the_config_is_frozen(config_file):
    cfg = load_config(config_file, ["MODEL.MASK_FORMER.NUM_OBJECT_QUERIES", "9"])
    assert cfg.MODEL.MASK_FORMER.NUM_OBJECT_QUERIES == 9
    assert cfg.MODEL.MASK_FORMER.HIDDEN_DIM == 32
    assert cfg.is_frozen()


def test_a_leaf_takes_what_it_does_not_say_from_its_base(config_file, tmp_path):
    leaf = tmp_path / "leaf.yaml"
    leaf.write_text("_BASE_: c.yaml\nMODEL: {MASK_FORMER: {NHEADS: 2}}\n")
    former = load_config(str(leaf)).MODEL.MASK_FORMER
    assert (former.NHEADS, former.HIDDEN_DIM) == (2, 32)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (["MODEL.MASKFORMER.NHEADS", "2"], KeyError, "MODEL.MASKFORMER; .*"),
        (["SOLVER.BASE_LR"], ValueError, r"must be KEY VALUE pairs, got \['SOLVER.BASE_LR'\]"),
        (["SOLVER.BASE_LR", "fast"], ValueError, "BASE_LR must be a number, got 'fast'"),
    ],
)
def test_overrides_that_do_not_fit_are_refused(config_file, options, error, message):
    with pytest.raises(error, match=message):
        load_config(config_file, options)


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("MODEL: {FANCY: 1}", KeyError, r"c.yaml.*MODEL.FANCY"),
        ("MODEL: [", ValueError, r"c.yaml is not valid YAML"),
        # detectron2 alone would run this.
        ("A: !!python/object/apply:os.getcwd []", ValueError, r"c.yaml is not valid YAML"),
        ("_BASE_: unsafe.yaml", ValueError, r'unsafe.yaml", line 1'),
        ("INPUT:\n  MIN_SIZE_TRAIN: !!python/object/apply:eval ['[1, 2]']", ValueError, "line 2"),
        ("", ValueError, r"c.yaml must hold keys"),
        ("just text", ValueError, r"c.yaml must hold keys"),
        ("_BASE_: nowhere.yaml", FileNotFoundError, r"nowhere.yaml"),
        ("SOLVER: {BASE_LR: fast}", ValueError, r"c.yaml: SOLVER.BASE_LR must be a number"),
    ],
)
def test_a_file_that_is_no_config_is_refused(tmp_path, content, error, message):
    file = tmp_path / "c.yaml"
    file.write_text(content)
    (tmp_path / "unsafe.yaml").write_text("A: !!python/object/apply:os.getcwd []")
    with pytest.raises(error, match=message):
        load_config(str(file))


def test_published_training_sizes_are_read_without_running_them(tmp_path):
    file = tmp_path / "c.yaml"
    expression = "[int(x * 0.1 * 640) for x in range(5, 21)]"
    file.write_text(f'INPUT: {{MIN_SIZE_TRAIN: !!python/object/apply:eval ["{expression}"]}}')
    # 0.5 to 2.0 times 640, rounded down: 16 sizes.
    sizes = load_config(str(file)).INPUT.MIN_SIZE_TRAIN
    assert (len(sizes), sizes[0], sizes[2], sizes[-1]) == (16, 320, 448, 1280)


@pytest.mark.parametrize(("device", "chosen"), [("auto", None), ("cpu", "cpu"), ("cuda", "cuda")])
def test_the_device_is_chosen_unless_it_is_set(config_file, device, chosen):
    if chosen is None:
        chosen = "cuda" if torch.cuda.is_available() else "cpu"
    assert chosen == load_config(config_file, ["MODEL.DEVICE", device]).MODEL.DEVICE


def test_classes_and_subcategories_come_from_the_training_dataset(config_file):
    cfg = load_config(config_file)
    assert cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES == 0
    filled = fill_from_datasets(cfg)
    assert filled.MODEL.SEM_SEG_HEAD.NUM_CLASSES == 3
    assert filled.MODEL.SUBCATEGORY.NAMES == ["tint", "finish"]
    assert filled.MODEL.SUBCATEGORY.NUM_CLASSES == [2, 3]
    assert filled.is_frozen()
    # Filling in what is filled in already changes nothing.
    assert fill_from_datasets(filled) == filled
    # What was passed stays as it was.
    assert cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES == 0


@pytest.mark.parametrize(("for_training", "reads"), [(True, 1), (False, 2)])
def test_an_evaluation_keeps_no_annotations_of_the_training_split(
    config_file, monkeypatch, for_training, reads
):
    parsed, parse = [], document.parse_json
    monkeypatch.setattr(document, "parse_json", lambda p: parsed.append(p.name) or parse(p))
    fill_from_datasets(load_config(config_file), for_training=for_training)
    # Who asks for them all the same has the file read again.
    DatasetCatalog.get("shapes_train")
    assert parsed.count("train.json") == reads


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["MODEL.SEM_SEG_HEAD.NUM_CLASSES", "5"],
            r"NUM_CLASSES is 5, but dataset 'shapes_train' has 3 classes \['bar', .*; set it to 0",
        ),
        (
            ["MODEL.SUBCATEGORY.NAMES", "['tint']", "MODEL.SUBCATEGORY.NUM_CLASSES", "[2]"],
            r"says \{'tint': 2\}, but dataset 'shapes_train' has \{'tint': 2, 'finish': 3\}; leave",
        ),
        (["DATASETS.TRAIN", "('other',)"], r"dataset 'other' is not registered.*DATASETS.FILES"),
        (["DATASETS.TRAIN", "()", "DATASETS.TEST", "()"], "TRAIN and DATASETS.TEST are empty"),
    ],
)
def test_a_config_that_does_not_fit_its_dataset_is_refused(config_file, options, message):
    with pytest.raises(ValueError, match=message):
        fill_from_datasets(load_config(config_file, options))


def test_classes_of_a_subcategory_are_filled_in(config_file, tmp_path):
    for split in ("train", "val"):
        file = tmp_path / "shapes" / f"{split}.json"
        document = json.loads(file.read_text(encoding="utf-8"))
        document["subcategories"][1]["applies_to"] = ["bird", "block"]
        document["annotations"] = []
        file.write_text(json.dumps(document), encoding="utf-8")
    cfg = load_config(config_file, ["DATALOADER.FILTER_EMPTY_ANNOTATIONS", "False"])
    filled = fill_from_datasets(cfg)
    # Of bar, block and bird the last two; tint is of all.
    assert filled.MODEL.SUBCATEGORY.APPLIES_TO == [[], [1, 2]]
    assert fill_from_datasets(filled) == filled
    other = load_config(config_file, ["MODEL.SUBCATEGORY.APPLIES_TO", "[[], [1]]"])
    with pytest.raises(ValueError, match=r"is \[\[\], \[1\]\], but .* \[1, 2\]\]; leave"):
        fill_from_datasets(other)


def test_subcategories_without_none_are_filled_in(config_file, tmp_path):
    for split in ("train", "val"):
        file = tmp_path / "shapes" / f"{split}.json"
        document = json.loads(file.read_text(encoding="utf-8"))
        document["subcategories"][1]["none"] = False
        file.write_text(json.dumps(document), encoding="utf-8")
    filled = fill_from_datasets(load_config(config_file))
    assert filled.MODEL.SUBCATEGORY.WITHOUT_NONE == ["finish"]
    assert filled.MODEL.SUBCATEGORY.APPLIES_TO == []
    # All of an instance dataset's classes are things.
    assert filled.MODEL.MASK_FORMER.TEST.STUFF_CLASSES == []


def test_classes_without_a_things_id_are_stuff(config_file):
    name = "with_stuff_train"
    DatasetCatalog.register(name, list)
    MetadataCatalog.get(name).set(
        thing_classes=["bar", "sky", "block"], thing_dataset_id_to_contiguous_id={4: 0, 9: 2}
    )
    names = ["DATASETS.TRAIN", f"('{name}',)", "DATASETS.TEST", "()"]
    filled = fill_from_datasets(load_config(config_file, names))
    assert filled.MODEL.MASK_FORMER.TEST.STUFF_CLASSES == [1]


@pytest.fixture
def two(config_file, tmp_path):
    """Fills the config with both datasets: `shapes`, and `more` of the given classes."""

    def fill(classes: tuple[str, ...], train: str, test: str, **options):
        write_dataset(tmp_path / "more", "more", classes=classes)
        files = f"('{tmp_path}/shapes/shapes.yaml', '{tmp_path}/more/more.yaml')"
        opts = {"DATASETS.FILES": files, "DATASETS.TRAIN": train, "DATASETS.TEST": test}
        cfg = load_config(config_file, [text for pair in opts.items() for text in pair])
        return fill_from_datasets(cfg, **options)

    return fill


def test_a_test_set_that_lists_more_is_refused_with_both_lists(two):
    message = (
        r"dataset 'more_val' lists classes that dataset 'shapes_train' does not: \['bow'\]; "
        r"dataset 'more_val' lists \['bar', 'block', 'bow'\], dataset 'shapes_train' \['bar', "
    )
    with pytest.raises(ValueError, match=message):
        two(("bar", "block", "bow"), "('shapes_train',)", "('more_val',)")


def test_another_order_is_mapped_and_told(two, caplog):
    cfg = two(("block", "bar"), "('shapes_train',)", "('shapes_val', 'more_val')")
    assert cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES == 3
    with caplog.at_level("INFO", logger="mask2former_mt"):
        tell_of_labels(labels_of_run(cfg), test=cfg.DATASETS.TEST)
    assert [r.message for r in caplog.records] == [
        "dataset 'more_val' lists no classes ['bird']; another order of classes: mapped by name "
        "onto the model's"
    ]


def test_numbers_for_each_subcategory_are_told_with_its_name(config_file, caplog):
    with caplog.at_level("INFO", logger="mask2former_mt"):
        fill_from_datasets(load_config(config_file, ["MODEL.SUBCATEGORY.LOSS_WEIGHTS", "[1, 2.5]"]))
    messages = [r.message for r in caplog.records]
    assert "MODEL.SUBCATEGORY.LOSS_WEIGHTS: {'tint': 1, 'finish': 2.5}" in messages


def test_several_training_sets_make_a_model_of_their_union(two, caplog):
    cfg = two(("Bird", "block", "bar"), "('shapes_train', 'more_train')", "('more_val',)")
    assert cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES == 4
    labels = labels_of_run(cfg)
    assert labels.class_names == ("bar", "block", "bird", "Bird")
    with caplog.at_level("WARNING", logger="mask2former_mt"):
        tell_of_labels(labels, train=cfg.DATASETS.TRAIN)
    assert "'more_train' does not list the classes ['bird']: where its pictures" in caplog.text
    assert "only blanks, case or Unicode form tell apart: classes ['bird', 'Bird']" in caplog.text


def test_a_checkpoint_s_labels_win_over_the_training_set_s(two):
    known = Labels(("bow", "bar", "block"), SubcategorySpec.from_json(SUBCATEGORIES), (1, 2, 3))
    # `shapes_train`, which has birds, is not asked.
    cfg = two(("bar", "block"), "('shapes_train',)", "('more_val',)", checkpoint=known)
    assert cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES == 3


def test_a_saved_config_says_nothing_of_keys_that_nobody_has_set(config_file, tmp_path, caplog):
    cfg = load_config(config_file)
    prepare_run(cfg, config_file)
    save_config(cfg)
    caplog.clear()
    load_config(str(tmp_path / "output" / "config.yaml"))
    assert [text for text in caplog.messages if "without effect" in text] == []


def test_the_saved_config_chooses_its_device_again(config_file, tmp_path):
    cfg = load_config(config_file, ["MODEL.DEVICE", "auto"])
    prepare_run(cfg, config_file)
    saved = tmp_path / "output" / "config.yaml"
    assert not saved.exists()  # until nothing can be refused any more
    save_config(cfg)
    assert yaml.safe_load(saved.read_text())["MODEL"]["DEVICE"] == "auto"
    # As text: YAML has no tuples.
    assert yaml.safe_load(load_config(str(saved)).dump()) == yaml.safe_load(cfg.dump())
    assert (tmp_path / "output" / "log.txt").is_file()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("a b"), "error: a b"),
        (FileNotFoundError("no c"), "error: no c"),
        (KeyError("no key d"), "error: no key d"),  # not its repr, 'no key d'
        (AssertionError("e"), "error: e"),
        (ValueError(), r"error: ValueError\(\)"),
    ],
)
def test_an_error_of_the_input_ends_in_one_line(monkeypatch, error, line):
    monkeypatch.delenv("MASK2FORMER_MT_TRACEBACK", raising=False)
    with pytest.raises(SystemExit, match=f"^{line}$"), errors_named():
        raise error


def test_an_environment_variable_shows_the_traceback(monkeypatch):
    monkeypatch.setitem(os.environ, "MASK2FORMER_MT_TRACEBACK", "1")
    with pytest.raises(ValueError, match="a b"), errors_named():
        raise ValueError("a b")


def test_an_error_of_ours_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError), errors_named():
        1 / 0  # noqa: B018


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:7"])
def test_a_gpu_that_is_not_there_is_refused_by_those_who_compute(config_file, monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    cfg = load_config(config_file, ["MODEL.DEVICE", device])
    with pytest.raises(ValueError, match=f"one of the 0 GPUs that PyTorch sees, got '{device}'"):
        MultiTaskTrainer.build_model(cfg)


@pytest.mark.parametrize("device", ["gpu", "meta", "cuda:x", ""])
def test_a_device_is_one_of_pytorchs(config_file, device):
    with pytest.raises(ValueError, match=f"MODEL.DEVICE must be 'auto', .*, got '{device}'"):
        load_config(config_file, ["MODEL.DEVICE", device])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone"],
            "the model 'MultiTaskMaskFormer' cannot be built with the backbone 'build_resnet_fpn_",
        ),
        (["MODEL.SEM_SEG_HEAD.NAME", "SemSegFPNHead"], "NAME must be 'MaskFormerHead', or one"),
        (
            ["MODEL.RESNETS.DEPTH", "18", "MODEL.BACKBONE.NAME", "build_resnet_backbone"],
            "DEPTH|RES",
        ),
    ],
)
def test_parts_of_a_model_that_do_not_fit_are_refused(config_file, options, message):
    with pytest.raises(ValueError, match=message):
        MultiTaskTrainer.build_model(load_config(config_file, options))
