"""Rows of the label heads: each stands for a class or a value, or for none of them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import torch

from mask2former_mt.label_lists import Labels, shown_names

_COLUMNS = ("", "kept", "new, starts afresh", "only in the checkpoint")


def rows_of(parameter: str, labels: Labels) -> tuple[Hashable, ...] | None:
    """What each row of a parameter stands for; None where it is no head of these labels.

    Args:
        parameter: a name such as "...class_embed.weight" or "...subcategory_embed.style.bias", or
            of Mask R-CNN's heads.

    Returns:
        Names of labels; None for no object or no value; of a box, a name and a number.
    """
    *_, owner, name, _ = ("", "", *parameter.split("."))
    if owner == "subcategory_embed":
        return next(((*s.values, None) for s in labels.spec if s.name == name), None)
    if name in ("class_embed", "cls_score"):
        return (*labels.class_names, None)
    if name == "bbox_pred":
        return tuple((class_name, i) for class_name in labels.class_names for i in range(4))
    if (owner, name) == ("mask_head", "predictor"):
        return labels.class_names
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
        if given.shape[1:] != value.shape[1:] or len(value) != len(our_rows):
            continue  # of another width, or one for all classes
        if len(given) != len(their_rows):
            raise ValueError(
                f"{parameter} has {len(given)} rows, but the checkpoint's record of labels needs "
                f"{len(their_rows)}: {shown_names(their_rows)}; it is of other weights"
            )
        for row, label in enumerate(our_rows):
            if label in their_rows:
                value[row] = given[their_rows.index(label)]
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
    return head, *(shown_names(names).strip("[]") or "-" for names in groups)
