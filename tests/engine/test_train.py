"""A whole training on the CPU: its files, resuming, evaluating, and refusing bad input."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from detectron2.engine import default_argument_parser
from PIL import Image
from registered import restored_datasets
from training_files import CLASSES, write_config, write_dataset

from mask2former_mt.engine.main import launch_training, main
from mask2former_mt.engine.setup import fill_from_datasets, load_config
from mask2former_mt.engine.trainer import MultiTaskTrainer

# What metrics.json holds for these classes and subcategories.
_SIZES = ("s", "m", "l")
_KINDS = ("", "_lower", "_upper")
METRICS = {
    *(
        f"{task}/{name}"
        for task in ("segm", "bbox")
        for name in (
            *("AP", "AP50", "AP75", *(f"AP{size}" for size in _SIZES)),
            *("AR1", "AR10", "AR100", *(f"AR{size}" for size in _SIZES)),
            *(f"AP-{class_name}" for class_name in CLASSES),
        )
    ),
    *("joint/AP", "joint/AP50", "joint/AP-tint", "joint/AP-finish"),
    *(
        f"subcategory/{name}/{metric}"
        for name in ("tint", "finish")
        for metric in ("accuracy", "balanced_accuracy", "macro_f1", "ECE")
    ),
    "calibration/ECE",
    *(f"paco/AP_att{kind}{name}" for kind in _KINDS for name in ("", "-tint", "-finish")),
    *("fashionpedia/AP_IoU+F1", "fashionpedia/AP_IoU50+F1_50"),
    "train/seconds",
}


def run(config_file: Path, *arguments: str) -> dict[str, float]:
    args = default_argument_parser().parse_args(["--config-file", str(config_file), *arguments])
    return main(args.config_file, args.opts, args.resume, args.eval_only)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but the log, which says what was refused."""
    files = [f for f in folder.rglob("*") if f.is_file() and f.name != "log.txt"]
    return {str(f.relative_to(folder)): f.read_bytes() for f in files}


def checkpoint(output: Path, name: str = "model_final") -> dict:
    return torch.load(output / f"{name}.pth", weights_only=True)


def losses_in(output: Path) -> list[dict]:
    """The lines of training.jsonl that have losses."""
    lines = (json.loads(x) for x in (output / "training.jsonl").read_text().splitlines())
    return [line for line in lines if "total_loss" in line]


def steps_taken(state: dict) -> set[int]:
    """How often the optimizer has moved each parameter."""
    optimizer = state["trainer"]["_trainer"]["optimizer"]
    return {int(p["step"]) for p in optimizer["state"].values()}


@pytest.fixture(scope="module", autouse=True)
def _forget_datasets():
    with restored_datasets():
        yield


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("train") / "shapes", "shapes_run")


