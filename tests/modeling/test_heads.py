"""The subcategory heads: how many outputs they have, and that they are linear."""

from __future__ import annotations

import pytest
import torch

from mask2former_mt.modeling.heads import SubcategoryHeads
from mask2former_mt.structures import SubcategorySpec


def test_subcategory_logits_are_linear_in_the_query():
    heads = SubcategoryHeads(channels=2, spec=SubcategorySpec.from_counts(["fill"], [2]))
    with torch.no_grad():
        heads["fill"].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, -1.0]]))
        heads["fill"].bias.copy_(torch.tensor([0.5, 0.0, -1.0]))
    # Query (3, 4): 3 + 0.5 = 3.5; 2 * 4 = 8; 3 - 4 - 1 = -2.
    logits = heads(torch.tensor([[[3.0, 4.0]]]))["fill"]
    torch.testing.assert_close(logits, torch.tensor([[[3.5, 8.0, -2.0]]]))


def test_a_subcategory_may_be_called_like_a_method_of_modules():
    names = ["type", "keys", "forward", "eval"]
    heads = SubcategoryHeads(channels=4, spec=SubcategorySpec.from_counts(names, [1] * 4))
    assert [key for key in heads.state_dict() if key.endswith("weight")] == [
        f"{name}.weight" for name in names
    ]
    heads.load_state_dict(heads.state_dict())
    assert {p.dtype for p in heads.double().eval().parameters()} == {torch.float64}
    assert list(heads(torch.zeros(1, 2, 4, dtype=torch.float64))) == names


def test_a_name_that_torch_needs_is_refused():
    spec = SubcategorySpec.from_counts(["training"], [2])
    with pytest.raises(ValueError, match=r"must not be called 'training'.*rename it"):
        SubcategoryHeads(channels=4, spec=spec)
