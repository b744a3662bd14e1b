"""Names are tidied without changing what they say, and twins are found."""

from __future__ import annotations

from mask2former_mt.dataset.label_names import alike_names, tidy_name


def test_blanks_and_unicode_form():
    # "é" as one character, and as "e" with a combining accent.
    assert tidy_name(" cafe\u0301\u00a0 noir\t") == "caf\u00e9 noir"
    assert tidy_name("Cup") == "Cup"


def test_twins():
    names = ["cup", "Cup", "cat", "icecream", "ice cream", "cafe\u0301", "caf\u00e9"]
    assert alike_names(names) == [
        ["cup", "Cup"],
        ["icecream", "ice cream"],
        ["cafe\u0301", "caf\u00e9"],
    ]
    assert alike_names(["cup", "cup"]) == []
