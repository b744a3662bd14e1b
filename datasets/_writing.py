"""Writing for the prepare scripts: pictures, COCO JSON and dataset YAML, whole or not at all."""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import cv2
import numpy as np
import tqdm
from _scenes import SPLITS

# The parameters a dataset was made with; written last, into the folder that it vouches for.
PARAMETERS_FILE = "prepared.json"

# draw(rng, split) -> a finished scene and its annotations without ids.
Draw = Callable[[np.random.Generator, str], tuple[np.ndarray, list[dict]]]
_draw: Draw | None = None


def split_stratified(labels: np.ndarray, seed: int, val_share: float = 0.2) -> dict[str, list[int]]:
    """Splits items into train and val, the same share of each label.

    Args:
        labels: (N,), one per item.
        seed: of the shuffle.
        val_share: at least one item of a label goes to val, and one stays in train, which is also
            where a label's only item goes.

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


def _draw_and_save(task: tuple[int, str, int, Path]) -> tuple[str, int, int, list[dict]]:
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
    return name, image.shape[1], image.shape[0], annotations


def add_common_arguments(
    parser: argparse.ArgumentParser, *, output: Path, train: int, val: int
) -> None:
    """Adds the options that every prepare script has."""
    parser.add_argument("--output", type=Path, default=output, help="folder to write (%(default)s)")
    parser.add_argument("--train", type=int, default=train, help="train pictures (%(default)s)")
    parser.add_argument("--val", type=int, default=val, help="val pictures (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same bytes (%(default)s)")
    parser.add_argument(
        "--jobs",
        type=int,
        default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1,
        help="processes; changes nothing in the result (%(default)s)",
    )
    parser.add_argument("--force", action="store_true", help="rebuild what is there already")


def check_common_arguments(args: argparse.Namespace) -> None:
    """Refuses what no dataset can be made with.

    Raises:
        ValueError: a count below one, or a negative seed.
    """
    for option in ("train", "val", "jobs"):
        if getattr(args, option) < 1:
            raise ValueError(f"--{option} must be at least 1, got {getattr(args, option)}")
    if args.seed < 0:
        raise ValueError(f"--seed must be 0 or more, got {args.seed}")


def is_prepared(output: Path, parameters: dict, force: bool) -> bool:
    """Whether `output` already holds the dataset of these parameters, which is then reused.

    Raises:
        ValueError: it holds another dataset and `force` is not set, or something else altogether.
    """
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
    """A folder beside `output` to write in; it takes the place of `output` when all went well."""
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
        if output.exists():
            replaced = partial.with_name(f"{partial.name}-replaced")
            output.rename(replaced)
            partial.rename(output)
            shutil.rmtree(replaced)
        else:
            partial.rename(output)
    finally:
        if partial.exists():
            shutil.rmtree(partial)


def _add_picture(
    document: dict, image_id: int, file_name: str, width: int, height: int, annotations: list[dict]
) -> None:
    document["images"].append(
        {"id": image_id, "file_name": file_name, "width": width, "height": height}
    )
    for annotation in annotations:
        number = len(document["annotations"]) + 1
        document["annotations"].append({"id": number, "image_id": image_id, **annotation})


def write_dataset(
    name: str,
    args: argparse.Namespace,
    *,
    parameters: dict,
    header: dict,
    make_draw: Callable[..., Draw],
    arguments: tuple,
) -> None:
    """Draws all scenes and writes pictures, COCO JSON and dataset YAML; whole or not at all.

    Args:
        name: of the dataset, for the YAML.
        args: the options of `add_common_arguments`.
        parameters: what the result depends on; kept in `prepared.json`.
        header: `info`, `categories` and `subcategories` of the JSON.
        make_draw: called once in each process with `arguments`; returns what draws a scene.
        arguments: can be pickled.

    Raises:
        OSError: nothing can be written there, or a worker process died.
    """
    output = args.output.resolve()
    with _partial_folder(output) as folder, contextlib.ExitStack() as stack:
        tasks = []
        for split in SPLITS:
            (folder / split).mkdir()
            tasks += [(args.seed, split, i, folder) for i in range(getattr(args, split))]
        if args.jobs == 1:
            _start_worker(make_draw, arguments)
            results = map(_draw_and_save, tasks)
        else:
            # Spawned, not forked: the caller may already run threads.
            pool = concurrent.futures.ProcessPoolExecutor(
                args.jobs,
                multiprocessing.get_context("spawn"),
                _start_worker,
                (make_draw, arguments),
            )
            stack.callback(pool.shutdown, cancel_futures=True)
            results = pool.map(_draw_and_save, tasks, chunksize=8)
        documents = {s: {**header, "images": [], "annotations": []} for s in SPLITS}
        progress = tqdm.tqdm(zip(tasks, results, strict=True), name, len(tasks), unit="picture")
        try:
            for (_, split, index, _), result in progress:
                _add_picture(documents[split], index + 1, *result)
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