@pytest.fixture(scope="module")
def finished(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a config `c.yaml` and the `output` of its training, two iterations long."""
    folder = tmp_path_factory.mktemp("finished")
    run(write_config(folder / "c.yaml", dataset))
    return folder


@pytest.fixture
def trained(finished: Path, tmp_path: Path, dataset: Path) -> Path:
    """A copy of the finished training that a test may change."""
    shutil.copytree(finished / "output", tmp_path / "output")
    write_config(tmp_path / "c.yaml", dataset)
    return tmp_path


def test_a_training_writes_metrics_config_log_and_results(finished):
    output = finished / "output"
    metrics = json.loads((output / "metrics.json").read_text())
    assert set(metrics) == METRICS
    assert metrics["segm/AP-bird"] is None  # no bird to find: undefined
    assert metrics["train/seconds"] > 0
    assert all(0 <= metrics[k] <= 100 for k in ("segm/AP", "joint/AP", "joint/AP-tint"))
    assert metrics["joint/AP"] <= metrics["segm/AP"]
    for name in ("config.yaml", "log.txt", "inference/coco_instances_results.json"):
        assert (output / name).stat().st_size > 0, name
    assert not (output / "inference" / "report.html").exists()  # TEST.REPORT is False
    # NaN is no JSON.
    assert "NaN" not in (output / "metrics.json").read_text()
    saved = load_config(str(output / "config.yaml")).MODEL
    assert saved.SEM_SEG_HEAD.NUM_CLASSES == 3
    assert saved.SUBCATEGORY.NAMES == ["tint", "finish"]

    (line,) = losses_in(output)
    assert line["iteration"] == 1
    assert {"loss_ce", "loss_mask", "loss_dice"} <= set(line)
    assert {"loss_subcategory_tint", "loss_subcategory_finish"} <= set(line)
    assert all(math.isfinite(line[k]) for k in line if k.startswith("loss") or k == "total_loss")


def test_the_console_shows_each_line_once(dataset, tmp_path, capsys):
    run(write_config(tmp_path / "c.yaml", dataset, {"SOLVER.MAX_ITER": 1}))
    shown = capsys.readouterr().out
    assert shown.count("M parameters") == 1
    assert shown.count("Starting training from iteration 0") == 1
    # The table, and where the numbers are.
    assert shown.count("AP^J finish") == 2  # when they are computed, and last of all
    assert shown.rstrip().endswith("metrics.json")


def test_the_checkpoint_knows_its_dataset_and_the_state_of_the_training(finished):
    state = checkpoint(finished / "output")
    assert state["dataset"]["thing_classes"] == list(CLASSES)
    assert [s["name"] for s in state["dataset"]["subcategories"]] == ["tint", "finish"]
    assert state["trainer"]["iteration"] == 1  # the last one that was done, counted from 0
    assert steps_taken(state) == {2}
    first, last = checkpoint(finished / "output", "model_0000000")["model"], state["model"]
    assert {name for name in first if not torch.equal(first[name], last[name])} >= {
        "sem_seg_head.predictor.query_feat.weight",
        "sem_seg_head.predictor.subcategory_embed.tint.weight",
        "sem_seg_head.predictor.class_embed.weight",
    }


@pytest.mark.parametrize(
    ("config", "weights"), [("c.yaml", False), ("c.yaml", True), ("output/config.yaml", True)]
)
def test_evaluating_again_gives_the_same_metrics(trained, config, weights):
    """With the weights named, or else with the last ones in the output folder."""
    output = trained / "output"
    before, metrics = contents(output), json.loads((output / "metrics.json").read_text())
    named = ("MODEL.WEIGHTS", str(output / "model_final.pth")) if weights else ()
    returned = run(trained / config, "--eval-only", "OUTPUT_DIR", str(output), *named)
    assert {k: None if math.isnan(v) else v for k, v in returned.items()} == metrics
    after = contents(output)
    # The checkpoint remembers how long it was trained, so even that is the same.
    for name in ("metrics.json", "config.yaml", "model_final.pth"):
        assert after[name] == before[name], name


def test_an_interrupted_training_goes_on_where_it_was(dataset, tmp_path, monkeypatch):
    # Five iterations, a checkpoint after every second; the rate falls to a tenth after the third.
    changes = {"SOLVER.MAX_ITER": 5, "SOLVER.CHECKPOINT_PERIOD": 2, "SOLVER.STEPS": [3]}
    config = write_config(tmp_path / "c.yaml", dataset, changes)
    output = tmp_path / "output"
    step = MultiTaskTrainer.run_step

    def until_the_fourth(trainer):
        if trainer.iter == 3:
            raise KeyboardInterrupt
        step(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(MultiTaskTrainer, "run_step", until_the_fourth)
        with pytest.raises(KeyboardInterrupt):
            run(config)
    assert (output / "last_checkpoint").read_text() == "model_0000001.pth"
    assert not (output / "model_final.pth").exists()
    assert not (output / "metrics.json").exists()
    half = checkpoint(output, "model_0000001")
    assert steps_taken(half) == {2}

    iterations, draws = [], []

    def note_draws(model, arguments):
        draws.extend(sample.get("draw") for sample in arguments[0])

    def noted(trainer):
        if not iterations:
            trainer.model.register_forward_pre_hook(note_draws)
        iterations.append((trainer.iter, trainer.optimizer.param_groups[-1]["lr"]))
        step(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(MultiTaskTrainer, "run_step", noted)
        run(config, "--resume")
    # From the checkpoint on, at the rates of an uninterrupted run.
    assert [i for i, _ in iterations] == [2, 3, 4]
    assert [lr for _, lr in iterations] == pytest.approx([1e-3, 1e-4, 1e-4])
    # Two iterations of two samples are done: the stream goes on with the fifth.
    assert draws[:6] == [4, 5, 6, 7, 8, 9]
    final = checkpoint(output)
    assert final["trainer"]["iteration"] == 4
    # AdamW's own count goes on, so its averages were restored.
    assert steps_taken(final) == {5}
    seconds = json.loads((output / "metrics.json").read_text())["train/seconds"]
    assert seconds > half["trainer"]["train_seconds"] > 0
    # A line is written every 20 iterations, and at the end: of iteration 2, then of 4.
    assert [line["iteration"] for line in losses_in(output)] == [2, 4]
    assert "resuming at iteration 2 of 5" in (output / "log.txt").read_text()


def json_files_opened(folder: Path) -> Counter[str]:
    """How often each JSON file of a folder is opened from now on, by whatever reader."""
    counts = Counter()

    # An audit hook sees what any Python code opens; it stays until the process ends.
    def count(event: str, arguments: tuple) -> None:
        if event == "open" and str(arguments[0]).endswith(".json"):
            path = Path(arguments[0])
            if path.parent == folder:
                counts[path.name] += 1

    sys.addaudithook(count)
    return counts


def test_a_training_reads_each_json_once_and_each_header_once(tmp_path, monkeypatch):
    folder = tmp_path / "shapes"
    dataset = write_dataset(folder, "shapes_counted")
    shutil.copytree(folder / "images", folder / "val")
    text = dataset.read_text()
    dataset.write_text(text.replace("val.json\n  images: images", "val.json\n  images: val"))
    pictures, at_each_step = Counter(), []
    step, open_picture = MultiTaskTrainer.run_step, Image.open

    def counted_open(file, *args, **kwargs):
        pictures[str(Path(getattr(file, "name", file)).relative_to(folder))] += 1
        return open_picture(file, *args, **kwargs)

    def noted_step(trainer):
        at_each_step.append(dict(pictures))
        step(trainer)

    monkeypatch.setattr(Image, "open", counted_open)
    monkeypatch.setattr(MultiTaskTrainer, "run_step", noted_step)
    documents = json_files_opened(folder)
    run(write_config(tmp_path / "c.yaml", dataset, {"TEST.EVAL_PERIOD": 1}))
    names = ["images/0.png", "images/1.png", "images/2.png", "images/3.png", "val/0.png"]
    assert at_each_step[0] == dict.fromkeys([*names, "val/1.png"], 1)
    # For the header, and by an evaluation after each of two iterations.
    assert (len(at_each_step), pictures["val/0.png"]) == (2, 3)
    assert documents == {"train.json": 1, "val.json": 1}


@pytest.mark.parametrize("again", [True, False], ids=["evaluation", "training"])
def test_the_report_tells_of_the_run(trained, dataset, tmp_path, again):
    if again:
        run(trained / "c.yaml", "--eval-only", "TEST.REPORT", "True")
        expected = ("weights", str(trained / "output" / "model_final.pth"))
    else:
        changes = {"SOLVER.MAX_ITER": 1, "TEST.REPORT": True}
        run(write_config(tmp_path / "c.yaml", dataset, changes))
        expected = ("iteration", "1 of 1")
    report = (tmp_path / "output" / "inference" / "report.html").read_text(encoding="utf-8")
    for name, value in (expected, ("seed", "1")):
        assert f"<tr><th>{name}</th><td>{value}</td></tr>" in report
    for text in ("predicted in", "evaluated in", "<th>PyTorch</th>", "MAX_ITER: "):
        assert text in report


@pytest.mark.parametrize(("options", "steps"), [((), 2), (("SOLVER.MAX_ITER", "3"), 3)])
def test_resuming_a_finished_training_does_what_is_left(trained, options, steps):
    before = (trained / "output" / "metrics.json").read_bytes()
    run(trained / "c.yaml", "--resume", *options)
    assert steps_taken(checkpoint(trained / "output")) == {steps}
    # Also the seconds of training are the same if nothing was left.
    assert ((trained / "output" / "metrics.json").read_bytes() == before) == (steps == 2)


def test_resuming_without_a_checkpoint_starts_anew(dataset, tmp_path):
    config = write_config(tmp_path / "c.yaml", dataset, {"DATASETS.TEST": [], "SOLVER.MAX_ITER": 1})
    # Without test data there is nothing to evaluate.
    assert set(run(config, "--resume")) == {"train/seconds"}
    assert steps_taken(checkpoint(tmp_path / "output")) == {1}


def test_two_runs_of_one_seed_agree(finished, dataset, tmp_path):
    run(write_config(tmp_path / "c.yaml", dataset))
    ours, theirs = (checkpoint(f / "output")["model"] for f in (tmp_path, finished))
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], msg=name)


def test_pictures_without_any_object_train_and_evaluate(tmp_path):
    """Every picture is empty: nothing to match, and no metric is defined."""
    dataset = write_dataset(tmp_path / "shapes", "shapes_empty")
    for split in ("train", "val"):
        file = dataset.with_name(f"{split}.json")
        document = json.loads(file.read_text())
        file.write_text(json.dumps({**document, "annotations": []}))
    run(write_config(tmp_path / "c.yaml", dataset))
    (line,) = losses_in(tmp_path / "output")
    assert line["loss_mask"] == line["loss_dice"] == 0
    assert 0 < line["loss_ce"] < math.inf
    metrics = json.loads((tmp_path / "output" / "metrics.json").read_text())
    assert set(metrics) == METRICS
    assert {metrics[key] for key in ("segm/AP", "joint/AP", "subcategory/tint/accuracy")} == {None}


def test_weights_of_another_training_are_loaded_as_far_as_they_fit(finished, dataset, tmp_path):
    """MODEL.WEIGHTS without --resume: the weights that fit, and iteration 0."""
    weights = str(finished / "output" / "model_final.pth")
    options = ["MODEL.WEIGHTS", weights, "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES", "8"]
    run(write_config(tmp_path / "c.yaml", dataset), "SOLVER.MAX_ITER", "1", *options)
    assert steps_taken(checkpoint(tmp_path / "output")) == {1}
    log = (tmp_path / "output" / "log.txt").read_text()
    assert "resized: sem_seg_head.predictor.query_feat.weight (6, 32) -> (8, 32)" in log


def test_timm_weights_are_loaded_into_the_backbone(dataset, tmp_path):
    cfg = load_config(str(write_config(tmp_path / "c.yaml", dataset)))
    cfg = fill_from_datasets(cfg)
    (tmp_path / "output").mkdir()
    source = MultiTaskTrainer.build_model(cfg).backbone.body.state_dict()
    torch.save(source, tmp_path / "backbone.pth")
    cfg.defrost()
    cfg.MODEL.TIMM.WEIGHTS = str(tmp_path / "backbone.pth")
    trainer = MultiTaskTrainer(cfg)
    name = next(iter(source))
    assert not torch.equal(trainer.model.backbone.body.state_dict()[name], source[name])
    trainer.resume_or_load(resume=False)
    for name, tensor in trainer.model.backbone.body.state_dict().items():
        assert torch.equal(tensor, source[name]), name


def test_several_datasets_are_reported_each(finished, dataset, tmp_path):
    config = write_config(
        tmp_path / "c.yaml",
        dataset,
        {
            "DATASETS.TEST": ["shapes_run_val", "shapes_run_train"],
            "MODEL.WEIGHTS": str(finished / "output" / "model_final.pth"),
        },
    )
    metrics = run(config, "--eval-only")
    assert {"shapes_run_val/segm/AP", "shapes_run_train/joint/AP", "train/seconds"} <= set(metrics)
    for name in ("shapes_run_val", "shapes_run_train"):
        assert (tmp_path / "output" / "inference" / name).is_dir()


def refused(config: Path, *arguments: str, match: str) -> None:
    with pytest.raises(SystemExit, match=match) as caught:
        run(config, *arguments)
    assert caught.value.code.startswith("error: ")


@pytest.mark.parametrize(
    ("mode", "match"),
    [
        ("--eval-only", r"'shapes_four_val' lists classes that the checkpoint does not: \['bow'\]"),
        (
            "--resume",
            r"model_final.pth was trained with other labels: classes \['bar', 'block', 'bird'\] "
            r"there, \['bar', 'block', 'bird', 'bow'\] here; put the dataset's lists back",
        ),
    ],
)
def test_a_checkpoint_of_other_classes_is_refused_and_nothing_written_over(trained, mode, match):
    other = write_dataset(trained / "shapes", "shapes_four", classes=(*CLASSES, "bow"))
    before = contents(trained / "output")
    refused(write_config(trained / "four.yaml", other), mode, match=match)
    assert contents(trained / "output") == before


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--eval-only", "DATASETS.TEST", "()"], "DATASETS.TEST is empty"),
        (["DATASETS.TRAIN", "()"], "DATASETS.TRAIN is empty"),
        (["SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.DTYPE", "float16"], "'float16' needs a GPU"),
        (["MODEL.WEIGHTS", "nowhere.pth"], r"nowhere\.pth not found"),
    ],
)
def test_a_run_that_cannot_be_done_is_refused_and_writes_nothing(trained, arguments, match):
    before = contents(trained / "output")
    refused(trained / "c.yaml", *arguments, match=match)
    assert contents(trained / "output") == before


NO_TEST = ("DATASETS.TEST", "()", "SOLVER.MAX_ITER", "3")


@pytest.mark.parametrize(
    ("marker", "match"),
    [
        (
            "",
            r"last_checkpoint must name a checkpoint .* got ''; write one of \['model_0000",
        ),
        ("gone.pth", r"last_checkpoint must name a checkpoint beside it, got 'gone\.pth'"),
    ],
)
def test_a_resume_from_no_checkpoint_is_refused_by_name(trained, marker, match):
    (trained / "output" / "last_checkpoint").write_text(marker)
    refused(trained / "c.yaml", "--resume", *NO_TEST, match=match)


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lambda state: state.pop("trainer"), r"has no state of \['trainer'\] to go on from; start"),
        (lambda state: state["trainer"].pop("iteration"), r"training lacks \['iteration'\]; start"),
        (lambda state: state["trainer"]["_trainer"].pop("optimizer"), r"lacks \['optimizer'\]"),
    ],
)
def test_a_resume_without_the_state_of_a_training_is_refused(trained, damage, match):
    output = trained / "output"
    file = output / (output / "last_checkpoint").read_text()
    state = torch.load(file, weights_only=True)
    damage(state)
    torch.save(state, file)
    refused(trained / "c.yaml", "--resume", *NO_TEST, match=match)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["SOLVER.OPTIMIZER", "SGD"], "trained with SOLVER.OPTIMIZER 'ADAMW', got 'SGD'; set them"),
        (["MODEL.BACKBONE.FREEZE_AT", "2"], r"groups of \[.*\] parameters, this config makes \["),
    ],
)
def test_a_resume_with_another_optimizer_is_refused_by_name(trained, options, match):
    refused(trained / "c.yaml", "--resume", *NO_TEST, *options, match=match)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        # The first step goes beyond what float32 holds, the second finds no finite cost.
        (
            ["SOLVER.BASE_LR", "1000", "SOLVER.OPTIMIZER", "SGD"],
            "matching cost is not finite.*Lower",
        ),
        (
            [
                *("SOLVER.IMS_PER_BATCH", "1", "SOLVER.REFERENCE_IMS_PER_BATCH", "1"),
                *("MODEL.TIMM.NORM", "BN", "INPUT.MIN_SIZE_TRAIN", "(32,)"),
            ],
            r"got a batch of \(1, 3, 32, 32\), of which the coarsest.*MODEL.TIMM.NORM",
        ),
        # The head's 32 groups of one channel each.
        (
            [
                *("SOLVER.IMS_PER_BATCH", "1", "SOLVER.REFERENCE_IMS_PER_BATCH", "1"),
                *("MODEL.TIMM.NORM", "FrozenBN", "INPUT.MIN_SIZE_TRAIN", "(32,)"),
            ],
            r"got a batch of \(1, 3, 32, 32\), of which the coarsest.*SEM_SEG_HEAD.CONVS_DIM",
        ),
    ],
)
def test_a_training_that_cannot_go_on_ends_in_one_line(dataset, tmp_path, options, match, caplog):
    config = write_config(tmp_path / "c.yaml", dataset)
    options += ["SOLVER.CLIP_GRADIENTS.ENABLED", "False", "SOLVER.MAX_ITER", "20"]
    refused(config, *options, match=match)
    log = (tmp_path / "output" / "log.txt").read_text()
    assert "the training ended early: " in log
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--num-gpus", "2"], "--num-gpus must be at most the number of GPUs that PyTorch sees, 0"),
        (["--num-gpus", "-1"], "--num-gpus must be at most .*, got -1"),
        (["--machine-rank", "1"], r"--machine-rank must be in \[0, 1\), .* got 1"),
    ],
)
def test_options_of_another_machine_are_refused(arguments, match, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(SystemExit, match=f"error: {match}"):
        launch_training(["--config-file", "c.yaml", *arguments])


def test_a_config_file_is_needed():
    with pytest.raises(SystemExit, match="error: --config-file FILE is needed"):
        launch_training([])
