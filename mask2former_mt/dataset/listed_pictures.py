"""Finds the pictures that a JSON lists, and what their headers say of their sizes."""

from __future__ import annotations

import collections
import concurrent.futures
import math
import os
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from mask2former_mt.dataset.converted_pictures import ConvertedPictures
from mask2former_mt.dataset.images import PictureHeader, is_turned, read_picture_header
from mask2former_mt.dataset.picture_search import PictureSearch
from mask2former_mt.dataset.problems import REPAIR, WARNING, Fault

# Headers are read by several threads: most of the time goes into waiting for the disk.
_THREADS = 8
_CHUNK = 64

# (height, width) in pixels
Size = tuple[float, float]


def look_at_pictures(
    image_root: Path,
    records: Sequence[dict],
    names: Sequence[str | None],
    fits: Callable[[int, Size], bool],
    converted: ConvertedPictures,
) -> Iterator[tuple[int, Fault]]:
    """Opens the pictures' headers, each once, and corrects the records by them.

    Args:
        image_root: folder that the JSON's names are relative to.
        records: dataset dicts. A `file_name` that is no file becomes that of the picture that is
            meant; `height` and `width`, infinite where the JSON tells none, become the picture's
            own where the outlines allow. That a size is missing is for the caller to tell.
        names: the JSON's name of each; None where it has none.
        fits: (position of a record, size) -> whether its outlines lie in a picture of that size.
        converted: counts the pictures of which reading keeps less than their files hold.

    Yields:
        Position of the record, and what is wrong with its picture or was corrected.
    """
    named = [position for position, name in enumerate(names) if name is not None]
    headers = dict(zip(named, _headers([records[i]["file_name"] for i in named]), strict=True))
    missing = [i for i in named if _is_missing(headers[i])]
    if missing:
        there = set(named) - set(missing)
        taken = {os.path.normpath(records[i]["file_name"]) for i in there}
        found = find_pictures(image_root, [names[i] for i in missing], taken)
        for i in missing:
            if names[i] in found:
                records[i]["file_name"] = os.path.join(image_root, found[names[i]])
                headers[i] = header_of(records[i]["file_name"])
                yield i, _renamed(names[i], found[names[i]])
    sizes: dict[int, Size] = {}
    for i, header in headers.items():
        if isinstance(header, Fault):
            yield i, header
        else:
            sizes[i] = header.size
            converted.add(records[i]["file_name"], header)
    yield from _compared_sizes(records, sizes, fits)


def _compared_sizes(
    records: Sequence[dict], sizes: Mapping[int, Size], fits: Callable[[int, Size], bool]
) -> Iterator[tuple[int, Fault]]:
    """Tells of sizes that are not the JSON's, and takes those that are right; by position."""
    others = {
        i: (records[i]["height"], records[i]["width"])
        for i, size in sizes.items()
        if (records[i]["height"], records[i]["width"]) != size
    }
    # Evidence of the whole split: whether outlines were drawn on pictures as they are stored, not
    # upright; and whether the pictures agree with the JSON by and large.
    turned = [i for i, said in others.items() if sizes[i] == said[::-1]]
    is_drawn_turned = not all(fits(i, sizes[i]) for i in turned)
    agree_mostly = 2 * sum(math.isfinite(said[0]) for said in others.values()) <= len(sizes)
    for i, said in others.items():
        size, file = sizes[i], records[i]["file_name"]
        if not math.isfinite(said[0]):
            is_wrong = True
        elif not fits(i, size):
            is_wrong = False
        elif not fits(i, said):
            is_wrong = True  # the outlines tell
        elif i in turned:
            is_wrong = not is_drawn_turned
        else:
            # A picture that was resized has another height and another width.
            is_wrong = agree_mostly and (size[0] == said[0] or size[1] == said[1])
        if is_wrong:
            records[i].update(height=size[0], width=size[1])
        if math.isfinite(said[0]):
            yield i, _other_size(file, said, size, is_wrong)


def header_of(file: str) -> PictureHeader | Fault:
    """What the header of a picture says, or what is wrong with its file."""
    if not os.path.isfile(file):
        remedy = "check the YAML's 'images' folder and the JSON's 'file_name'"
        return Fault("missing-image", "the file does not exist", remedy)
    try:
        return read_picture_header(file)
    except (ValueError, OSError) as error:
        return Fault("unreadable-image", str(error))


def find_pictures(image_root: Path, names: Sequence[str], taken: set[str]) -> dict[str, str]:
    """The pictures that names mean which are no files as they are written.

    Args:
        image_root: folder of all pictures.
        names: as the JSON has them.
        taken: normalised paths of pictures that other names are.

    Returns:
        By name the path below `image_root`, where one picture alone comes into question.
    """
    search = PictureSearch(image_root)
    found = {name: search.find(name, taken) for name in dict.fromkeys(names)}
    num_names = collections.Counter(found.values())
    return {name: path for name, path in found.items() if path and num_names[path] == 1}


def _headers(files: Sequence[str]) -> list[PictureHeader | Fault]:
    # By the chunk: handing single files to the threads would take longer than reading them.
    chunks = [files[i : i + _CHUNK] for i in range(0, len(files), _CHUNK)]
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        parts = pool.map(lambda chunk: [header_of(file) for file in chunk], chunks)
        return [header for part in parts for header in part]


def _is_missing(header: PictureHeader | Fault) -> bool:
    return isinstance(header, Fault) and header.kind == "missing-image"


def _renamed(name: str, path: str) -> Fault:
    message = f"there is no file {name!r}: the one picture of this name, {path!r}, is read"
    if unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", path):
        message = f"{name!r} is spelled with other characters of Unicode than the file (NFC or NFD)"
    return Fault("picture-name", message, REPAIR, WARNING)


def _other_size(file: str, said: Size, size: Size, is_wrong: bool) -> Fault:
    """What is said of a picture that is not as large as the JSON says."""
    of_file = f"the file is {size[1]}x{size[0]}"
    is_exchanged = size == said[::-1] and is_turned(file)
    if is_exchanged:
        of_file += " once it is turned upright as its EXIF data say"
    message = f"the JSON says {said[1]}x{said[0]} (width x height), {of_file}"
    if is_wrong:
        remedy = "make sure that it was annotated upright; " if is_exchanged else ""
        return Fault("size-mismatch", f"{message}, which is taken", remedy + REPAIR, WARNING)
    remedy = "correct the JSON, or put back the picture that was annotated"
    if is_exchanged:
        message += ", and was annotated as it is stored"
        remedy = "save the pictures upright without their EXIF data, and annotate them so"
    return Fault("size-mismatch", message, remedy)
