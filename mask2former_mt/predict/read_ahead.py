"""Prepares the next items while the present one is worked on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def read_ahead(items: Iterator[T], depth: int) -> Iterator[T]:
    """The same items in the same order, made by a thread up to `depth` before they are asked for.

    An error of the iterator is raised where its item would have come.

    Args:
        depth: at least 1; so many items are held in memory besides the one in use.
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    end = object()
    pool = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
    try:
        waiting = deque(pool.submit(next, items, end) for _ in range(depth))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(pool.submit(next, items, end))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)
