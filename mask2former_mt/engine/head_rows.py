"""Rows of the label heads: each stands for a class or a value, the last one for none of them."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from mask2former_mt.label_lists import Labels, shown

_COLUMNS = ("", "kept", "new, starts afresh", "only in the checkpoint")


def rows_of(parameter: str, labels: Labels) -> tuple[str, ...] | None:
    """What a parameter's rows but the last stand for; None where it is no head of these labels.

    Args:
        parameter: a name such as "...class_embed.weight" or "...subcategory_embed.style.bias".
    """
    *_, owner, name, _ = ("", "", *parameter.split("."))
    if name == "class_embed":
        return labels.class_names
    if owner == "subcategory_embed":
        return next((s.values for s in labels.spec if s.name == name), None)
    return None


def take_rows(
    source: Mapping[str, torch.Tensor],
    own: Mapping[str, torch.Tensor],
    theirs: Labels,
    ours: Labels,
) -> dict[str, torch.Tensor]:
    """Heads whose rows are the source's where it has a label of that name, and our own elsewhere.

    Args:
        source: state dict of a model of `theirs`.
        own: state dict of a model of `ours`.

    Returns:
        The parameters of heads that both have, shaped as `own`.

    Raises:
        ValueError: the source has another number of rows than `theirs` say.
    """
    taken = {}
    for parameter in own.keys() & source.keys():
        our_rows, their_rows = rows_of(parameter, ours), rows_of(parameter, theirs)
        if our_rows is None or their_rows is None:
            continue
        value, given = own[parameter].clone(), torch.as_tensor(source[parameter])
        if len(given) != len(their_rows) + 1:
            raise ValueError(
                f"{parameter} has {len(given)} rows, but the checkpoint's record of labels needs "
                f"{len(their_rows)} + 1: {shown(their_rows)}; it is of other weights"
            )
        if given.shape[1:] != value.shape[1:]:
            continue  # of another width: nothing of it fits
        for row, name in enumerate(our_rows):
            if name in their_rows:
                value[row] = given[their_rows.index(name)]
        value[-1] = given[-1]
        taken[parameter] = value
    return taken


def describe_rows(theirs: Labels, ours: Labels) -> str:
    """A table of the heads: which labels are kept, which are new, which are gone."""
    rows = [_COLUMNS, _row("class", theirs.class_names, ours.class_names)]
    for subcategory in ours.spec:
        values = next((s.values for s in theirs.spec if s.name == subcategory.name), ())
        rows.append(_row(subcategory.name, values, subcategory.values))
    for subcategory in theirs.spec:
        if subcategory.name not in ours.spec.names:
            rows.append(_row(subcategory.name, subcategory.values, ()))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return "\n".join(lines)


def _row(head: str, theirs: tuple[str, ...], ours: tuple[str, ...]) -> tuple[str, ...]:
    groups = (
        [name for name in ours if name in theirs],
        [name for name in ours if name not in theirs],
        [name for name in theirs if name not in ours],
    )
    return head, *(shown(names).strip("[]") or "-" for names in groups)
