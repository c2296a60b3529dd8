"""Call number i of a seed, as Python source: mostly sound, with one odd value or more."""

from __future__ import annotations

import inspect
import random
from dataclasses import dataclass, replace
from functools import lru_cache

import vgcore as vg
from fuzz import sound, surface, values


@dataclass(frozen=True)
class Call:
    """A call as source: `callee` with {s} for its subject, and its arguments, `name=value` or a value alone."""

    name: str
    callee: str
    subject: str | None
    arguments: tuple[tuple[str | None, str], ...] | None
    way: str = ""

    def source(self) -> str:
        """The call as a reader would type it."""
        made = self.callee.replace("{s}", self.subject or "")
        if self.arguments is None:
            return made
        if "{odd}" in made:
            return made.replace("{odd}", f"({self.arguments[0][1]})")
        return f"{made}({', '.join(text if name is None else f'{name}={text}' for name, text in self.arguments)})"


@lru_cache(1)
def _surface() -> tuple[list[surface.Entry], list[float]]:
    entries, total = surface.entries(), 0.0
    return entries, [total := total + entry.weight for entry in entries]


def call(seed: int, index: int) -> Call:
    """Call number `index` of a seed; nothing else decides it."""
    rng = random.Random(f"{seed}:{index}")
    entries, weights = _surface()
    entry = rng.choices(entries, cum_weights=weights)[0]
    way = rng.choices(("", "threads", "fork"), (988, 10, 2))[0]
    return replace(_call(rng, entry), way=way)


def _call(rng: random.Random, entry: surface.Entry) -> Call:
    subject = rng.choice(entry.subjects) if entry.subjects else None
    if entry.name == "shell":
        return Call(entry.name, "shell", None, tuple((None, word) for word in _words(rng)))
    if entry.callee == "rebuilt":
        field = rng.choice(_fields(entry))
        return Call(entry.name, "rebuilt", None, ((None, subject or "None"), (None, repr(field)), (None, odd(rng))))
    if entry.parameters is None:
        operand = ((None, odd(rng)),) if "{odd}" in entry.callee else None
        return Call(entry.name, entry.callee, subject, operand)
    return Call(entry.name, entry.callee, subject, tuple(_arguments(rng, entry)))


def _fields(entry: surface.Entry) -> list[str]:
    cls = entry.name.partition(":")[0].rpartition(".")[2]
    held = next(getattr(room, cls) for room in (vg, vg.theory, vg.data) if hasattr(room, cls))
    return [*getattr(held, "__dataclass_fields__", ["text"]), "vgcore_format", "unknown"]


def _arguments(rng: random.Random, entry: surface.Entry) -> list[tuple[str | None, str]]:
    """Sound arguments, of which some are replaced by odd ones."""
    assert entry.parameters is not None
    given: list[tuple[inspect.Parameter, str]] = []
    for parameter in entry.parameters:
        texts = sound.of(entry.name, parameter.name)
        many = parameter.kind in {parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL}
        required = parameter.default is parameter.empty and not many
        if texts and (required or rng.random() < 0.35):
            given.append((parameter, rng.choice(texts)))
        elif required:
            given.append((parameter, odd(rng)))
    changed = rng.choices((0, 1, 2, 3), (8, 65, 20, 7))[0]
    chosen = rng.sample(entry.parameters, min(changed, len(entry.parameters)))
    found = dict.fromkeys(parameter.name for parameter in entry.parameters)
    found |= {parameter.name: text for parameter, text in given}
    for parameter in chosen:
        if parameter.kind is parameter.VAR_KEYWORD:
            found[parameter.name] = f"{rng.choice(values.KEYWORDS)}={odd(rng)}"
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            before = found[parameter.name] or next(iter(sound.of(entry.name, parameter.name)), None)
            found[parameter.name] = _spoiled(rng, parameter.name, before)
    made: list[tuple[str | None, str]] = []
    named = False
    for parameter in entry.parameters:
        text = found[parameter.name]
        if text is None:
            named = True
        elif parameter.kind is parameter.VAR_KEYWORD:
            made.append((None, text))
        elif parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD} and not named:
            named = parameter.kind is not parameter.POSITIONAL_ONLY and rng.random() < 0.3
            made.append((parameter.name if named else None, text))
        else:
            made.append((parameter.name, text))
    return made


