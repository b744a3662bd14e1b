"""The keys of an annotation besides the format's own: read as attributes on request, or named."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from mask2former_mt.importers.source import Request

from mask2former_mt.dataset.problems import shown

_EMPTY = (None, "", [], {})


class OtherKeys:
    """Reads the keys that `ImportOptions.attributes_keys` lists, and names all others.

    Args:
        own: the format's own keys, which its reader takes care of.
        request: with the options and the report.
        remedy: what reads a key, which stands for {}.
    """

    def __init__(
        self,
        own: Collection[str],
        request: Request,
        remedy: str = "--attributes-key {} reads it",
    ) -> None:
        self._own = frozenset(own)
        self._asked_for = request.options.attributes_keys
        self._report = request.report
        self._remedy = remedy
        self._seen: set[str] = set()

    def read(self, entry: Mapping[str, object], origin: str) -> dict[str, list]:
        """The attributes under the keys that were asked for, each with all of its values.

        An object's entries, however deep, are attributes; anything else is one by the key's name.
        """
        attributes: dict[str, list] = {}
        for key, value in entry.items():
            if key in self._own or value in _EMPTY:
                continue
            if key in self._asked_for:
                for name, found in _leaves(key, value):
                    add_values(attributes, name, found)
            else:
                self._report.note(
                    f"annotations with {key!r}, which is not read ({self._remedy.format(key)})",
                    origin if key in self._seen else f"{origin}: {shown(value)}",
                )
            self._seen.add(key)
        return attributes

    def refuse_unseen(self) -> None:
        """Refuses keys that were asked for and that no annotation has."""
        for key in self._asked_for:
            if key not in self._seen:
                self._report.refuse(
                    f"--attributes-key: no annotation has anything under {key!r}; other keys are "
                    f"{sorted(self._seen)}"
                )


def _leaves(key: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(name, inner)
    else:
        yield key, value


def add_values(attributes: dict[str, list], name: str, value: object) -> None:
    """Adds what one place says of an attribute; another may have said something, too."""
    attributes.setdefault(name, []).extend(value if isinstance(value, list) else [value])
