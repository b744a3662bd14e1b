"""Picture files changed at random, and what becomes of each: told, harmless, or taken in silence.

As a program it tries many, each seed its own: python tests/picture_fuzz.py 2000
"""

from __future__ import annotations

import io
import struct
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
from dataset_fuzz import (
    CHANGED,
    HARMLESS,
    LATE,
    NAMED,
    TRACEBACK,
    UNCHECKED,
    Outcome,
    refusal_of,
    report,
    train_and_evaluate,
)
from dataset_to_check import HEIGHT, WIDTH, DatasetToCheck
from PIL import Image
from registered import restored_datasets

from mask2former_mt.check.check import check_dataset
from mask2former_mt.dataset.converted_pictures import ConvertedPictures
from mask2former_mt.dataset.images import read_image
from mask2former_mt.predict.batches import BatchReader, PixelBudget
from mask2former_mt.predict.input_files import find_inputs

SLOW = f"longer than {(LIMIT := 5)} seconds"
PREDICTED_OTHERWISE = "read by prediction and not by training, or the other way round"


def whole_pictures() -> dict[str, bytes]:
    """A picture of noise in each format, by the name of its file."""
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    grey = noise[:, :, 0]
    forms = {
        "a.png": (noise, {}),
        "palette.png": (Image.fromarray(noise).quantize(16), {}),
        "deep.png": (grey.astype(np.uint16) * 257, {}),
        "a.jpg": (noise, {"quality": 90}),
        "progressive.jpg": (noise, {"progressive": True}),
        "a.gif": (grey, {}),
        "raw.tiff": (noise, {}),
        "deflated.tif": (noise, {"compression": "tiff_deflate"}),
        "deep.tif": (grey.astype(np.uint16) * 257, {}),
        "a.webp": (noise, {"lossless": True}),
        "a.bmp": (noise, {}),
        "a.ppm": (noise, {}),
    }
    contents = {}
    for name, (pixels, options) in forms.items():
        image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
        stream = io.BytesIO()
        image.save(stream, Image.registered_extensions()[Path(name).suffix], **options)
        contents[name] = stream.getvalue()
    return contents


# --- changes of a file's content ------------------------------------------------------------------


def truncated(content: bytearray, rng: Random) -> None:
    del content[rng.randrange(len(content)) :]


def flipped(content: bytearray, rng: Random) -> None:
    for _ in range(rng.randint(1, 8)):
        content[rng.randrange(len(content))] = rng.randrange(256)


def flipped_header(content: bytearray, rng: Random) -> None:
    for _ in range(rng.randint(1, 3)):
        content[rng.randrange(min(len(content), 200))] = rng.choice([0, 1, 127, 255])


def zeroed(content: bytearray, rng: Random) -> None:
    start = rng.randrange(len(content))
    end = min(len(content), start + rng.randint(1, 400))
    content[start:end] = bytes(end - start)


def lengthened(content: bytearray, rng: Random) -> None:
    content += rng.randbytes(rng.randint(1, 300))


def inserted(content: bytearray, rng: Random) -> None:
    position = rng.randrange(len(content))
    content[position:position] = rng.randbytes(rng.randint(1, 8))


def other_size(content: bytearray, rng: Random) -> None:
    """Another width or height in the header, which is sound otherwise."""
    side = rng.choice([0, 1, WIDTH - 1, WIDTH + 1, 1000, 20_000, 65_535])
    which = rng.randrange(2)
    if content.startswith(b"\x89PNG"):
        struct.pack_into(">I", content, 16 + 4 * which, side * rng.choice([1, 1, 32_000]))
        struct.pack_into(">I", content, 29, zlib.crc32(content[12:29]))
    elif content.startswith(b"\xff\xd8"):
        start = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2"))
        struct.pack_into(">H", content, start + 5 + 2 * which, side)
    elif content.startswith(b"GIF"):
        struct.pack_into("<H", content, 6 + 2 * which, side)
    elif content.startswith(b"BM"):
        struct.pack_into("<i", content, 18 + 4 * which, side * rng.choice([1, -1]))
    else:
        flipped_header(content, rng)


