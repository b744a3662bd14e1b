"""Draws training samples: do image and masks move alike, and what does augmentation take away?"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from mask2former_mt.check.alignment import measure_sample
from mask2former_mt.data.mapper import MultiTaskInstanceMapper
from mask2former_mt.structures import GT_CLASSES, GT_SUBCATEGORIES, UNKNOWN
from mask2former_mt.visualization import LabelNames, contact_sheet
from mask2former_mt.visualization.pages import printable
from mask2former_mt.visualization.sample_panel import COLUMNS, MAX_SIDE, draw_sample

_MAX_SHOWN = 12  # samples in the panel


@dataclasses.dataclass
class AugmentedCheck:
    """What `check_augmented` found in N samples.

    Args:
        names: of the classes and subcategories.
        alignments: float (N,), the mean alignment IoU of each sample that could be made.
        soft_pixels: pixels of all masks that are neither 0 nor 1.
        faults: file and message of each sample that is misaligned or cannot be made.
        lost: by class index, the objects of the pictures drawn that are not in the sample.
        pasted: instances that came from other pictures.
        before: by class (-1, index) and label (subcategory, label), the objects annotated in the
            pictures drawn.
        after: the same of the samples' instances.
        panel: uint8 RGB, the first samples, misaligned ones in front; None without a sample.
    """

    names: LabelNames
    alignments: list[float] = dataclasses.field(default_factory=list)
    soft_pixels: int = 0
    faults: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    lost: Counter[int] = dataclasses.field(default_factory=Counter)
    pasted: int = 0
    before: Counter[tuple[int, int]] = dataclasses.field(default_factory=Counter)
    after: Counter[tuple[int, int]] = dataclasses.field(default_factory=Counter)
    panel: np.ndarray | None = None

    def to_json(self) -> dict:
        """Everything but the panel.

        Returns:
            `samples`; `faults`, each `{"file", "message"}`; `alignment` with `mean` and `lowest`,
            None without a sample; `soft_pixels`; `objects` with `annotated`, `lost`, `pasted`
            and `classes`, {name: {annotated, lost}}; `shares` in [0, 1] of the instances, with
            `classes`, {name: {before, after}}, and `subcategories`, the same by value.
        """
        alignments = self.alignments
        annotated = {i: self.before[-1, i] for i in range(len(self.names.classes))}
        return {
            "samples": len(alignments),
            "faults": [{"file": file, "message": message} for file, message in self.faults],
            "alignment": {
                "mean": sum(alignments) / len(alignments) if alignments else None,
                "lowest": min(alignments, default=None),
            },
            "soft_pixels": self.soft_pixels,
            "objects": {
                "annotated": sum(annotated.values()),
                "lost": self.lost.total(),
                "pasted": self.pasted,
                "classes": {
                    name: {"annotated": annotated[i], "lost": self.lost[i]}
                    for i, name in enumerate(self.names.classes)
                },
            },
            "shares": {
                "classes": self._shares(-1, dict(enumerate(self.names.classes))),
                "subcategories": {
                    subcategory.name: self._shares(
                        column,
                        {
                            **dict(enumerate(subcategory.values)),
                            subcategory.none_index: "(none)",
                            UNKNOWN: "(unknown)",
                        },
                    )
                    for column, subcategory in enumerate(self.names.spec)
                },
            },
        }

    def text(self) -> str:
        """What a person wants to know, in lines."""
        numbers = self.to_json()
        objects, alignment = numbers["objects"], numbers["alignment"]
        lines = [f"Augmented samples: {numbers['samples']}"]
        if self.alignments:
            lines += [
                f"  alignment IoU of image and masks: mean {alignment['mean']:.3f}, lowest "
                f"{alignment['lowest']:.3f}",
                f"  soft pixels: {self.soft_pixels}",
                f"  lost objects: {objects['lost']} of {objects['annotated']} annotated; "
                f"{objects['pasted']} pasted",
            ]
            lines += [
                f"    {name}: {counts['lost']} of {counts['annotated']}"
                for name, counts in objects["classes"].items()
                if counts["lost"]
            ]
            shares = {"class": numbers["shares"]["classes"], **numbers["shares"]["subcategories"]}
            lines.append("  shares before and after augmentation:")
            for group, rows in shares.items():
                lines += [
                    f"    {group} {name}: {share['before']:.1%}, {share['after']:.1%}"
                    for name, share in rows.items()
                    if share["before"] or share["after"]
                ]
        lines += [f"  error: {file}: {message}" for file, message in self.faults]
        return "\n".join(map(printable, lines))

    def _shares(self, group: int, names: Mapping[int, str]) -> dict[str, dict[str, float]]:
        totals = [
            max(sum(counts[group, i] for i in names), 1) for counts in (self.before, self.after)
        ]
        return {
            name: {
                "before": self.before[group, i] / totals[0],
                "after": self.after[group, i] / totals[1],
            }
            for i, name in names.items()
        }


def check_augmented(
    mapper: MultiTaskInstanceMapper,
    records: Sequence[Mapping],
    *,
    samples: int,
    names: LabelNames,
    progress: Callable[[range], Iterator[int]] = iter,
) -> AugmentedCheck:
    """Draws training samples and looks at each.

    Args:
        mapper: of training; makes the samples 0, 1, ... of its seed.
        records: dataset dicts of the training split, at least one.
        samples: how many to draw; each record once before any comes again.
        names: of the classes and subcategories.
        progress: wraps the numbers of the samples, as tqdm does.
    """
    result = AugmentedCheck(names)
    mapper.paste_from(records)
    order = np.random.default_rng(mapper.seed).permutation(len(records))
    # Whether a sample is sound, its title and its picture.
    shown: list[tuple[bool, str, np.ndarray]] = []
    for draw in progress(range(samples)):
        record = {**records[int(order[draw % len(order)])], "draw": draw}
        try:
            sample = mapper(record)
        except (ValueError, OSError) as error:
            result.faults.append((str(record["file_name"]), str(error)))
            continue
        fault = _measure(mapper, record, sample, result)
        title = f"{Path(sample['file_name']).name} ({sample['draw']})"
        title = f"MISALIGNED {title}" if fault else title
        shown.append((not fault, title, draw_sample(sample, names, mapper.image_format)))
        # Misaligned ones first.
        shown = sorted(shown, key=lambda cell: cell[0])[:_MAX_SHOWN]
    if shown:
        _, titles, pictures = zip(*shown, strict=True)
        result.panel = contact_sheet(pictures, COLUMNS, titles=titles, cell_width=MAX_SIDE)
    return result


def _measure(
    mapper: MultiTaskInstanceMapper, record: Mapping, sample: Mapping, result: AugmentedCheck
) -> str | None:
    """Adds what is found in a sample to the result; returns what is wrong with its alignment."""
    alignment = measure_sample(mapper, record, sample)
    result.alignments.append(alignment.mean)
    result.soft_pixels += alignment.soft_pixels
    if alignment.fault:
        message = f"draw {sample['draw']}: {alignment.fault}"
        result.faults.append((sample["file_name"], message))
    kept = {position for layer, position in sample["origins"] if layer == 0}
    result.pasted += len(sample["origins"]) - len(kept)
    spec = result.names.spec
    applies = spec.applicable(result.names.classes)
    unknown = [UNKNOWN] * len(spec)
    annotations = mapper.annotations_of(record, (sample["height"], sample["width"]))
    for position, annotation in enumerate(annotations):
        class_ = annotation["category_id"]
        result.lost[class_] += position not in kept
        result.before[-1, class_] += 1
        labels = annotation.get("subcategories", unknown)
        result.before.update(itertools.compress(enumerate(labels), applies[class_]))
    instances = sample["instances"]
    classes = instances.get(GT_CLASSES).tolist()
    for class_, labels in zip(classes, instances.get(GT_SUBCATEGORIES).tolist(), strict=True):
        result.after[-1, class_] += 1
        result.after.update(itertools.compress(enumerate(labels), applies[class_]))
    return alignment.fault
