"""COCO's run lengths: checked completely before pycocotools reads them.

pycocotools reads compressed counts in C without looking: a text cut short is read past its end, and
lengths that add up to more than the picture are written past its memory.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pycocotools.mask as mask_util

from mask2former_mt.dataset.json_values import is_int

# A longer side is a mistake: JPEG knows none, and a mask of it would not fit into memory.
MAX_SIDE = 65_535
# Five bits each: six characters hold any length in a picture of MAX_SIDE, seven its difference too.
_MAX_CHARACTERS = 7
# Six bits a character, from "0" on; bit 5 says that the run length goes on.
_COMPRESSED = re.compile("[0-o]*[0-O]")


def check_size(size: object, what: str) -> tuple[int, int]:
    """Returns (height, width) if both are usable.

    Raises:
        ValueError: not two integers in [1, MAX_SIDE].
    """
    if isinstance(size, (list, tuple)) and len(size) == 2:
        height, width = size
        if all(
            isinstance(side, (int, np.integer))
            and not isinstance(side, bool)
            and 1 <= side <= MAX_SIDE
            for side in size
        ):
            return int(height), int(width)
    raise ValueError(
        f"{what} must be [height, width], two integers from 1 to {MAX_SIDE}, got {size!r}"
    )


def looks_compressed(counts: object) -> bool:
    """Whether a text has the characters of COCO's compressed counts, and an end to its last number.

    That is quick, and enough for pycocotools' `area` and `toBbox`, which write nothing. Whether the
    lengths add up is told by `sums_of_lengths`.
    """
    return isinstance(counts, str) and _COMPRESSED.fullmatch(counts) is not None


def run_lengths(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The run lengths of many compressed texts at once.

    Args:
        texts: N compressed counts that `looks_compressed` has let pass.

    Returns:
        int64 (M,), the lengths of all texts one after another, which may be negative or of any sum;
        and int64 (N + 1,), where those of each text start and the last ones stop.

    Raises:
        ValueError: a run length of more characters than any has.

    Source: the text form of pycocotools: five bits a character, the lowest first; from the fourth
        number on, each is the difference to the one two before it.
    """
    if not texts:
        return np.zeros(0, dtype=np.int64), np.zeros(1, dtype=np.int64)
    codes = np.frombuffer("".join(texts).encode("ascii"), dtype=np.uint8).astype(np.int64)
    codes -= ord("0")
    ends = np.flatnonzero(codes < 0x20)
    num_characters = np.diff(ends, prepend=-1)
    if num_characters.max() > _MAX_CHARACTERS:
        raise ValueError(
            "RLE counts must be COCO's compressed text, got a run length of "
            f"{num_characters.max()} characters, at most {_MAX_CHARACTERS} have a meaning"
        )
    first_characters = ends - num_characters + 1
    shifts = 5 * (np.arange(codes.size) - np.repeat(first_characters, num_characters))
    numbers = np.add.reduceat((codes & 0x1F) << shifts, first_characters)
    # Bit 4 of a number's last character is its sign.
    numbers -= (codes[ends] >> 4 & 1) << (5 * num_characters)

    last_characters = np.cumsum([len(text) for text in texts]) - 1
    starts = np.concatenate(([0], np.searchsorted(ends, last_characters) + 1))
    lengths = np.empty_like(numbers)
    place = np.arange(numbers.size) - np.repeat(starts[:-1], np.diff(starts))
    lengths[place == 0] = numbers[place == 0]
    for parity in (1, 0):
        # Of each text the numbers 1, 3, 5, ... and then 2, 4, 6, ...: sums from the first of them.
        chosen = np.flatnonzero((place % 2 == parity) & (place > 0))
        if chosen.size:
            sums = np.cumsum(numbers[chosen])
            is_first = place[chosen] == (1 if parity else 2)
            before = (sums - numbers[chosen])[is_first]
            run_of = np.cumsum(is_first) - 1
            lengths[chosen] = sums - before[run_of]
    return lengths, starts


def sums_of_lengths(texts: Sequence[str]) -> np.ndarray:
    """What the run lengths of each of many compressed texts add up to.

    Texts and errors are those of `run_lengths`.

    Returns:
        int64 (N,); -1 where a run length is negative.
    """
    lengths, starts = run_lengths(texts)
    if not texts:
        return lengths
    totals = np.add.reduceat(lengths, starts[:-1])
    totals[np.minimum.reduceat(lengths, starts[:-1]) < 0] = -1
    return totals


def faults_of_counts(rles: Sequence[Mapping]) -> Iterator[tuple[int, str]]:
    """Which of many compressed RLEs are damaged, and how; all the others can be decoded.

    Args:
        rles: N times a checked `size` and `counts`, str or bytes, that `looks_compressed` has let
            pass.

    Yields:
        Position and message.
    """
    texts = [rle["counts"] for rle in rles]
    texts = [text.decode("ascii") if isinstance(text, bytes) else text for text in texts]
    try:
        totals = sums_of_lengths(texts).tolist()
    except ValueError:
        totals = []
        for position, text in enumerate(texts):
            try:
                totals += sums_of_lengths([text]).tolist()
            except ValueError as error:
                totals.append(math.prod(rles[position]["size"]))
                yield position, f"{error}; they are damaged, export them again"
    for position, (rle, total) in enumerate(zip(rles, totals, strict=True)):
        num_pixels = math.prod(rle["size"])
        if total < 0:
            yield position, "RLE counts must not be negative; they are damaged, export them again"
        elif total != num_pixels:
            yield (
                position,
                f"RLE counts must be run lengths that add up to height * width = {num_pixels}, got "
                f"{total}; they may be cut short, export them again",
            )


def compressed(rle: Mapping) -> dict:
    """An RLE of either kind with compressed counts; whether a text adds up is not looked at.

    Args:
        rle: `size`, [height, width], and `counts`: run lengths of 0, 1, 0, ... column by column, as
            a list, or as COCO's compressed str or bytes.

    Raises:
        ValueError: no such size or counts; a list that does not add up to height * width.
    """
    height, width = check_size(rle.get("size"), "RLE size")
    counts = rle.get("counts")
    if isinstance(counts, (list, tuple)) and all(map(is_int, counts)):
        num_pixels = height * width
        if not all(0 <= count <= num_pixels for count in counts):
            raise ValueError(
                f"RLE counts must be run lengths from 0 to height * width = {num_pixels}, got "
                f"{str(counts)[:80]}"
            )
        if sum(counts) != num_pixels:
            raise ValueError(
                "RLE counts must be run lengths that add up to height * width = "
                f"{num_pixels}, got {sum(counts)}; they may be cut short"
            )
        return mask_util.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    if isinstance(counts, (bytes, str)):
        text = counts.decode("latin-1") if isinstance(counts, bytes) else counts
        if not looks_compressed(text):
            raise ValueError(
                "RLE counts must be COCO's compressed text, which this is not, or it is cut short: "
                f"{text[:80]!r}"
            )
        return {"size": [height, width], "counts": counts}
    raise ValueError(
        "RLE counts must be a list of run lengths or COCO's compressed text, got "
        f"{str(counts)[:80]!r}"
    )


def decode_rle(rle: Mapping) -> np.ndarray:
    """The mask of an RLE of either kind, bool (height, width) of the RLE's own size.

    Raises:
        ValueError: damaged: no such size or counts, a negative length, another sum.
    """
    checked = compressed(rle)
    for _, message in faults_of_counts([checked]):
        raise ValueError(message)
    return mask_util.decode(checked).view(bool)
