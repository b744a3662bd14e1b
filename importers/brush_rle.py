"""Decodes the run lengths of Label Studio's brush.

Bits, the highest of each byte first: 32 for the number of values, 5 for the bits of a value less
one, four times 4 for the bits of a run's length less one; then runs. A run is one bit (1: one value
repeated, 0: values one by one), two bits that pick one of the four length sizes, the length less
one, and the value or values. The values are red, green, blue and alpha of each pixel, row by row.

Source: github.com/thi-ng/umbrella, packages/rle-pack; label-studio-sdk, converter/brush.py.
"""

from __future__ import annotations

import numpy as np

from mask2former_mt.dataset.problems import shown

_CHANNELS = 4


def decode_brush(rle: object, height: int, width: int) -> np.ndarray:
    """The mask of a brush, bool (height, width): where its alpha is not 0.

    Args:
        rle: list of bytes 0 to 255.
        height, width: of the picture that it was drawn on.

    Raises:
        ValueError: no such list, one that is cut short, or one of another size.
    """
    is_bytes = isinstance(rle, list) and all(type(v) is int and 0 <= v <= 255 for v in rle)
    if not is_bytes:
        raise ValueError(f"'rle' must be a list of bytes, got {shown(rle)}")
    stream = _Bits(np.array(rle, dtype=np.uint8))
    num_values, expected = stream.number(32), height * width * _CHANNELS
    if num_values != expected:
        raise ValueError(
            f"'rle' must hold {expected} values (height * width * {_CHANNELS}), got {num_values}; "
            "it may belong to another picture"
        )
    value_bits = stream.number(5) + 1
    length_bits = [stream.number(4) + 1 for _ in range(4)]
    values = np.zeros(num_values, dtype=np.uint8 if value_bits <= 8 else np.uint32)
    start = 0
    while start < num_values:
        is_repeated = stream.number(1)
        stop = start + stream.number(length_bits[stream.number(2)]) + 1
        if stop > num_values:
            raise ValueError("'rle' has a run beyond its end; it is damaged, export it again")
        count = 1 if is_repeated else stop - start
        values[start:stop] = stream.numbers(count, value_bits)
        start = stop
    return values.reshape(height, width, _CHANNELS)[..., -1] != 0


class _Bits:
    """Reads numbers from bits."""

    def __init__(self, data: np.ndarray) -> None:
        self._bits = np.unpackbits(data)
        self._position = 0

    def number(self, size: int) -> int:
        """The next number of so many bits."""
        return int(self.numbers(1, size)[0])

    def numbers(self, count: int, size: int) -> np.ndarray:
        """The next numbers of so many bits each."""
        bits = self._bits[self._position : self._position + count * size]
        if len(bits) < count * size:
            raise ValueError("'rle' is cut short; export it again")
        self._position += count * size
        return bits.reshape(count, size) @ (1 << np.arange(size - 1, -1, -1, dtype=np.int64))
