"""The commands that look something up: `kinds`, what one may name, and `explain`, what a word means."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer

from vgcore import _core
from vgcore.model.given import shown
from vgcore.model.kinds import KindInfo, kinds
from vgcore.model.names import nearest
from vgcore.shell.complete import choices
from vgcore.show.glossary import SORTS, Word, find, normal
from vgcore.show.page import wrapped

MOST = 100  # columns of a line of text
MANY = 6  # words that a hint lists
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def _named(incomplete: str) -> list[str]:
    return choices(*_core.FAMILIES, *dict.fromkeys(kind.name for kind in kinds()))(incomplete)


def _explained(incomplete: str) -> list[str]:
    from vgcore.judge.glossary import glossary

    return choices(*dict.fromkeys(word.name for word in glossary()))(incomplete)


def list_kinds(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A family, such as activation, or a kind, such as gelu.", show_default=False, autocompletion=_named
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the families, all kinds of one, or one kind in full."""
    every = kinds()
    if name is None:
        found: Sequence[KindInfo] = every
    else:
        family = _family(name)
        found = [kind for kind in every if kind.family == family] or _called(name)
    if not found:
        names = {normal(family): family for family in _core.FAMILIES} | _spelled(every)
        raise ValueError(
            f"unknown kind {shown(str(name))}{_near(str(name), names)}; "
            f"`vgcore kinds` lists all, by family: {', '.join(_core.FAMILIES)}"
        )
    if as_json:
        _print_json([kind.to_dict() for kind in found])
    elif name is None:
        _print(_families(found))
    elif _family(name):
        _print([(False, 0, found[0].letters), (False, 0, ""), *(line for kind in found for line in _short(kind))])
    else:
        _print(line for kind in found for line in _whole(kind))


def _family(name: str) -> str | None:
    """The family of a name, which may be a plural or have hyphens."""
    return next((family for family in _core.FAMILIES if normal(family) == normal(name)), None)


def _called(text: str) -> list[KindInfo]:
    """The kinds of this name or synonym, with or without their numbers, as in `leaky_relu(0.1)`."""
    wanted = normal(text.partition("(")[0])
    return [kind for kind in kinds() if wanted in map(normal, (kind.name, *kind.aliases))]


def _spelled(every: Sequence[KindInfo]) -> dict[str, str]:
    """The names of kinds and their synonyms, by how they are looked up."""
    return {normal(name): name for kind in every for name in (*kind.aliases, kind.name)}


#: A line of text, with whether it is a head, and how far it is indented.
Line = tuple[bool, int, str]


def _families(every: Sequence[KindInfo]) -> Iterator[Line]:
    for family in _core.FAMILIES:
        names = [kind.name for kind in every if kind.family == family]
        yield True, 0, f"{family} ({len(names)})"
        yield False, 4, ", ".join(names)
    yield False, 0, ""
    yield False, 0, "vgcore kinds activation: the formulas of a family; vgcore kinds gelu: all about one."


def _short(kind: KindInfo) -> Iterator[Line]:
    yield True, 0, kind.call
    yield from ((False, 4, part) for part in kind.formula.split("; "))
    yield False, 4, kind.source
    yield False, 0, ""


def _whole(kind: KindInfo) -> Iterator[Line]:
    yield True, 0, f"{kind.family}: {kind.name}"
    yield False, 4, kind.summary
    yield from ((False, 4, part) for part in kind.formula.split("; "))
    for param in kind.params:
        must = "must be given" if param.required else "" if param.default is not None else "follows from the others"
        yield False, 4, f"{param}: {param.allowed}{'; ' if must else ''}{must}"
    if kind.aliases:
        yield False, 4, f"also called {', '.join(kind.aliases)}"
    yield False, 4, f"letters: {kind.letters}"
    yield False, 4, f"source: {kind.source}"
    yield False, 0, ""


def explain(
    word: Annotated[
        list[str] | None,
        typer.Argument(
            help="Such as vanishing, log10_delta_rms or depth limit.", show_default=False, autocompletion=_explained
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print what a word means, or all words that are explained."""
    from vgcore.judge.glossary import glossary

    text, every = " ".join(word or []), glossary()
    found: Sequence[Word] = find(text, every) if word else every
    if not found and _called(text):
        list_kinds(text, as_json)
        return
    if not found:
        names = _spelled(kinds()) | {
            normal(name): each.name for each in every[::-1] for name in (each.name, *each.synonyms)
        }
        raise ValueError(f"no such word: {shown(text)}{_near(text, names)}; `vgcore explain` lists all")
    if as_json:
        _print_json([dataclasses.asdict(each) for each in found])
    elif word:
        _print(line for each in found for line in _entry(each))
    else:
        _print(_words(every))


def _near(text: str, names: Mapping[str, str]) -> str:
    """What may have been meant, of names by how they are looked up: those that hold the text, else the nearest."""
    if not (wanted := normal(text)):
        return ""
    holding = sorted((key for key in names if wanted in key), key=lambda key: (not key.startswith(wanted), len(key)))
    found = [names[key] for key in holding]
    if not found and (near := nearest(wanted, names)):
        found = [names[near]]
    return f" (did you mean {' or '.join(map(repr, [*dict.fromkeys(found)][:MANY]))}?)" if found else ""


def _words(every: Sequence[Word]) -> Iterator[Line]:
    for sort, title in SORTS.items():
        yield True, 0, title
        yield False, 4, ", ".join(each.name for each in every if each.sort == sort)


def _entry(word: Word) -> Iterator[Line]:
    yield True, 0, f"{word.name} ({word.sort})" if word.sort not in {"head", "net"} else word.name
    yield False, 4, word.text
    if word.formula:
        yield False, 4, f"formula: {word.formula}"
    if word.remedy:
        yield False, 4, f"what helps: {word.remedy}"
    if word.see:
        yield False, 4, f"see also: {', '.join(word.see)}"
    yield False, 0, ""


def _print(lines: Iterable[Line]) -> None:
    """Print lines folded at spaces to the width of the terminal."""
    from vgcore.shell import tables

    console = tables.terminal()
    width = min(console.width, MOST)
    for head, indent, line in lines:
        folded = wrapped(line, width - indent, indent=0 if head else 2, whole=True)
        text = "\n".join(f"{' ' * indent}{part}".rstrip() for part in folded)
        console.print(text, style="bold" if head else None, markup=False, soft_wrap=True)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))
