"""Names of classes and values that look like sides: a mirroring turns one into the other."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from mask2former_mt.structures import Subcategory, SubcategorySpec

# Words of one side and of the other, each as a whole; a side is believed where the other one is
# there too, because "right" is also what is not wrong.
_SIDES = (
    (
        "left lefthand lefthanded leftward leftwards leftmost lh lhs port",
        "right righthand righthanded rightward rightwards rightmost rh rhs starboard",
    ),
    ("l", "r"),
    ("counterclockwise anticlockwise ccw acw", "clockwise cw"),
    # German and Dutch
    ("links linke linker linkes linken", "rechts rechte rechter rechtes rechten"),
    ("gauche gauches", "droite droites droit"),
    ("izquierda izquierdo izquierdas izquierdos izq", "derecha derecho derechas derechos der dcha"),
    ("sinistra sinistro sinistre sinistri sx", "destra destro destre destri dx"),
    ("esquerda esquerdo", "direita direito"),
    ("esquerra esquerre", "dreta dret"),
    ("stanga stânga stâng stang", "dreapta drept"),
    # Swedish, Danish and Norwegian, Finnish
    ("vänster vänstra venstre vasen vasemmalla", "höger högra højre høyre oikea oikealla"),
    ("lewy lewa lewe lewo", "prawy prawa prawe prawo"),
    ("levý levá levé vlevo", "pravý pravá pravé vpravo"),
    ("левый левая левое левые слева лево", "правый правая правое правые справа право"),
    ("лівий ліва ліве ліворуч", "правий права праве праворуч"),
    ("αριστερά αριστερό αριστερός αριστερή", "δεξιά δεξί δεξιός"),
    ("sol", "sağ sag"),
    ("bal", "jobb"),
    ("kiri", "kanan"),
    ("trái", "phải"),
    ("يسار أيسر يسرى", "يمين أيمن يمنى"),
    ("שמאל שמאלי שמאלית", "ימין ימני ימנית"),
)
_SIDE_OF_WORD = {
    word: (language, side)
    for language, sides in enumerate(_SIDES)
    for side, words in enumerate(sides)
    for word in words.split()
}
# Written without blanks between words, or with signs that are no letters: anywhere in a name.
_SIDES_WITHIN = (("左", "右"), ("왼", "오른"), ("ซ้าย", "ขวา"), ("बाय", "दाय"), ("बाए", "दाए"))
_WORD = re.compile(r"\d+|[^\W\d_]+")
# Where the next word of LeftShoe begins.
_CAPITAL = re.compile(r"(?<=[a-zß-ÿ])(?=[A-ZÀ-Þ])|(?<=[^\W\d_])(?=[A-ZÀ-Þ][a-zß-ÿ])")
# Abbreviations of other places that stand beside a bare "l" and "r": centre, middle.
_BARE_LETTERS = {"l", "r", "c", "m"}


class SideNames(NamedTuple):
    """Names that look like two sides of the same thing.

    Args:
        left, right: the names of each side, none of them empty.
        pairs: those that differ by nothing else, as `flip` lists them; may be empty.
    """

    left: list[str]
    right: list[str]
    pairs: dict[str, str]


def find_sides(names: Iterable[str], *, without: Collection[str] = ()) -> SideNames | None:
    """The names that look like sides; None where one side or both have none.

    Args:
        names: of classes or of a subcategory's values.
        without: names that are not looked at, because what a mirroring makes of them is known.
    """
    words_of = {name: _words(name) for name in names}
    bare = {words[0] for words in words_of.values() if len(words) == 1 and len(words[0]) == 1}
    is_alphabet = not {letter for letter in bare if letter.isascii()} <= _BARE_LETTERS
    # By language and side, each name with the other words that it has.
    groups: dict[tuple[object, int], dict[str, list[str]]] = {}
    for name, words in words_of.items():
        if name in without or (is_alphabet and len(words) == 1 and words[0] in ("l", "r")):
            continue
        for language, side, rest in _sides_in(name, words):
            groups.setdefault((language, side), {})[name] = rest
    found = SideNames([], [], {})
    for (language, side), left in groups.items():
        right = groups.get((language, 1))
        if side or not right:
            continue
        found.left.extend(name for name in left if name not in found.left)
        found.right.extend(name for name in right if name not in found.right)
        for name, rest in left.items():
            partners = [other for other, words in right.items() if words == rest]
            if len(partners) == 1 and partners[0] not in found.pairs.values():
                found.pairs[name] = partners[0]
    return found if found.left else None


def unflipped_sides(class_names: Sequence[str], spec: SubcategorySpec) -> list[tuple[str, str]]:
    """What a training with flips would teach wrongly, as far as names tell.

    Returns:
        Messages and remedies: a class or a value that looks like a side, of which nobody says what
        a mirroring makes of it.
    """
    found = [_of_subcategory(subcategory) for subcategory in spec]
    sides = find_sides(class_names)
    if sides is not None:
        message = (
            f"the classes {_listed(sides.left)} and {_listed(sides.right)} look like sides: a flip "
            "turns one into the other, and the class stays"
        )
        remedy = (
            "make one class of both, and of the side a subcategory with a 'flip', or train without "
            "flips (INPUT.RANDOM_FLIP none)"
        )
        found.append((message, remedy))
    return [warning for warning in found if warning is not None]


def _of_subcategory(subcategory: Subcategory) -> tuple[str, str] | None:
    known = {value for pair in subcategory.flip for value in pair}
    sides = find_sides(subcategory.values, without=known)
    if sides is None:
        return None
    message = (
        f"the values {_listed(sides.left)} and {_listed(sides.right)} of subcategory "
        f"{subcategory.name!r} look like sides: a flip turns one into the other, and the label "
        "stays"
    )
    pairs = dict(subcategory.flip) | (sides.pairs or {sides.left[0]: sides.right[0]})
    written = ", ".join(f'"{value}": "{partner}"' for value, partner in pairs.items())
    remedy = (
        f'add "flip": {{{written}}} to the subcategory, or train without flips '
        "(INPUT.RANDOM_FLIP none)"
    )
    return message, remedy


def _words(name: str) -> list[str]:
    """The words and numbers of names such as "left shoe", "shoe_left" and "LeftShoe"."""
    return [word.casefold() for word in _WORD.findall(_CAPITAL.sub(" ", _composed(name)))]


def _composed(name: str) -> str:
    """The name with each letter and its accents as one character."""
    return unicodedata.normalize("NFC", name)


def _sides_in(name: str, words: list[str]) -> Iterable[tuple[object, int, list[str]]]:
    """Language, side and the other words, sorted, of each side that a name speaks of."""
    for position, word in enumerate(words):
        if word in _SIDE_OF_WORD:
            yield *_SIDE_OF_WORD[word], sorted(words[:position] + words[position + 1 :])
    for letters in _SIDES_WITHIN:
        for side, letter in enumerate(letters):
            if letter in _composed(name) and letters[1 - side] not in _composed(name):
                yield letters, side, [_composed(name).replace(letter, "")]


def _listed(names: list[str]) -> str:
    shown = ", ".join(map(repr, names[:3]))
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
