"""A place for each label, where it hides least."""

# H x W the picture's size in pixels. Boxes are x0, y0, x1, y1 in pixels, x1 and y1 excluded.

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from mask2former_mt.visualization.regions import Region

GRID = 1024  # pixels; the masks that a label would hide are measured on a grid of about this size


class LabelPlaces:
    """Finds places for labels one after another, clear of the earlier ones where possible.

    Args:
        size: H, W of the picture.
        regions: masks that should stay visible.
        label_area: area of a usual label in pixels.
    """

    def __init__(self, size: tuple[int, int], regions: Sequence[Region], label_area: float) -> None:
        self.size = size
        self.step = max(1, max(size) // GRID)
        self.taken = np.zeros((0, 4), dtype=np.int64)
        # Hiding a pixel costs its share of its mask, so that a small mask is not hidden whole, and
        # its share of a label, so that a label prefers the background to a large mask.
        rows, columns = (-(-length // self.step) for length in size)
        weight = np.zeros((rows, columns), dtype=np.float32)
        for region in regions:
            if region.area:
                top, left = -(-region.top // self.step), -(-region.left // self.step)
                mask = region.mask[
                    top * self.step - region.top :: self.step,
                    left * self.step - region.left :: self.step,
                ]
                part = weight[top : top + mask.shape[0], left : left + mask.shape[1]]
                part += mask * np.float32(self.step**2 * (1 / region.area + 1 / label_area))
        self.weight = cv2.integral(weight, sdepth=cv2.CV_64F)

    def choose(self, region: Region, blocks: Sequence[tuple[int, int]]) -> tuple[int, np.ndarray]:
        """Chooses and occupies the best place for one label.

        Args:
            region: the label's mask, not empty.
            blocks: width and height in pixels of the label's versions, the fullest first.

        Returns:
            Index of the version, and its box, int64 (4,).
        """
        best_cost, best = np.inf, None
        mask_box = region.main_part.box
        for version, block in enumerate(blocks):
            # A shorter label is better than one that hides another or is far away.
            cost, overlap, box = self._cheapest(block, mask_box, 1.5 * version)
            if cost < best_cost:
                best_cost, best = cost, (version, box)
            if overlap == 0 and cost < 1.5 * (version + 1):
                break  # no shorter version can be better
        assert best is not None
        self.taken = np.concatenate([self.taken, best[1][None]])
        return best

    def _cheapest(
        self, block: tuple[int, int], mask_box: tuple[int, int, int, int], extra: float
    ) -> tuple[float, float, np.ndarray]:
        """The least cost of a label in the picture, its share that hides others, and its box."""
        boxes = self._candidates(block, mask_box)
        hidden, distance = self._hidden(boxes), self._distance(boxes, mask_box)
        least_costs = 2 * hidden + 8 * distance + extra
        cheapest_first = np.argsort(least_costs, kind="stable")
        best = (np.inf, 0, 0.0)
        # Earlier labels only add to a cost: what is dearer without them need not be weighed.
        # In parts of 32, 64, 128, ... places.
        for part in np.split(cheapest_first, 32 * (2 ** np.arange(1, 8) - 1)):
            if not len(part) or least_costs[part[0]] > best[0]:
                break
            overlaps = self._overlaps(boxes[part])
            # Hiding a label is worse than any distance; hiding a mask is worth a detour.
            costs = 20 * (overlaps > 0) + 40 * overlaps
            costs = costs + 2 * hidden[part] + 8 * distance[part] + extra
            best = min(best, *zip(costs.tolist(), part.tolist(), overlaps.tolist(), strict=True))
        cost, index, overlap = best
        return cost, overlap, boxes[index]

    def _candidates(self, block: tuple[int, int], box: tuple[int, int, int, int]) -> np.ndarray:
        """Boxes (M, 4) in the picture: around the mask, then on a grid."""
        w, h = block
        x0, y0, x1, y1 = box
        height, width = self.size
        gap = 3 + max(self.size) // 512
        beside_x = [x0, (x0 + x1 - w) // 2, x1 - w]
        beside_y = [y0, (y0 + y1 - h) // 2, y1 - h]
        spots = [(x, y) for x in beside_x for y in (y0 - h - gap, y1 + gap)]
        spots += [(x, y) for x in (x0 - w - gap, x1 + gap) for y in beside_y]
        step = max(4, min(height, width) // 32)
        columns, rows = np.arange(0, width - w + 1, step), np.arange(0, height - h + 1, step)
        grid = np.stack(np.meshgrid(columns, rows, indexing="ij"), axis=-1).reshape(-1, 2)
        corners = np.clip(np.concatenate([spots, grid]), 0, [width - w, height - h])
        return np.concatenate([corners, corners + np.array(block)], axis=1)

    def _overlaps(self, boxes: np.ndarray) -> np.ndarray:
        """The share of each of M boxes that earlier labels occupy."""
        x, y, right, bottom = boxes.astype(np.int32).T[..., None]
        taken_x, taken_y, taken_right, taken_bottom = self.taken.astype(np.int32).T
        across = np.minimum(right, taken_right) - np.maximum(x, taken_x)
        down = np.minimum(bottom, taken_bottom) - np.maximum(y, taken_y)
        common = np.maximum(across, 0) * np.maximum(down, 0)
        return common.sum(axis=1, dtype=np.int64) / ((right - x) * (bottom - y))[:, 0]

    def _hidden(self, boxes: np.ndarray) -> np.ndarray:
        """What each of M boxes would hide of the masks, by `weight`."""
        start_x, start_y, end_x, end_y = (boxes // self.step).T
        hidden = self.weight[end_y, end_x] - self.weight[start_y, end_x]
        hidden -= self.weight[end_y, start_x] - self.weight[start_y, start_x]
        return hidden

    def _distance(self, boxes: np.ndarray, mask_box: tuple[int, int, int, int]) -> np.ndarray:
        """How far each of M boxes is from the mask's, in shorter sides of the picture."""
        x, y, right, bottom = boxes.T
        x0, y0, x1, y1 = mask_box
        off_x = np.maximum(0, np.maximum(x0 - right, x - x1))
        off_y = np.maximum(0, np.maximum(y0 - bottom, y - y1))
        return np.hypot(off_x, off_y) / min(self.size)