def _spoiled(rng: random.Random, name: str, before: str | None) -> str:
    """An odd value in the place of a sound one, or within it."""
    if name == "text" and before is not None and rng.random() < 0.9:
        return _json(rng, before)
    if name == "path" and before is not None and before.startswith(("file", "npz", "saved")) and rng.random() < 0.8:
        return _file(rng, before)
    if name == "state" and before is not None and rng.random() < 0.8:
        key = rng.choice(["layers__0__weight", "layers__1__bias", "layers__9__weight", "readout__weight", "x"])
        return f"{before[:-1]}, {key}={rng.choice([odd(rng), '...', 'np.ones((4, 4), np.float32)'])})"
    if before is not None and before.startswith("'") and rng.random() < 0.4:
        return repr(mutated(rng, before.strip("'")))
    way = rng.random()
    value = odd(rng)
    if before is not None and way < 0.08:
        return f"[{before}, {value}]"
    if way < 0.16:
        return f"[{value}]"
    if way < 0.19:
        return f"({value},)"
    if way < 0.22:
        return f"{{'layers.0.weight': {value}}}"
    return value


def odd(rng: random.Random) -> str:
    """Any value, most of them wrong anywhere."""
    way = rng.random()
    if way < 0.2:
        return rng.choice(values.NUMBERS)
    if way < 0.35:
        return rng.choice(values.TEXTS)
    if way < 0.5:
        return rng.choice(values.CONTAINERS)
    if way < 0.66:
        return rng.choice(values.ARRAYS)
    if way < 0.71:
        return rng.choice(values.OTHERS)
    if way < 0.75:
        return f"np.{rng.choice(values.DTYPES)}({rng.choice(['1', '0', '2'])})" if rng.random() < 0.7 else _cast(rng)
    if way < 0.9:
        return raiser(rng)
    # What suits another parameter.
    return rng.choice(sound.VALUES[rng.choice([key for key in sound.VALUES if key not in sound.KEYWORDS])])


def _cast(rng: random.Random) -> str:
    shape = rng.choice(["4", "(4, 4)", "(5, 4)", "()", "(4, 1)"])
    return f"np.ones({shape}).astype(np.{rng.choice(values.DTYPES[:-2])})"


def raiser(rng: random.Random) -> str:
    """An object of which a method raises."""
    base = rng.choice(
        ["", "", "", "", ", str, 'relu'", ", int, 2", ", float, 1.5", ", list, [1.0, 2.0]", ", dict, {'a': 1.0}"]
    )
    method = (
        rng.choice(values.METHODS)
        if rng.random() < 0.4
        else rng.choice(("*", "*", "__array__", "__index__", "__next__"))
    )
    return f"raising({method!r}, {rng.choice(values.ERRORS)}{base})"


def mutated(rng: random.Random, text: str) -> str:
    """A text with one to three of its characters changed, left out, doubled or put in."""
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(text) + 1)
        rest = text[at + rng.randint(0, 1) :]
        text = text[:at] + rng.choice(["", rng.choice(values.LETTERS), text[at : at + 1] * 2]) + rest
    return text


def _json(rng: random.Random, before: str) -> str:
    """A document that was changed in one place, or is none."""
    way = rng.random()
    if way < 0.5:
        old, new = rng.choice(values.JSON_OLD), rng.choice(values.JSON_NEW)
        # Either the value behind a name, or all of it.
        keeps = ":" in old and rng.random() < 0.5
        return f"{before}.replace({old!r}, {old.partition(':')[0] + ': ' + new if keeps else new!r})"
    if way < 0.65:
        return rng.choice(values.NO_JSON)
    at = rng.randint(0, 200)
    return f"(lambda t: t[:{at}] + {rng.choice(['', *values.LETTERS])!r} + t[{at + rng.randint(0, 2)}:])({before})"


def _file(rng: random.Random, before: str) -> str:
    """A file with one byte changed, or with contents that no table has."""
    if rng.random() < 0.5:
        return f"spoiled({before}, {round(rng.random(), 3)}, {rng.randrange(256)})"
    if before.startswith("npz"):
        # What is broadcast to more than the disk holds would be written as it looks.
        arrays = [text for text in values.ARRAYS if "broadcast" not in text]
        x, y = (
            rng.choice([*arrays, "np.eye(3)", "np.eye(3).astype('U3')"]),
            rng.choice([*arrays, "np.array(['a', 'b', 'c'])"]),
        )
        return f"npz('t.npz', x={x}, y={y})"
    return f"file('t.{rng.choice(['csv', 'tsv', 'npz', 'txt', 'CSV'])}', {rng.choice(values.TABLES)})"


def _words(rng: random.Random) -> list[str]:
    """The words of a command line."""
    command = rng.choice(["probe", "sweep", "diagnose", "advise", "theory"])
    words = [command, "--depth", "4", "--width", "4"]
    words += [] if command == "theory" else ["--seeds", "2", "--batch", "8"]
    words += ["--budget", "2"] if command == "advise" else []
    made = [repr(word) for word in words]
    for _ in range(rng.randint(1, 2)):
        made += [repr(rng.choice(values.OPTIONS)), rng.choice(values.WORDS)]
    return made + ([repr(rng.choice(values.FLAGS))] if rng.random() < 0.2 else [])
