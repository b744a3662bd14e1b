"""The prepare scripts' command line, and the writing of pictures, COCO JSON and dataset YAML."""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import dataclasses
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import cv2
import numpy as np
import tqdm
from _scenes import SPLITS

# The parameters that a dataset was made with; a folder that has this file is complete.
PARAMETERS_FILE = "prepared.json"

# draw(rng, split) -> a scene, uint8 (H, W, 3) RGB, and its annotations without ids.
Draw = Callable[[np.random.Generator, str], tuple[np.ndarray, list[dict]]]
_draw: Draw | None = None  # of this worker process


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a dataset consists of.

    Args:
        description, source: for the JSON's `info`.
        class_names: get the category ids 1 to K.
        subcategories: the values by name.
        make_draw: called once in each process with `arguments`; returns what draws a scene.
        arguments: can be pickled.
    """

    description: str
    source: str
    class_names: tuple[str, ...]
    subcategories: dict[str, list[str]]
    make_draw: Callable[..., Draw]
    arguments: tuple


def make_parser(
    name: str, text: str, *, train: int, val: int, size: int, size_help: str
) -> argparse.ArgumentParser:
    """The options that every prepare script has.

    Args:
        name: of the dataset, and of the folder beside the scripts that it is written to.
        text: what the command does.
        train, val, size: defaults: numbers of pictures, and their width in pixels.
        size_help: what the size is.
    """
    parser = argparse.ArgumentParser(description=text)
    add = parser.add_argument
    output = Path(__file__).resolve().parent / name
    add("--output", type=Path, default=output, help="folder to write (%(default)s)")
    add("--train", type=int, default=train, help="train pictures (%(default)s)")
    add("--val", type=int, default=val, help="val pictures (%(default)s)")
    add("--seed", type=int, default=0, help="same seed, same bytes (%(default)s)")
    num_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    jobs_help = "processes; changes nothing in the result (%(default)s)"
    add("--jobs", type=int, default=num_cores, help=jobs_help)
    add("--force", action="store_true", help="rebuild what is there already")
    add("--size", type=int, default=size, help=f"{size_help} (%(default)s)")
    return parser


def prepare(
    name: str,
    parser: argparse.ArgumentParser,
    args: argparse.Namespace,
    read_recipe: Callable[[], Recipe],
    *,
    version: int,
    min_size: int,
    extra_parameters: dict | None = None,
) -> None:
    """Writes a dataset unless it is there already; ends with one line where that is not possible.

    Args:
        name: of the dataset.
        parser, args: of `make_parser`, and what it parsed.
        read_recipe: reads the sources; only called when the dataset is to be written.
        version: of the recipe: a changed recipe does not pass for the old dataset.
        min_size: of `--size`, in pixels.
        extra_parameters: what else the result depends on, but does not name in the JSON.
    """
    parameters = {"dataset": name, "version": version}
    parameters |= {key: getattr(args, key) for key in ("train", "val", "seed", "size")}
    all_parameters = {**parameters, **(extra_parameters or {})}
    try:
        for option in ("train", "val", "jobs"):
            if getattr(args, option) < 1:
                raise ValueError(f"--{option} must be at least 1, got {getattr(args, option)}")
        if args.seed < 0:
            raise ValueError(f"--seed must be 0 or more, got {args.seed}")
        if args.size < min_size:
            raise ValueError(
                f"--size must be at least {min_size} to keep {name} legible, got {args.size}"
            )
        if _is_prepared(args.output, all_parameters, args.force):
            print(f"{args.output} is there already, made with the same parameters; reused")
            return
        recipe = read_recipe()
        info = {"description": recipe.description, "source": recipe.source}
        header = {
            "info": {**info, "parameters": parameters},
            "categories": [{"id": i + 1, "name": n} for i, n in enumerate(recipe.class_names)],
            "subcategories": [{"name": n, "values": v} for n, v in recipe.subcategories.items()],
        }
        _write_dataset(name, args, all_parameters, header, recipe)
    except (ValueError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"{parser.prog}: {error}")


def split_stratified(labels: np.ndarray, seed: int, val_share: float = 0.2) -> dict[str, list[int]]:
    """Splits items into train and val, the same share of each label.

    Args:
        labels: (N,), one per item.
        seed: of the shuffle.
        val_share: of each label; at least one item goes to val, and at least one stays in train,
            where a label's only item stays too.

    Returns:
        {"train": indices, "val": indices}, sorted.
    """
    rng = np.random.default_rng([seed, len(SPLITS)])
    parts: dict[str, list[int]] = {split: [] for split in SPLITS}
    for label in np.unique(labels):
        items = rng.permutation(np.flatnonzero(labels == label))
        num_val = min(max(round(val_share * len(items)), 1), len(items) - 1)
        parts["val"] += items[:num_val].tolist()
        parts["train"] += items[num_val:].tolist()
    return {split: sorted(items) for split, items in parts.items()}


def _start_worker(make_draw: Callable[..., Draw], arguments: tuple) -> None:
    global _draw
    # Two cores shared by --jobs processes: OpenCV's own threads would only get in the way.
    cv2.setNumThreads(0)
    _draw = make_draw(*arguments)


def _draw_and_save(task: tuple[int, str, int, Path]) -> tuple[dict, list[dict]]:
    """Draws a picture; returns its entry of `images`, and its annotations without ids."""
    seed, split, index, folder = task
    # A generator of its own for each picture: the number of jobs and their order change nothing.
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    image, annotations = _draw(rng, split)
    name = f"{index + 1:06d}.jpg"
    # 4:4:4, as halved colour resolution would smear the colour over thin strokes.
    quality = [cv2.IMWRITE_JPEG_QUALITY, 95]
    quality += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    path = folder / split / name
    if not cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality):
        raise OSError(f"cannot write {path}; is the disk full?")
    height, width = image.shape[:2]
    return {"id": index + 1, "file_name": name, "width": width, "height": height}, annotations


def _is_prepared(output: Path, parameters: dict, force: bool) -> bool:
    """Whether `output` holds the dataset of these parameters already; refuses anything else."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return False
    if not (output / PARAMETERS_FILE).is_file():
        raise ValueError(
            f"--output {output} is there and is no prepared dataset (it has no {PARAMETERS_FILE}); "
            "give another folder or remove it"
        )
    if force:
        return False
    found = json.loads((output / PARAMETERS_FILE).read_text())
    if found == parameters:
        return True
    differing = sorted(k for k in {*found, *parameters} if found.get(k) != parameters.get(k))
    raise ValueError(
        f"--output {output} holds a dataset made with other parameters: "
        + ", ".join(f"{k} {found.get(k)} there, {parameters.get(k)} asked" for k in differing)
        + "; give --force to rebuild it, or another --output"
    )


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextlib.contextmanager
def _partial_folder(output: Path):
    """A folder beside `output` to write to; takes the place of `output` if the block succeeds."""
    output.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{output.name}.partial-"
    for leftover in output.parent.glob(f"{prefix}*"):
        pid = leftover.name.removeprefix(prefix)
        if not pid.isdigit() or not _is_running(int(pid)):
            shutil.rmtree(leftover)
    partial = output.parent / f"{prefix}{os.getpid()}"
    partial.mkdir()
    try:
        yield partial
        replaced = partial.with_name(f"{partial.name}-replaced")
        if output.exists():
            output.rename(replaced)
        partial.rename(output)
        if replaced.exists():
            shutil.rmtree(replaced)
    finally:
        if partial.exists():
            shutil.rmtree(partial)


