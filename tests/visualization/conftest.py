"""What is drawn during a test."""

import pytest

from mask2former_mt.visualization import label_painting


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], tuple[int, ...], tuple]]:
    """Every label drawn during a test: its lines, its box in the picture, the picture's shape."""
    found = []
    paint_block = label_painting.paint_block

    def record(picture, place, block, colour):
        found.append((block.lines, tuple(int(v) for v in place), picture.shape))
        paint_block(picture, place, block, colour)

    monkeypatch.setattr(label_painting, "paint_block", record)
    return found
