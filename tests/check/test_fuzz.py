"""Whatever is in the files is told, or is no harm, or looks like what somebody may have meant."""

from __future__ import annotations

import pytest
from dataset_fuzz import CHANGED, HARMLESS, NAMED, json_outcomes, yaml_outcomes
from picture_fuzz import picture_outcomes


@pytest.mark.parametrize("outcomes", [json_outcomes, yaml_outcomes, picture_outcomes])
def test_no_changed_file_is_a_surprise(outcomes):
    kinds = set()
    for changes, outcome, content in outcomes(250):
        assert outcome.kind in (NAMED, HARMLESS, CHANGED), (changes, outcome, content)
        kinds.add(outcome.kind)
    assert {NAMED, HARMLESS} <= kinds
