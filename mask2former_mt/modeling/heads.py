"""Prediction heads on the queries: main class, mask embedding, and one head per subcategory."""

from __future__ import annotations

import torch
from torch import nn

from mask2former_mt.layers.mlp import MLP
from mask2former_mt.structures import SubcategorySpec

# B images, Q queries, C channels


class SubcategoryHeads(nn.ModuleDict):
    """One linear classifier per subcategory, each with a slot for none and background.

    Keys are the subcategories' names. Nobody passes a number of outputs: they follow from the
    spec, K_s + 1, because unmatched queries are taught index K_s.

    Args:
        channels: C of the queries.
        spec: the subcategories; may be empty.

    Raises:
        ValueError: a name that torch itself needs ("training").
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


def class_head(*, channels: int, num_classes: int) -> nn.Linear:
    """The main class head: K classes and "no object"."""
    if num_classes < 1:
        raise ValueError(
            f"MODEL.SEM_SEG_HEAD.NUM_CLASSES must be at least 1, got {num_classes}; name a "
            "training dataset or set it"
        )
    return nn.Linear(channels, num_classes + 1)


def mask_embedding_head(*, channels: int, mask_dim: int) -> MLP:
    """Three linear layers whose output, times the mask features, is the mask."""
    return MLP(in_channels=channels, hidden_channels=channels, out_channels=mask_dim, num_layers=3)
