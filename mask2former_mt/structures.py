"""Values that the parts of the package hand to each other: label specs, sizes, decoder outputs."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

# The label of a subcategory that is not annotated on an instance: no cost and no loss.
UNKNOWN = -1

# Names of the fields of detectron2 `Instances`, ground truth and predictions.
GT_CLASSES = "gt_classes"  # int64 (N,), in 0..K-1
GT_MASKS = "gt_masks"  # bool (N, H, W), at the size of the image tensor
GT_SUBCATEGORIES = "gt_subcategories"  # int64 (N, S), each in {-1, 0..K_s}
PRED_CLASSES = "pred_classes"  # int64 (N,)
PRED_MASKS = "pred_masks"  # bool (N, H, W), at the original image's size
PRED_RLES = "pred_rles"  # EncodedMasks (N,) in the place of PRED_MASKS, where those are too large
PRED_BOXES = "pred_boxes"  # Boxes (N, 4) around the masks, xyxy in pixels
SCORES = "scores"  # float (N,)
PRED_SUBCATEGORIES = "pred_subcategories"  # int64 (N, S), each in 0..K_s
SUBCATEGORY_SCORES = "subcategory_scores"  # float (N, S), probability of the predicted value


class EncodedMasks(Sequence):
    """N masks as COCO's compressed RLEs, chosen from like a tensor.

    Args:
        rles: N dicts `{"size": [H, W], "counts": str}`.
    """

    def __init__(self, rles: Sequence[dict]) -> None:
        self.rles = list(rles)

    def __len__(self) -> int:
        return len(self.rles)

    def __getitem__(self, which: int | slice | torch.Tensor) -> dict | EncodedMasks:
        """An RLE, or those of a slice, of a bool (N,) or of int64 positions (M,)."""
        if isinstance(which, int):
            return self.rles[which]
        chosen = torch.arange(len(self.rles))[which.cpu() if torch.is_tensor(which) else which]
        return EncodedMasks([self.rles[i] for i in chosen.tolist()])


@dataclasses.dataclass(frozen=True)
class Subcategory:
    """A named label set that every instance carries, for example `style` with photo and cartoon.

    Args:
        name: name in the dataset JSON, the config and the reports.
        values: the K_s names of its values; index i stands for `values[i]`, K_s for "none".
        has_none: whether an object of the dataset may have no value. The model has an output for
            none either way, since it is the target of the background.
        flip: pairs of values that a mirroring of the object exchanges, such as left and right.
        applies_to: names of the classes whose objects have this subcategory; None: all classes.
            An object of another class has none by definition: that is neither taught nor judged.

    Raises:
        ValueError: no name, no values, a value or a class listed twice, an empty `applies_to`, or
            in `flip` a value that is not listed or has two partners.
    """

    name: str
    values: tuple[str, ...]
    has_none: bool = True
    flip: tuple[tuple[str, str], ...] = ()
    applies_to: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"a subcategory's name must be a non-empty string, got {self.name!r}")
        if "." in self.name:
            # The name becomes part of a state-dict key.
            raise ValueError(f"subcategory name {self.name!r} must not contain a dot")
        if len(self.values) == 0:
            raise ValueError(
                f"subcategory {self.name!r} has 0 values; it needs at least one, "
                "or remove it from the dataset's list"
            )
        if len(set(self.values)) != len(self.values):
            raise ValueError(f"subcategory {self.name!r} lists a value twice: {list(self.values)}")
        self._check_flip()
        if self.applies_to is not None:
            classes = list(self.applies_to)
            if not classes:
                raise ValueError(
                    f"subcategory {self.name!r}: 'applies_to' lists no class; name the classes "
                    "whose objects have it, or leave the key out where all have"
                )
            if len(set(classes)) != len(classes):
                raise ValueError(
                    f"subcategory {self.name!r}: 'applies_to' lists a class twice: {classes}"
                )

    def _check_flip(self) -> None:
        partners: dict[str, str] = {}
        for pair in self.flip:
            for value, partner in (pair, pair[::-1]):
                if value not in self.values:
                    raise ValueError(
                        f"subcategory {self.name!r}: 'flip' names {value!r}, which is no value; "
                        f"listed are {list(self.values)}"
                    )
                if partners.setdefault(value, partner) != partner:
                    raise ValueError(
                        f"subcategory {self.name!r}: 'flip' exchanges {value!r} with "
                        f"{partners[value]!r} and with {partner!r}; a value has one partner, and "
                        "each pair stands for both ways"
                    )

    @property
    def num_values(self) -> int:
        """K_s, without the slot for none."""
        return len(self.values)

    @property
    def none_index(self) -> int:
        """The index of none (not applicable), which is also the target of unmatched queries."""
        return len(self.values)

    def applies(self, class_name: str) -> bool:
        """Whether objects of a class have this subcategory."""
        return self.applies_to is None or class_name in self.applies_to

    @functools.cached_property
    def mirrored(self) -> tuple[int, ...]:
        """The value that a mirroring makes of each value, K_s + 1 indices; none stays none."""
        indices = list(range(self.num_values + 1))
        for pair in self.flip:
            one, other = map(self.values.index, pair)
            indices[one], indices[other] = other, one
        return tuple(indices)

    def value_name(self, index: int) -> str | None:
        """The name of value `index` in 0..K_s; None for none."""
        if not 0 <= index <= self.none_index:
            raise ValueError(
                f"subcategory {self.name!r}: index must be in [0, {self.none_index}], got {index}"
            )
        return None if index == self.none_index else self.values[index]

    def value_index(self, value: str | int | None) -> int:
        """The index in 0..K_s of a value as an annotation writes it: a name, an index or null.

        Raises:
            ValueError: a name that is not listed, or an index outside [-1, K_s].
        """
        if value is None:
            return self.none_index
        if isinstance(value, str):
            if value not in self.values:
                raise ValueError(
                    f"subcategory {self.name!r} has no value {value!r}; "
                    f"listed are {list(self.values)}"
                )
            return self.values.index(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(
                f"subcategory {self.name!r}: a value must be a name, an index or null, "
                f"got {value!r}"
            )
        if not UNKNOWN <= value <= self.none_index:
            raise ValueError(
                f"subcategory {self.name!r}: index must be in [-1, {self.none_index}] "
                f"(-1 unknown, {self.none_index} none), got {value}"
            )
        return value


def numbered(count: int) -> tuple[str, ...]:
    """The names of classes and values that are only counted: 0, 1, ..."""
    return tuple(map(str, range(count)))


@dataclasses.dataclass(frozen=True)
class SubcategorySpec:
    """The S subcategories of a dataset, in the order of every (N, S) tensor's columns.

    Args:
        subcategories: may be empty, then the model is plain Mask2Former.

    Raises:
        ValueError: a name listed twice.
    """

    subcategories: tuple[Subcategory, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"a subcategory is listed twice: {list(self.names)}")

    @classmethod
    def from_json(cls, entries: Sequence[Mapping] | None) -> SubcategorySpec:
        """Reads the dataset JSON's list `[{"name": "style", "values": ["photo", "cartoon"]}]`.

        An entry with `"none": false` says that every object has a value of this subcategory, one
        with `"flip": {"left": "right"}` that mirroring an object exchanges these values, and one
        with `"applies_to": ["cat", "dog"]` that only objects of these classes have it.

        Raises:
            ValueError: an entry that is not of this form.
        """
        subcategories = []
        for entry in entries or ():
            if not isinstance(entry, Mapping) or not {"name", "values"} <= set(entry):
                raise ValueError(
                    "an entry of 'subcategories' must be "
                    f'{{"name": ..., "values": [...]}}, got {entry!r}'
                )
            values = entry["values"]
            if not isinstance(values, (list, tuple)) or not all(isinstance(v, str) for v in values):
                raise ValueError(
                    f"subcategory {entry['name']!r}: 'values' must be a list of strings, "
                    f"got {values!r}"
                )
            has_none = entry.get("none", True)
            if not isinstance(has_none, bool):
                raise ValueError(
                    f"subcategory {entry['name']!r}: 'none' must be true or false (whether an "
                    f"object may have no value), got {has_none!r}"
                )
            flip = entry.get("flip", {})
            if not isinstance(flip, Mapping) or not all(
                isinstance(value, str) for pair in flip.items() for value in pair
            ):
                raise ValueError(
                    f"subcategory {entry['name']!r}: 'flip' must be pairs of values such as "
                    f'{{"left": "right"}}, got {flip!r}'
                )
            applies_to = entry.get("applies_to")
            if "applies_to" in entry and not (
                isinstance(applies_to, (list, tuple))
                and all(isinstance(c, str) for c in applies_to)
            ):
                raise ValueError(
                    f"subcategory {entry['name']!r}: 'applies_to' must be a list of class names, "
                    f"got {applies_to!r}"
                )
            subcategories.append(
                Subcategory(
                    entry["name"],
                    tuple(values),
                    has_none,
                    tuple(flip.items()),
                    tuple(applies_to) if "applies_to" in entry else None,
                )
            )
        return cls(tuple(subcategories))

    @classmethod
    def from_config(cls, keys: Mapping) -> SubcategorySpec:
        """The spec of MODEL.SUBCATEGORY, as `from_counts` makes it.

        Args:
            keys: with NAMES, NUM_CLASSES and APPLIES_TO.
        """
        return cls.from_counts(keys["NAMES"], keys["NUM_CLASSES"], keys["APPLIES_TO"])

    @classmethod
    def from_counts(
        cls,
        names: Sequence[str],
        num_classes: Sequence[int],
        applies_to: Sequence[Sequence[int]] = (),
    ) -> SubcategorySpec:
        """A spec as a config holds it: values and classes are only counted, and named 0, 1, ...

        Args:
            names: S names.
            num_classes: S numbers of values.
            applies_to: per subcategory the indices of the classes that have it, empty for all
                classes; nothing at all: every subcategory is of all classes.

        Raises:
            ValueError: as many names as counts are needed, and each count at least 1.
        """
        if len(names) != len(num_classes):
            raise ValueError(
                f"as many subcategory names as numbers of values are needed, "
                f"got {list(names)} and {list(num_classes)}"
            )
        if applies_to and len(applies_to) != len(names):
            raise ValueError(
                f"one list of classes per subcategory is needed: {list(names)}, "
                f"got {list(applies_to)}"
            )
        return cls(
            tuple(
                Subcategory(
                    name,
                    numbered(count),
                    applies_to=tuple(map(str, classes)) or None,
                )
                for name, count, classes in zip(
                    names, num_classes, applies_to or [()] * len(names), strict=True
                )
            )
        )

    def to_json(self) -> list[dict]:
        """The dataset JSON's list; `from_json` reads it back."""
        return [
            {
                "name": s.name,
                "values": list(s.values),
                **({} if s.has_none else {"none": False}),
                **({"flip": dict(s.flip)} if s.flip else {}),
                **({} if s.applies_to is None else {"applies_to": list(s.applies_to)}),
            }
            for s in self.subcategories
        ]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(s.name for s in self.subcategories)

    @property
    def num_classes(self) -> tuple[int, ...]:
        """K_s of each subcategory, without the slot for none."""
        return tuple(s.num_values for s in self.subcategories)

    @property
    def without_none(self) -> tuple[str, ...]:
        """The names of the subcategories of which every object has a value."""
        return tuple(s.name for s in self.subcategories if not s.has_none)

    @property
    def has_flips(self) -> bool:
        """Whether a mirroring changes any label."""
        return any(s.flip for s in self.subcategories)

    @property
    def is_limited(self) -> bool:
        """Whether some subcategory is of some classes only."""
        return any(s.applies_to is not None for s in self.subcategories)

    def applicable(self, class_names: Sequence[str]) -> list[list[bool]]:
        """Whether objects of each of K classes have each of the S subcategories, K rows of S."""
        classes_S = [s.applies_to and frozenset(s.applies_to) for s in self.subcategories]
        return [[c is None or name in c for c in classes_S] for name in class_names]

    def class_indices(self, class_names: Sequence[str]) -> list[list[int]]:
        """What `from_counts` takes: the classes of each subcategory by index, empty for all.

        Args:
            class_names: of the K classes; those that are not among them are left out.
        """
        if not self.is_limited:
            return []
        return [
            [] if s.applies_to is None else [i for i, c in enumerate(class_names) if s.applies(c)]
            for s in self.subcategories
        ]

    def mirrored_labels(self, labels: Sequence[int]) -> list[int]:
        """The S labels of a mirrored object; unknown and none stay."""
        return [
            label if label == UNKNOWN else s.mirrored[label]
            for s, label in zip(self.subcategories, labels, strict=True)
        ]

    def __len__(self) -> int:
        return len(self.subcategories)

    def __iter__(self):
        return iter(self.subcategories)

    def labels_of(self, annotation: Mapping[str, str | int | None]) -> list[int]:
        """The S label indices of one annotation's `{"style": "photo", "ripeness": null}`.

        Args:
            annotation: value name, index or None per subcategory; a missing key is unknown.

        Returns:
            S ints, each in {-1, 0..K_s}.

        Raises:
            ValueError: a subcategory or a value that is not listed.
        """
        unlisted = set(annotation) - set(self.names)
        if unlisted:
            raise ValueError(
                f"subcategory {sorted(unlisted)[0]!r} is not listed; listed are {list(self.names)}"
            )
        return [
            s.value_index(annotation[s.name]) if s.name in annotation else UNKNOWN for s in self
        ]


