"""The subcategory heads on the queries."""

from __future__ import annotations

import torch
from torch import nn

from mask2former_mt.structures import SubcategorySpec

# B images, Q queries, C channels


class SubcategoryHeads(nn.ModuleDict):
    """One linear classifier per subcategory, each with a slot for none and background.

    Keys are the subcategories' names. The number of outputs follows from the spec: K_s + 1, because
    unmatched queries are taught index K_s.

    Args:
        channels: C, width of the queries.
        spec: the subcategories; may be empty.

    Raises:
        ValueError: a name that every torch module uses itself, such as "training".
    """

    def __init__(self, *, channels: int, spec: SubcategorySpec) -> None:
        super().__init__()
        for subcategory in spec:
            if subcategory.name in vars(self):
                raise ValueError(
                    f"a subcategory must not be called {subcategory.name!r}: every torch module "
                    "has such a variable; rename it in the dataset JSON"
                )
            # ModuleDict would refuse the names of a module's methods too, such as "type".
            self._modules[subcategory.name] = nn.Linear(channels, subcategory.num_values + 1)

    def forward(self, queries: torch.Tensor) -> dict[str, torch.Tensor]:
        """(B, Q, C) -> per name (B, Q, K_s+1)."""
        return {name: head(queries) for name, head in self.items()}
