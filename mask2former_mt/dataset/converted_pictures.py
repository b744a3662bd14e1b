"""Counts the pictures of which reading keeps less than their files hold."""

from __future__ import annotations

import collections
from collections.abc import Sequence

from mask2former_mt.dataset.bit_depth import Depth, chosen_range
from mask2former_mt.dataset.images import PictureHeader


class ConvertedPictures:
    """How many pictures have more than 8 bits a sample, or more than one frame; and one of each.

    Attributes:
        num_deep: pictures by depth.
        num_with_frames: animations and files of several pages.
    """

    def __init__(self) -> None:
        self.num_deep: collections.Counter[Depth] = collections.Counter()
        self.num_with_frames = 0
        self._example: dict[Depth | None, str] = {}

    def add(self, file: str, header: PictureHeader) -> None:
        """Counts a picture."""
        if header.depth is not None:
            self.num_deep[header.depth] += 1
            self._example.setdefault(header.depth, file)
        if header.has_more_frames:
            self.num_with_frames += 1
            self._example.setdefault(None, file)

    def describe(self, depth_range: Sequence[float]) -> list[str]:
        """What becomes of these pictures, a sentence for each kind.

        Args:
            depth_range: INPUT.DEPTH_RANGE.

        Raises:
            ValueError: pictures that cannot be read without a depth range.
        """
        lines = []
        for depth, count in self.num_deep.items():
            pictures = f"{count} pictures of {depth.name} (such as {self._example[depth]})"
            try:
                low, high = chosen_range(depth, depth_range)
            except ValueError as error:
                raise ValueError(f"{pictures} cannot be read: {error}") from error
            source = "INPUT.DEPTH_RANGE" if len(depth_range) else "the range of their type"
            lines.append(f"{pictures} are read as 8 bits: {low:g} to {high:g}, {source}")
        if self.num_with_frames:
            lines.append(
                f"{self.num_with_frames} pictures have several frames or pages (such as "
                f"{self._example[None]}): the first is read"
            )
        return lines
