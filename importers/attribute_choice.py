"""From a source's attributes to subcategories: which attributes become some, and the labels."""

from __future__ import annotations

from collections.abc import Mapping

from mask2former_mt.importers.class_names import note_alike, tidy_name
from mask2former_mt.importers.source import ImportOptions, Report, Source, SourceObject, Texts

from mask2former_mt.structures import Subcategory, SubcategorySpec

# An object without the attribute is unknown, none, or none where no object of its class has it.
ABSENT_CHOICES = ("unknown", "none", "by-class")
# An object with several texts of one attribute is unknown, keeps the first, or is refused.
SEVERAL_CHOICES = ("unknown", "first", "refuse")
YES_NO = ("no", "yes")
# Texts are a choice if there are at least so many objects for each, or if there are only few texts.
_OBJECTS_PER_TEXT = 2
_FEW_TEXTS = 3
# What annotation tools write where nothing was chosen: CVAT's name for "no choice yet", or no text.
_UNFILLED = ("", "__undefined__")
# What CVAT adds to every object for its own use.
_BOOKKEEPING = ("keyframe", "label_id", "rotation", "track_id")


class Survey:
    """Turns attributes of any JSON type into texts, and remembers which there were.

    Yes/no values, texts and lists of texts can become subcategories; numbers only where they are
    asked for by name; anything else cannot. Names and texts are tidied.
    """

    def __init__(self) -> None:
        self._texts: dict[str, dict[str, None]] = {}
        self._kinds: dict[str, set[str]] = {}
        # How many objects have a text.
        self._num_objects: dict[str, int] = {}
        # Names, and texts by name, that were tidied; each with what it is called.
        self._tidied_names: dict[str, str] = {}
        self._tidied_texts: dict[str, dict[str, str]] = {}

    def add(self, attributes: Mapping[str, object]) -> dict[str, Texts]:
        """The texts of one object's attributes; None where nothing was filled in."""
        texts: dict[str, Texts] = {}
        for given_name, value in attributes.items():
            name = tidy_name(given_name)
            if name != given_name:
                self._tidied_names[given_name] = name
            more = self._add(name, value)
            texts[name] = tuple(dict.fromkeys((*(texts.get(name) or ()), *more))) or None
        return texts

    def _add(self, name: str, value: object) -> tuple[str, ...]:
        kinds = self._kinds.setdefault(name, set())
        seen = self._texts.setdefault(name, {})
        texts = []
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, bool):
                kinds.add("bool")
                texts.append(YES_NO[item])
            elif isinstance(item, str):
                text = tidy_name(item)
                if text not in _UNFILLED:
                    kinds.add("text")
                    texts.append(text)
                    if text != item:
                        self._tidied_texts.setdefault(name, {})[item] = text
            elif isinstance(item, (int, float)):
                kinds.add("number")
                texts.append(_number_text(item))
            elif item is not None:
                kinds.add("other")
        seen.update(dict.fromkeys(texts))
        self._num_objects[name] = self._num_objects.get(name, 0) + bool(texts)
        return tuple(texts)

    def choose(self, options: ImportOptions, report: Report) -> dict[str, list[str]]:
        """The attributes that become subcategories, with their texts in a fixed order.

        Raises:
            ValueError: one that was asked for is not there or cannot become a subcategory.
        """
        asked_for = options.subcategories
        chosen = {}
        for name in sorted(self._kinds) if asked_for is None else asked_for:
            if name not in self._kinds:
                raise ValueError(
                    f"--subcategories: no object has an attribute {name!r}; "
                    f"there are {sorted(self._kinds)}"
                )
            why = self._hindrance(name, options)
            if not why:
                chosen[name] = self._ordered(name)
            elif asked_for is None:
                report.note(f"attribute {name!r} is left out: it {why}")
            else:
                raise ValueError(f"--subcategories: attribute {name!r} {why}")
        for given, name in self._tidied_names.items():
            report.note(f"attribute {given!r} is called {name!r}")
        for name in chosen:
            for given, text in self._tidied_texts.get(name, {}).items():
                report.note(f"value {given!r} of attribute {name!r} is called {text!r}")
        return chosen

    def _hindrance(self, name: str, options: ImportOptions) -> str | None:
        """Why the attribute cannot become a subcategory, or does not unless it is asked for."""
        kinds, texts = self._kinds[name], self._texts[name]
        if "other" in kinds:
            return "holds more than texts, numbers and yes/no"
        if not texts:
            return "is set on no object"
        limit = options.max_values
        if limit is None and options.subcategories is None:
            limit = max(_FEW_TEXTS, self._num_objects[name] // _OBJECTS_PER_TEXT)
        if limit is not None and len(texts) > limit:
            return (
                f"has {len(texts)} different values, free text rather than a choice (on "
                f"{self._num_objects[name]} objects); --max-values {len(texts)} allows them"
            )
        if options.subcategories is None:
            if name in _BOOKKEEPING:
                return "is CVAT's own"
            if "number" in kinds:
                return "holds numbers"
            if len(texts) == 1:
                return f"is {next(iter(texts))!r} wherever it is set"
        return None

    def _ordered(self, name: str) -> list[str]:
        kinds, texts = self._kinds[name], self._texts[name]
        if kinds == {"bool"}:
            return list(YES_NO)
        if kinds == {"number"}:
            return sorted(texts, key=lambda text: (float(text), text))
        return sorted(texts)


def _number_text(value: float) -> str:
    # CVAT writes whole numbers as 3.0.
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.6g}"
    return str(int(value))


