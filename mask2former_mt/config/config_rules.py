"""What the values of config keys must be: in words for the user, and as a test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable
from numbers import Real
from typing import NamedTuple

# Not math.isfinite: it fails on integers of hundreds of digits.
_LARGEST = sys.float_info.max


class Rule(NamedTuple):
    """What the values of a key must be, in words and as a test that takes any value."""

    expected: str
    holds: Callable[[object], bool]


class Key(NamedTuple):
    """A key of one section; without a rule, any value of the default's type is good."""

    name: str
    default: object
    rule: Rule | None = None


def is_number(value: object) -> bool:
    """Whether a value is finite and no truth value."""
    return isinstance(value, Real) and not isinstance(value, bool) and abs(value) <= _LARGEST


def is_list(value: object) -> bool:
    return isinstance(value, (list, tuple))


def one_of(choices: Iterable[object]) -> Rule:
    choices = tuple(choices)
    # Not `in` alone: True is 1, and a list of choices takes no list.
    return Rule(
        f"one of {', '.join(map(repr, choices))}",
        lambda x: any(type(x) is type(choice) and x == choice for choice in choices),
    )


def registered_in(name: str, registry: Collection[str]) -> Rule:
    """A name in one of detectron2's registries, which may grow until the config is checked."""
    return Rule(f"a name in {name}", lambda x: isinstance(x, str) and x in registry)


def at_least(low: float) -> Rule:
    return Rule(f"at least {low}", lambda x: is_number(x) and x >= low)


def between(low: float, high: float) -> Rule:
    return Rule(f"in [{low}, {high}]", lambda x: is_number(x) and low <= x <= high)


def count(low: int, high: int) -> Rule:
    """An integer between bounds that nothing useful exceeds: more would only exhaust memory."""
    return Rule(
        f"an integer in [{low}, {high}]",
        lambda x: isinstance(x, int) and is_number(x) and low <= x <= high,
    )


def each(rule: Rule) -> Rule:
    return Rule(
        f"a list, each value of it {rule.expected}",
        lambda xs: is_list(xs) and all(map(rule.holds, xs)),
    )


def some(rule: Rule) -> Rule:
    """A list that is not empty."""
    return Rule(
        f"a list that is not empty, each value of it {rule.expected}",
        lambda xs: each(rule).holds(xs) and len(xs) > 0,
    )


def list_of(length: int, rule: Rule) -> Rule:
    return Rule(
        f"a list of {length}, each value of it {rule.expected}",
        lambda xs: each(rule).holds(xs) and len(xs) == length,
    )


def ascending(rule: Rule) -> Rule:
    return Rule(
        f"{each(rule).expected}, in ascending order",
        lambda xs: each(rule).holds(xs) and list(xs) == sorted(xs),
    )


def distinct(rule: Rule) -> Rule:
    return Rule(
        f"{each(rule).expected}, none of them twice",
        lambda xs: each(rule).holds(xs) and len(set(xs)) == len(xs),
    )


def only(value: object, because: str) -> Rule:
    """A key that could say something else, which nothing here would do."""
    return Rule(f"{value!r}: {because}", lambda x: type(x) is type(value) and x == value)


def up_to(high: float) -> Rule:
    return Rule(f"above 0 and at most {high}", lambda x: is_number(x) and 0 < x <= high)


def _is_range(values: object) -> bool:
    return list_of(2, NUMBER).holds(values) and values[0] < values[1]


NUMBER = Rule("a number", is_number)
RANGE_OR_EMPTY = Rule(
    "empty, or [low, high] with low < high",
    lambda x: is_list(x) and (len(x) == 0 or _is_range(x)),
)
POSITIVE = Rule("positive", lambda x: is_number(x) and x > 0)
# A share of what would be lost entirely at 1.
BELOW_ONE = Rule("in [0, 1)", lambda x: is_number(x) and 0 <= x < 1)
SWITCH = Rule("True or False", lambda x: isinstance(x, bool))
TEXT = Rule("a text", lambda x: isinstance(x, str))
NAME = Rule("a text that is not empty", lambda x: isinstance(x, str) and bool(x.strip()))
# More would exhaust memory or time, and is a slip of the keyboard.
MANY, MOST_CLASSES, MOST_CHANNELS, MOST_PIXELS = 10**9, 1_000_000, 65_536, 100_000
# Those of detectron2.layers.get_norm.
NORM = one_of(("", "BN", "SyncBN", "FrozenBN", "GN", "nnSyncBN", "naiveSyncBN", "LN"))
# Of a loss or a cost; float32 holds the sum of all terms.
WEIGHT = between(0, 1_000_000)


def rule_of_kind(default: object) -> Rule:
    """What every value of a key must be that has this default; a default of None says nothing."""
    if default is None:
        return Rule("a number, or None", lambda x: x is None or is_number(x))
    for kind, rule in (
        (bool, SWITCH),
        (int, Rule("an integer", lambda x: isinstance(x, int) and not isinstance(x, bool))),
        (float, Rule("a number", is_number)),
        (str, TEXT),
        ((list, tuple), Rule("a list", is_list)),
    ):
        if isinstance(default, kind):
            return rule
    raise AssertionError(f"no config key holds {type(default).__name__}")
