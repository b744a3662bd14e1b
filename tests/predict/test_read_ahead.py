"""Reading ahead: order, how far, errors, and stopping early."""

import threading
import time

import pytest

from mask2former_mt.predict.read_ahead import read_ahead


def test_same_items_in_the_same_order():
    assert list(read_ahead(iter(range(50)), 3)) == list(range(50))
    assert list(read_ahead(iter(()), 3)) == []


def test_reads_in_another_thread_so_far_and_no_further():
    made, threads = [], set()

    def items():
        for i in range(10):
            threads.add(threading.current_thread())
            made.append(i)
            yield i

    ahead = read_ahead(items(), 2)
    assert next(ahead) == 0
    deadline = time.monotonic() + 5
    while len(made) < 3 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.05)
    assert made == [0, 1, 2]
    assert threading.current_thread() not in threads
    ahead.close()


def test_error_comes_where_the_item_would_have():
    def items():
        yield 1
        raise OSError("gone")

    ahead = read_ahead(items(), 4)
    assert next(ahead) == 1
    with pytest.raises(OSError, match="gone"):
        next(ahead)


def test_stopping_early_ends_the_thread():
    before = threading.active_count()
    ahead = read_ahead(iter(range(1000)), 2)
    next(ahead)
    ahead.close()
    assert threading.active_count() == before


def test_depth_is_checked():
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        next(read_ahead(iter([1]), 0))