def per_subcategory(values: Sequence[float], count: int, key: str) -> tuple[float, ...]:
    """One number per subcategory, from a config list in which a single number stands for all.

    Args:
        values: 1 or `count` numbers, not negative.
        count: S.
        key: the config key, for the error.

    Raises:
        ValueError: neither 1 nor `count` numbers, or a negative one.
    """
    if any(value < 0 for value in values):
        raise ValueError(f"{key} must not be negative, got {list(values)}")
    if len(values) == 1:
        return (float(values[0]),) * count
    if len(values) != count:
        raise ValueError(
            f"{key} must hold 1 number or one per subcategory ({count}), got {list(values)}"
        )
    return tuple(float(value) for value in values)


@dataclasses.dataclass(frozen=True)
class ImageSizes:
    """The sizes that an image has on its way through the model, each (H, W) in pixels.

    Args:
        padded: size of the batch's tensor, on which the network computes.
        image: size of this image inside it, at the top left.
        original: size before the image was resized for the network; predictions have it.
    """

    padded: tuple[int, int]
    image: tuple[int, int]
    original: tuple[int, int]


class MaskFactors(NamedTuple):
    """Mask logits before their product: masks that nobody looks at are never computed.

    Args:
        embedding: float (B, Q, C), one vector per query.
        features: float (B, C, H/4, W/4), mask features on the padded image's stride-4 grid.
    """

    embedding: torch.Tensor
    features: torch.Tensor


