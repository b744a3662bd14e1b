"""Reads a split, one COCO JSON and its folder of pictures: once, for everybody who needs it."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Sequence

from mask2former_mt.dataset.converted_pictures import ConvertedPictures
from mask2former_mt.dataset.document import (
    UNREADABLE,
    Header,
    read_document,
    read_header,
    without_garbage_collection,
)
from mask2former_mt.dataset.problems import ERROR, Problem, refuse, warnings_text
from mask2former_mt.dataset.split_content import SplitContent, SplitFiles

_LOGGER = logging.getLogger(__name__)
# Splits of one process that are kept; one that changed on disk takes a place of its own.
_KEPT_SPLITS = 32


class Split:
    """A split as it was read.

    Args:
        files: where it is.
        document: the parsed JSON, which is taken apart when the annotations are first asked for;
            None if it cannot be used.
        problems: of the file as a whole.
        opens_pictures: whether the pictures' headers are read, too: wrong names and sizes of the
            JSON give way to them.

    Attributes:
        header: classes and subcategories; None if they cannot be used.
        header_problems: what is wrong with the file as a whole and its lists of classes; nothing
            more is read for it.
    """

    def __init__(
        self,
        files: SplitFiles,
        document: dict | None,
        problems: Sequence[Problem] = (),
        *,
        opens_pictures: bool = False,
    ) -> None:
        self.files = files
        self._opens_pictures = opens_pictures
        self.header: Header | None = None
        self._document = document
        self.header_problems = list(problems)
        if document is not None:
            self.header, faults = read_header(document)
            file = str(files.json_file)
            self.header_problems += [
                Problem(ERROR, "bad-categories", file, text) for text in faults
            ]

    @property
    def records(self) -> Sequence[dict]:
        """detectron2's dataset dicts, one per entry of `images` that has an id of its own.

        Each has `file_name`, `image_id`, `height`, `width` (infinite where the JSON tells none) and
        `annotations`, the sound ones, as `AnnotationReader.read` gives them.
        """
        return self._content.records

    @property
    def unsound(self) -> dict[int, list[dict]]:
        """By position of the record: annotations with an error, as far as they could be read.

        Each has the `index` of its entry in the JSON's list, too.
        """
        return self._content.unsound

    @property
    def problems(self) -> list[Problem]:
        """Everything that is wrong with the JSON by itself; see also `image_problems`."""
        return self._content.problems

    @property
    def is_unreadable(self) -> bool:
        """Whether the file is no COCO JSON; the one problem says why."""
        return any(problem.kind == "bad-annotation-file" for problem in self.header_problems)

    @property
    def image_problems(self) -> list[Problem]:
        """What is wrong with the pictures' files, by their headers; empty if none was opened."""
        return self._content.image_problems

    @property
    def converted_pictures(self) -> ConvertedPictures:
        """The pictures of which reading keeps less than their files hold."""
        return self._content.converted_pictures

    @property
    def root_class(self) -> str | None:
        """A class that is none, but stands above all others, as Roboflow writes it."""
        return self._content.root_class

    @functools.cached_property
    def warnings(self) -> str:
        """All warnings in a few lines, of files that can be used; empty without any."""
        problems = [*self.problems, *self.image_problems]
        return warnings_text(problems, self.files.json_file, self.files.image_root)

    def forget_document(self) -> None:
        """Frees the memory of annotations that nobody will ask for; else they are read again."""
        self._document = None

    @functools.cached_property
    def _content(self) -> SplitContent:
        document = self._document
        if document is None and not self.header_problems:
            document = read_document(self.files.json_file)
        self._document = None
        content = SplitContent(
            self.files, self.header, self.header_problems, opens_pictures=self._opens_pictures
        )
        if document is not None:
            with without_garbage_collection():
                content.read(document)
        return content


def read_split(files: SplitFiles, *, opens_pictures: bool = True) -> Split:
    """The split, read once as long as the JSON stays as it is.

    Nothing that the file holds is refused here: it is told by the split's problems.

    Args:
        files: where it is.
        opens_pictures: as for `Split`.
    """
    try:
        status = os.stat(files.json_file)
        stamp = (status.st_size, status.st_mtime_ns)
    except (OSError, ValueError):
        stamp = None
    return _read_split(files, stamp, opens_pictures)


@functools.lru_cache(maxsize=_KEPT_SPLITS)
def _read_split(files: SplitFiles, stamp: tuple[int, int] | None, opens_pictures: bool) -> Split:
    try:
        document = read_document(files.json_file)
        return Split(files, document, opens_pictures=opens_pictures)
    except UNREADABLE as error:
        problem = Problem(ERROR, "bad-annotation-file", str(files.json_file), str(error))
        return Split(files, None, [problem])


def refuse_errors(files: SplitFiles, expected: Header) -> Split:
    """The split, if training can use all of it, so that nothing surprises a training under way.

    What was read otherwise than it is written, and what is not learned, is logged once.

    Args:
        files: where it is.
        expected: the header that the dataset's metadata was made from.

    Raises:
        ValueError: names file, image, annotation, what was expected and found; up to ten problems
            at once.
    """
    split = read_split(files)
    if split.header is not None and split.header != expected:
        raise ValueError(
            f"{files.json_file}: its categories or subcategories changed since the dataset was "
            "registered; start again, so that the model is built for the new ones"
        )
    problems = [*split.problems, *split.image_problems]
    refuse(problems, files.json_file, files.image_root, len(split.records))
    log_once(split.warnings)
    return split


@functools.lru_cache(maxsize=_KEPT_SPLITS)
def log_once(text: str) -> None:
    """Warns of something that was not said before; of nothing if it is empty."""
    if text:
        _LOGGER.warning(text)


def training_records(files: SplitFiles, expected: Header) -> list[dict]:
    """A split's dataset dicts, whole and sound; see `refuse_errors`."""
    split = refuse_errors(files, expected)
    with without_garbage_collection():
        return list(split.records)
