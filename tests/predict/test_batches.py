"""Pictures are read ahead, within a budget of pixels."""

import itertools
import threading
import time

import pytest

from mask2former_mt.predict.batches import PixelBudget, read_ahead


def test_small_pictures_are_under_way_together_and_a_large_one_alone():
    budget, passed = PixelBudget(10), []

    def take(pixels):
        budget.take(pixels)
        passed.append(pixels)

    def taken(thread):
        thread.start()
        thread.join(0.05)
        return not thread.is_alive()

    take(4), take(6)  # 10 in all
    one_more, large = (threading.Thread(target=take, args=(pixels,)) for pixels in (1, 25))
    assert not taken(one_more)
    budget.give(4)
    one_more.join(5)
    assert passed == [4, 6, 1]
    assert not taken(large)
    budget.give(6)
    budget.give(1)
    large.join(5)
    assert passed[-1] == 25


def test_who_waits_is_let_pass_when_nothing_more_is_wanted():
    budget = PixelBudget(1)
    budget.take(5)
    waiting = threading.Thread(target=budget.take, args=(5,))
    waiting.start()
    budget.lift()
    waiting.join(5)
    assert not waiting.is_alive()


def test_same_items_in_the_same_order_and_errors_in_their_place():
    def items():
        yield from range(50)
        raise OSError("gone")

    ahead = read_ahead(items(), 4)
    assert list(itertools.islice(ahead, 50)) == list(range(50))
    with pytest.raises(OSError, match="gone"):
        next(ahead)
    assert list(read_ahead(iter([]), 3)) == []


def test_a_thread_reads_as_many_items_as_asked_until_no_more_are_wanted():
    made, before = [], threading.active_count()

    def items():
        for i in range(10):
            made.append((i, threading.current_thread()))
            yield i

    ahead = read_ahead(items(), 2)
    assert next(ahead) == 0
    deadline = time.monotonic() + 5
    while len(made) < 3 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.05)
    assert [i for i, _ in made] == [0, 1, 2]
    assert threading.current_thread() not in {thread for _, thread in made}
    ahead.close()
    assert threading.active_count() == before
