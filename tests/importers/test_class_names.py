"""Names are tidied without changing what they say."""

from __future__ import annotations

from mask2former_mt.importers.class_names import tidy_name


def test_blanks_and_unicode_form():
    # "é" as one character, and as "e" with a combining accent.
    assert tidy_name(" cafe\u0301\u00a0 noir\t") == "caf\u00e9 noir"
    assert tidy_name("Cup") == "Cup"