class Labeller:
    """Gives objects their labels, as an annotation of the JSON holds them.

    Args:
        source: with the attributes that become subcategories.
        options: what several texts, texts for none and missing attributes become.
        report: gets what could not be kept.

    Raises:
        ValueError: a name that a subcategory cannot have, or an attribute without a text left.
    """

    def __init__(self, source: Source, options: ImportOptions, report: Report) -> None:
        self._options = options
        self._report = report
        self._absent_is_unknown = source.absent_is_unknown or options.absent == "unknown"
        subcategories = []
        self._names: dict[str, str] = {}
        for attribute, texts in source.attributes.items():
            # A subcategory's name becomes part of a state-dict key.
            name = attribute.replace(".", "_")
            if name != attribute:
                report.note(f"attribute {attribute!r} is called {name!r}, without the dot")
            values = tuple(text for text in texts if text not in options.none_values)
            if not values:
                raise ValueError(
                    f"--none-values leaves attribute {attribute!r} without a value, it has {texts}"
                )
            subcategories.append(Subcategory(name, values))
            self._names[attribute] = name
            note_alike(f"values of {name!r}", values, report)
        self.spec = SubcategorySpec(tuple(subcategories))
        note_alike("subcategories", self.spec.names, report)
        # By class: the attributes that some of its objects have.
        self._carried: dict[int, set[str]] = {}
        if options.absent == "by-class":
            for split in source.splits:
                for item in split.objects:
                    carried = self._carried.setdefault(item.entry["category_id"], set())
                    carried.update(item.attributes)

    def labels(self, item: SourceObject) -> dict[str, str | None]:
        """Value per subcategory, None for none; what is unknown is left out."""
        labels = {}
        for attribute, name in self._names.items():
            texts = item.attributes.get(attribute, self._absent(attribute, item))
            if texts is None:
                continue
            values = [text for text in texts if text not in self._options.none_values]
            if len(values) <= 1:
                labels[name] = values[0] if values else None
            elif self._options.several == "refuse":
                self._report.refuse(
                    f"{item.origin}: {attribute!r} must have one value, got {values}; a "
                    "subcategory holds one: correct it, or choose --several unknown or first"
                )
            else:
                takes_first = self._options.several == "first"
                become = "the first taken" if takes_first else "now unknown"
                self._report.note(f"objects with several values of {name!r}, {become}", item.origin)
                if takes_first:
                    labels[name] = values[0]
        return labels

    def _absent(self, attribute: str, item: SourceObject) -> Texts:
        """What it means that the object does not have the attribute."""
        carried = self._carried.get(item.entry["category_id"], ())
        return None if self._absent_is_unknown or attribute in carried else ()