class DecoderOutput:
    """What the transformer decoder predicts after one layer, for every query.

    Args:
        pred_logits: float (B, Q, K+1), main class, the last one "no object".
        pred_masks: mask logits on the padded image's stride-4 grid, as the decoder's factors or
            multiplied out, float (B, Q, H/4, W/4).
        pred_subcategories: per name float (B, Q, K_s+1), the last one none and background.
        aux_outputs: the same of each earlier layer, first the learned queries' own.
    """

    def __init__(
        self,
        pred_logits: torch.Tensor,
        pred_masks: torch.Tensor | MaskFactors,
        pred_subcategories: dict[str, torch.Tensor],
        aux_outputs: Sequence[DecoderOutput] = (),
    ) -> None:
        self.pred_logits = pred_logits
        self.pred_subcategories = pred_subcategories
        self.aux_outputs = list(aux_outputs)
        factored = isinstance(pred_masks, MaskFactors)
        self._factors = pred_masks if factored else None
        self._masks = None if factored else pred_masks

    @property
    def mask_factors(self) -> MaskFactors:
        """The factors of the mask logits; of whole masks, a unit vector per query and the masks."""
        if self._factors is not None:
            return self._factors
        B, Q = self._masks.shape[:2]
        return MaskFactors(torch.eye(Q).to(self._masks).expand(B, Q, Q), self._masks)

    @property
    def pred_masks(self) -> torch.Tensor:
        """All mask logits, float (B, Q, H/4, W/4); multiplied out when first asked for."""
        if self._masks is not None:
            return self._masks
        embedding, features = self._factors
        masks = torch.bmm(embedding, features.flatten(2)).unflatten(2, features.shape[-2:])
        # What was made without gradients must not be what a loss finds later.
        if torch.is_grad_enabled() or not (embedding.requires_grad or features.requires_grad):
            self._masks = masks
        return masks

    def masks_of(self, index: int, queries: torch.Tensor) -> torch.Tensor:
        """The mask logits of some queries; only these are multiplied out.

        Args:
            index: image index in the batch.
            queries: int64 (N,), query indices.

        Returns:
            float (N, H/4, W/4).
        """
        if self._masks is not None:
            return self._masks[index, queries]
        embedding, features = self._factors
        masks = embedding[index, queries] @ features[index].flatten(1)
        return masks.unflatten(1, features.shape[-2:])

    @property
    def layers(self) -> list[DecoderOutput]:
        """Every supervised prediction, in the decoder's order; the last one is this output."""
        return [*self.aux_outputs, self]