def _write_dataset(
    name: str, args: argparse.Namespace, parameters: dict, header: dict, recipe: Recipe
) -> None:
    """Draws all scenes and writes pictures, COCO JSON and dataset YAML; whole or not at all."""
    output = args.output.resolve()
    worker = (recipe.make_draw, recipe.arguments)
    with _partial_folder(output) as folder, contextlib.ExitStack() as stack:
        tasks = []
        for split in SPLITS:
            (folder / split).mkdir()
            tasks += [(args.seed, split, i, folder) for i in range(getattr(args, split))]
        if args.jobs == 1:
            _start_worker(*worker)
            results = map(_draw_and_save, tasks)
        else:
            # Spawned, not forked: the caller may already run threads.
            spawn = multiprocessing.get_context("spawn")
            pool = concurrent.futures.ProcessPoolExecutor(args.jobs, spawn, _start_worker, worker)
            stack.callback(pool.shutdown, cancel_futures=True)
            results = pool.map(_draw_and_save, tasks, chunksize=8)
        documents = {s: {**header, "images": [], "annotations": []} for s in SPLITS}
        progress = tqdm.tqdm(zip(tasks, results, strict=True), name, len(tasks), unit="picture")
        try:
            for (_, split, _, _), (image, annotations) in progress:
                document = documents[split]
                document["images"].append(image)
                for annotation in annotations:
                    ids = {"id": len(document["annotations"]) + 1, "image_id": image["id"]}
                    document["annotations"].append({**ids, **annotation})
        except BrokenProcessPool as error:
            raise OSError(
                "a worker process died, perhaps for want of memory; try fewer --jobs"
            ) from error
        for split, document in documents.items():
            (folder / f"{split}.json").write_text(json.dumps(document) + "\n")
        (folder / f"{name}.yaml").write_text(
            f"name: {name}\n"
            "root: .  # relative to this file\n"
            "train: {images: train, annotations: train.json}\n"
            "val: {images: val, annotations: val.json}\n"
        )
        (folder / PARAMETERS_FILE).write_text(json.dumps(parameters, indent=1) + "\n")
    counts = ", ".join(
        f"{len(d['images'])} {s} pictures with {len(d['annotations'])} instances"
        for s, d in documents.items()
    )
    print(f"wrote {output}: {counts}; dataset file {output / f'{name}.yaml'}")