def empty(content: bytearray, rng: Random) -> None:
    content[:] = b"" if rng.random() < 0.5 else b"<html>not found</html>"


CHANGES = [truncated, flipped, flipped_header, zeroed, lengthened, inserted, other_size, empty]


def changed_picture(whole: dict[str, bytes], rng: Random) -> tuple[str, str, bytes]:
    """Names of the changes and the file, and its content."""
    name = rng.choice(sorted(whole))
    content, change = bytearray(whole[name]), rng.choice(CHANGES)
    change(content, rng)
    changes = f"{name}: {change.__name__}"
    if rng.random() < 0.2:
        name = Path(name).with_suffix(rng.choice([".jpg", ".png", ".TIF", ".webp", ".gif"])).name
        changes += f", named {name}"
    return changes, name, bytes(content)


# --- what becomes of them -------------------------------------------------------------------------


def outcome_of(dataset: DatasetToCheck, file: Path, pixels: np.ndarray) -> Outcome:
    """Reads, loads, checks and draws a sample.

    Args:
        dataset: has the file, as it is on disk.
        file: the changed picture.
        pixels: uint8 RGB of the unchanged one.
    """
    started = time.monotonic()
    try:
        result = check_dataset(dataset.yaml, num_workers=1)
        told = [problem for problem in result.problems if problem.file == str(file)]
        refusal = refusal_of(dataset)
        unread, got = None, None
        try:
            got = read_image(file, "RGB")
        except (ValueError, OSError) as error:
            unread = str(error)
        is_predicted = can_be_predicted(file)
    except Exception as error:
        return Outcome(TRACEBACK, repr(error))
    if is_predicted != (unread is None):
        return Outcome(PREDICTED_OTHERWISE, f"{unread}")
    if (unread or refusal) and result.exit_code < 2:
        return Outcome(UNCHECKED, unread or refusal)
    if refusal is None and unread is None:
        try:
            train_and_evaluate()
        except Exception as error:
            return Outcome(LATE, repr(error))
    if time.monotonic() - started > LIMIT:
        return Outcome(SLOW, f"{time.monotonic() - started:.1f} s")
    if told or refusal:
        return Outcome(NAMED, refusal or told[0].text)
    return Outcome(HARMLESS if np.array_equal(got, pixels) else CHANGED)


def can_be_predicted(file: Path) -> bool:
    """Whether `tools/predict.py` reads a picture to its end."""
    reader = BatchReader(
        batch_size=1,
        read_picture=lambda file: read_image(file, "RGB"),
        prepare=lambda image: {"image": image},
        is_known=lambda *_: False,
        is_drawn=lambda _: False,
        converted=ConvertedPictures(),
        budget=PixelBudget(10**9),
    )
    try:
        find_inputs([file])
    except ValueError:
        return False
    (batch,) = reader.read([file])
    return not batch.failures


def picture_outcomes(count: int, seed: int = 0) -> Iterator[tuple[str, Outcome, bytes]]:
    """Changes of a picture of the training split, what became of each, and its content."""
    whole = whole_pictures()
    with tempfile.TemporaryDirectory() as folder:
        dataset = DatasetToCheck(Path(folder) / "tiny")
        pixels = {}
        for name, content in whole.items():
            (dataset.folder / name).write_bytes(content)
            pixels[name] = read_image(dataset.folder / name, "RGB")
        for number in range(seed, seed + count):
            changes, name, content = changed_picture(whole, Random(number))
            file = dataset.image("train", f"{number}_{name}")
            file.write_bytes(content)
            dataset.train["images"][0]["file_name"] = file.name
            dataset.write()
            with restored_datasets():
                yield changes, outcome_of(dataset, file, pixels[changes.split(":")[0]]), content
            file.unlink()


if __name__ == "__main__":
    report(picture_outcomes, __doc__)
