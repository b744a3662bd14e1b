"""COCO's run lengths: checked completely, then decoded.

pycocotools reads them in C without looking: a text cut short is read past its end, and lengths that
add up to more than the picture are written past its memory. So nothing goes there unchecked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

# A side longer than JPEG knows is a mistake, and a mask of it would not fit into memory.
MAX_SIDE = 65_535
# Five bits each: six characters hold any length in a picture of MAX_SIDE, seven its difference too.
_MAX_CHARACTERS = 7


def is_int(value: object) -> bool:
    """Whether a JSON value is an integer; in Python a bool is one too, which JSON does not mean."""
    return type(value) is int


def check_size(size: object, what: str) -> tuple[int, int]:
    """Returns (height, width) if both are usable.

    Raises:
        ValueError: not two integers in [1, MAX_SIDE].
    """
    if isinstance(size, (list, tuple)) and len(size) == 2:
        height, width = size
        for side in (height, width):
            if isinstance(side, bool) or not isinstance(side, (int, np.integer)):
                break
            if not 1 <= side <= MAX_SIDE:
                break
        else:
            return int(height), int(width)
    raise ValueError(
        f"{what} must be [height, width], two integers from 1 to {MAX_SIDE}, got {size!r}"
    )


def looks_compressed(counts: object) -> bool:
    """Whether a text can be COCO's compressed counts: its characters, and an end to its last one.

    Quick, and enough to hand it to pycocotools' `area` and `toBbox`, which write nothing; that the
    lengths add up is seen by `run_lengths`.
    """
    return (
        isinstance(counts, str)
        and bool(counts)
        and min(counts) >= "0"
        and max(counts) <= "o"
        # Six bits from "0" on; bit 5 says that the run length goes on.
        and not (ord(counts[-1]) - 48) & 0x20
    )


def sums_of_lengths(texts: Sequence[str]) -> np.ndarray:
    """What the run lengths of each of many texts add up to, for a fraction of `run_lengths`' time.

    Args:
        texts: N compressed counts that `looks_compressed` has let pass.

    Returns:
        int64 (N,).

    Raises:
        ValueError: a run length of more characters than any has.
    """
    if not texts:
        return np.zeros(0, dtype=np.int64)
    values, ends = _numbers("".join(texts))
    # How many numbers each text has, and which of its text each number is.
    last_characters = np.cumsum([len(text) for text in texts]) - 1
    stops = np.searchsorted(ends, last_characters) + 1
    num_numbers = np.diff(stops, prepend=0)
    place = np.arange(values.size) - np.repeat(stops - num_numbers, num_numbers)
    # A number is added to the run lengths at its own place and at every second one after it, but
    # the first only to its own.
    times = (np.repeat(num_numbers, num_numbers) - place + 1) // 2
    times[place == 0] = 1
    return np.add.reduceat(values * times, stops - num_numbers)


def run_lengths(rle: Mapping) -> tuple[np.ndarray, tuple[int, int]]:
    """Reads an RLE of either kind.

    Args:
        rle: `size`, [height, width], and `counts`: run lengths of 0, 1, 0, ... column by column,
            as a list, or as COCO's compressed str or bytes.

    Returns:
        int64 (R,) run lengths that add up to height * width, and (height, width).

    Raises:
        ValueError: no such size or counts, a text cut short, a negative length, another sum.
    """
    height, width = check_size(rle.get("size"), "RLE size")
    counts = rle.get("counts")
    if isinstance(counts, (bytes, str)):
        lengths = _decompress(counts)
    elif isinstance(counts, (list, tuple)) and all(map(is_int, counts)):
        # Whatever is longer than int64 is damaged as well: it must not raise another error.
        if any(not 0 <= c <= height * width for c in counts):
            raise ValueError(
                f"RLE counts must be run lengths from 0 to height * width = {height * width}, "
                f"got {str(counts)[:80]}"
            )
        lengths = np.asarray(counts, dtype=np.int64)
    else:
        raise ValueError(
            "RLE counts must be a list of run lengths or COCO's compressed text, got "
            f"{str(counts)[:80]!r}"
        )
    if lengths.size and lengths.min() < 0:
        raise ValueError(
            f"RLE counts must not be negative, got {lengths.min()}; they are damaged, export them "
            "again"
        )
    if lengths.sum() != height * width:
        raise ValueError(
            "RLE counts must be run lengths that add up to height * width = "
            f"{height * width}, got {lengths.sum()}; they may be cut short, export them again"
        )
    return lengths, (height, width)


def decode_rle(rle: Mapping) -> np.ndarray:
    """The mask of an RLE.

    Returns:
        bool (height, width), of the RLE's own size.

    Raises:
        ValueError: as `run_lengths`.
    """
    lengths, (height, width) = run_lengths(rle)
    mask = np.zeros((height, width), dtype=bool)
    edges = np.cumsum(lengths)
    starts, stops = edges[:-1:2], edges[1::2]
    if not stops.size or stops[-1] == starts[0]:
        return mask
    # Only the columns from the first to the last pixel: transposing the whole would cost more.
    left, right = int(starts[0]) // height, (int(stops[-1]) - 1) // height + 1
    runs = lengths[: 2 * stops.size].copy()
    runs[0] -= left * height
    values = np.arange(runs.size) % 2 == 1
    columns = np.zeros((right - left) * height, dtype=bool)
    columns[: runs.sum()] = np.repeat(values, runs)
    mask[:, left:right] = columns.reshape(right - left, height).T
    return mask


def _decompress(counts: bytes | str) -> np.ndarray:
    if isinstance(counts, bytes):
        counts = counts.decode("latin-1")
    if not looks_compressed(counts):
        raise ValueError(
            "RLE counts must be COCO's compressed text, which this is not, or it is cut short: "
            f"{counts[:80]!r}"
        )
    values, _ = _numbers(counts)
    # From the fourth on, a number is the difference to the one two before it.
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def _numbers(text: str) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of a text that looks compressed, and the position of each one's last character.

    Source: the text form of pycocotools, five bits a character, the lowest first.
    """
    codes = np.frombuffer(text.encode("ascii"), dtype=np.uint8).astype(np.int64) - ord("0")
    ends = np.flatnonzero(codes < 0x20)
    num_characters = np.diff(ends, prepend=-1)
    if num_characters.max() > _MAX_CHARACTERS:
        raise ValueError(
            f"RLE counts must be COCO's compressed text, got a run length of {num_characters.max()}"
            f" characters, at most {_MAX_CHARACTERS} have a meaning"
        )
    starts = ends - num_characters + 1
    shifts = 5 * (np.arange(codes.size) - np.repeat(starts, num_characters))
    values = np.add.reduceat((codes & 0x1F) << shifts, starts)
    # Bit 4 of a number's last character is its sign.
    values -= (codes[ends] >> 4 & 1) << (5 * num_characters)
    return values, ends
