"""Masks cropped to their extents, so that painting one costs its own pixels, not the picture's."""

# H x W the picture's size in pixels, h x w a region's. Boxes are x0, y0, x1, y1 in pixels, x1 and
# y1 excluded.

from __future__ import annotations

import dataclasses
import functools
import zlib

import cv2
import numpy as np

_PACKED_PIXELS = 1 << 16  # larger masks are compressed where many are kept
_FASTEST = 1  # of zlib's levels


@dataclasses.dataclass(frozen=True)
class Region:
    """One mask within its extent."""

    left: int  # x of the extent's left column in the picture
    top: int  # y of the extent's top row in the picture
    mask: np.ndarray  # bool (h, w), contiguous; (0, 0) for an empty mask

    @functools.cached_property
    def area(self) -> int:
        """Number of the mask's pixels."""
        return int(np.count_nonzero(self.mask))

    def window(self, picture: np.ndarray) -> np.ndarray:
        """The view of the picture (H, W, ...) that the extent covers."""
        height, width = self.mask.shape
        return picture[self.top : self.top + height, self.left : self.left + width]

    def contains(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Whether the picture's pixels (x, y) belong to the mask, bool, shaped like x and y."""
        height, width = self.mask.shape
        x, y = x - self.left, y - self.top
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        return inside & self.mask[np.where(inside, y, 0), np.where(inside, x, 0)]

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The extent as a box."""
        height, width = self.mask.shape
        return self.left, self.top, self.left + width, self.top + height

    def resized(self, frame: tuple[int, int], size: tuple[int, int]) -> Region:
        """The region after its picture of H, W `frame` is resized to H, W `size`."""
        if frame == size or not self.area:
            return self
        whole = np.zeros(frame, dtype=np.uint8)
        self.window(whole)[self.mask] = 255
        shrinks = size[0] < frame[0]
        resized = cv2.resize(
            whole,
            (size[1], size[0]),
            interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
        )
        if not (resized > 127).any():
            # A mask too thin for the smaller picture keeps the pixel that it covers most.
            resized[np.unravel_index(int(resized.argmax()), resized.shape)] = 255
        return region_of(resized > 127)

    @functools.cached_property
    def main_part(self) -> Region:
        """The largest connected part: a label belongs there, not between two parts."""
        _, parts, stats, _ = cv2.connectedComponentsWithStats(self.mask.view(np.uint8))
        largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
        x, y, width, height = (int(v) for v in stats[largest][:4])
        mask = parts[y : y + height, x : x + width] == largest
        return packed(Region(self.left + x, self.top + y, mask))

    @functools.cached_property
    def heart(self) -> tuple[int, int]:
        """The pixel farthest from the rim, as x, y; unlike the mean it lies in the mask."""
        # The padding makes the extent's border a rim too.
        padded = cv2.copyMakeBorder(self.mask.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
        depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)
        # The padding, where it is 0, is not cut off: that would copy the rest.
        row, column = np.unravel_index(int(depth.argmax()), depth.shape)
        return self.left + int(column) - 1, self.top + int(row) - 1


class PackedRegion(Region):
    """A region whose mask is kept compressed and unpacked each time that it is asked for."""

    def __init__(self, region: Region) -> None:
        height, width = region.mask.shape
        bits = zlib.compress(np.packbits(region.mask), _FASTEST)
        unpack = functools.partial(_unpacked, bits, height, width)
        # The base class is frozen.
        vars(self).update(left=region.left, top=region.top, area=region.area, unpack=unpack)

    @property
    def mask(self) -> np.ndarray:
        return self.unpack()


def _unpacked(compressed: bytes, height: int, width: int) -> np.ndarray:
    bits = np.frombuffer(zlib.decompress(compressed), np.uint8)
    return np.unpackbits(bits, count=height * width).view(bool).reshape(height, width)


def packed(region: Region) -> Region:
    """The region, which takes little memory however large it is."""
    is_large = region.mask.size > _PACKED_PIXELS and not isinstance(region, PackedRegion)
    return PackedRegion(region) if is_large else region


EMPTY = Region(0, 0, np.zeros((0, 0), dtype=bool))


def region_of(mask: np.ndarray) -> Region:
    """The region of a bool mask (H, W)."""
    x, y, width, height = cv2.boundingRect(np.ascontiguousarray(mask).view(np.uint8))
    if width == 0:
        return EMPTY
    return Region(x, y, np.ascontiguousarray(mask[y : y + height, x : x + width]))
