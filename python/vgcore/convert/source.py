"""A spec as source in another framework, as a person would write it: `source`."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import ClassVar

from vgcore.convert import spelling
from vgcore.convert.outline import TORCH, ZEROS, Branch, Drop, Law, Linear, Normal, Outline, Part, Phi, Unit, outline
from vgcore.convert.spelling import number
from vgcore.model.mlp import MLP
from vgcore.model.names import known
from vgcore.model.sequential import Sequential

#: The most lines of a snippet, blank ones apart, and the most characters of a line.
LINES, WIDE = 25, 100


def source(spec: MLP | Sequential, framework: str) -> str:
    """Source that builds the net of a spec as `model`, and draws its weights from the same laws.

    Args:
        spec: The net.
        framework: `"torch"`, `"keras"` (3, a functional model) or `"flax"` (nnx).

    Returns:
        At most 25 lines, imports included and blank ones apart. The model computes what the spec does, in training as
        in evaluation; only batch normalisation keeps running statistics for evaluation, as the framework does.

    Raises:
        ValueError: For a framework that is not known, for what a framework cannot say (a table of samples as
            activation, `lsuv`, an input at every step), and for a net that takes more lines.

    >>> import vgcore as vg
    >>> print(source(vg.MLP(depth=20, width=64, in_features=10, out_features=3, activation="tanh"), "torch"))
    from torch import nn
    <BLANKLINE>
    <BLANKLINE>
    def linear(fan_in, fan_out):
        layer = nn.Linear(fan_in, fan_out)
        nn.init.kaiming_normal_(layer.weight)
        nn.init.zeros_(layer.bias)
        return layer
    <BLANKLINE>
    <BLANKLINE>
    layers = [linear(10, 64), nn.Tanh()]
    for _ in range(19):
        layers += [linear(64, 64), nn.Tanh()]
    model = nn.Sequential(*layers, linear(64, 3))
    """
    return with_data(spec, framework, [])


def with_data(spec: MLP | Sequential, framework: str, data: Sequence[str]) -> str:
    """The source of a spec, and lines about its data behind it."""
    name = known("framework", framework, tuple(_WRITERS))
    lines = _WRITERS[name](outline(spec, fans=name == "torch")).write()
    lines += ["", *data] if data else []
    count = sum(map(bool, lines))
    if count > LINES:
        raise ValueError(
            f"this net takes {count} lines of {name}, more than the {LINES} of a snippet: give its layers fewer "
            "kinds of activations, inits or widths, or take spec.to_torch()"
        )
    return "\n".join(lines)


def _runs(units: Sequence[Unit]) -> Iterator[tuple[Sequence[Unit], int]]:
    """Units in groups, each with how often it stands there in a row."""
    i = 0
    while i < len(units):
        period, count = 1, 1
        for p in range(1, min(16, (len(units) - i) // 2) + 1):
            times, group = 1, units[i : i + p]
            while units[i + times * p : i + (times + 1) * p] == group:
                times += 1
            if times > 1 and times * p > period * count:
                period, count = p, times
        yield units[i : i + period], count
        i += period * count


def _maps(units: Sequence[Unit]) -> Iterator[Linear]:
    """All maps of layers, those of branches and gates too."""
    for part in (part for unit in units for part in unit):
        if isinstance(part, Linear):
            yield part
        elif isinstance(part, Branch):
            yield from _maps(part.body)
            if part.gate is not None:
                yield part.gate


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"    {line}" if line else "" for line in lines]


def _call(name: str, *arguments: str) -> str:
    return f"{name}({', '.join(filter(None, arguments))})"


def _factor(scale: float) -> str:
    """The factor of a branch with its sign of multiplication; nothing for 1."""
    return "" if scale == 1 else f"{number(scale)} * "


def wrapped(line: str) -> list[str]:
    """A line within the width: what is too long is a call, whose arguments go on lines of their own."""
    bracket = re.search(r"[(\[]", line)
    if len(line) <= WIDE or bracket is None:
        return [line]
    depth, ends = 0, []
    for at in range(bracket.start(), len(line)):
        depth += (line[at] in "([{") - (line[at] in ")]}")
        if depth == 0 or (depth == 1 and line[at] == ","):
            ends.append(at)
        if depth == 0:
            break
    space = " " * (len(line) - len(line.lstrip()))
    starts = [bracket.start(), *ends]
    arguments = [line[start + 1 : end].strip() for start, end in zip(starts, ends, strict=False)]
    inner = [f"{space}    {', '.join(arguments)}"]
    if len(inner[0]) > WIDE:
        comma = "," if len(arguments) > 1 else ""
        inner = [short for argument in arguments for short in wrapped(f"{space}    {argument}{comma}")]
    return [line[: bracket.end()], *inner, f"{space}{line[ends[-1] :]}"]


class _Writer:
    """Writes a net; what is defined on the way comes first.

    Attributes:
        framework: The name of the framework.
        imports: What may be imported, in order: a word that source has if it needs it, and the line.
        net: The net.
        plain: The map that there are most of: what all maps are, unless something else is said.
    """

    framework: ClassVar[str]
    imports: ClassVar[tuple[tuple[str, str], ...]]

    def __init__(self, net: Outline) -> None:
        self.net = net
        self.maps = [*_maps([*net.units, *net.ends]), *([net.readout] if net.readout else [])]
        self.plain = Counter((m.weight, m.bias, m.transform) for m in self.maps).most_common(1)[0][0]
        self.defined: dict[tuple[str, ...], str] = {}

    def write(self) -> list[str]:
        """The lines of the whole."""
        main, head = self.main(), self.head()
        defined = [[line.replace("NAME", name) for line in lines] for lines, name in self.defined.items()]
        body: list[str] = []
        for block in [*defined, *head, main]:
            apart = block[0].startswith(("class", "def")) or not body or body[-1].startswith(" ")
            body += [""] * (2 * apart if body or block[0].startswith(("class", "def")) else 1)
            body += block
        body = [short for line in body for short in wrapped(line)]
        text = "\n".join(body)
        standard = ["from functools import partial", ""] if "partial(" in text else []
        return [*standard, *self.imported(text), *body]

    def imported(self, text: str) -> list[str]:
        """The imports that a text needs."""
        return [line for word, line in self.imports if re.search(rf"\b{word}\.", text)]

    def head(self) -> list[list[str]]:
        """What stands before the net, in blocks."""
        raise NotImplementedError

    def main(self) -> list[str]:
        """The net itself."""
        raise NotImplementedError

    def biased(self, transform: str) -> bool:
        """Whether the maps that go through a transform have biases: one class writes them all.

        Raises:
            ValueError: Where some have, and some have none.
        """
        biases = {m.bias is not None for m in self.maps if m.transform == transform}
        if len(biases) > 1:
            raise ValueError(f"no source for maps through {transform} of which some have a bias and some have none")
        return biases == {True}

    def define(self, name: str, *lines: str) -> str:
        """A class or function, written once; `NAME` stands for its name."""
        if lines not in self.defined:
            taken = sum(other.rstrip("0123456789") == name for other in self.defined.values())
            self.defined[lines] = f"{name}{taken + 1}" if taken else name
        return self.defined[lines]


class _Rows(_Writer):
    """Nets that are lists of modules."""

    sequential: ClassVar[str]

    def main(self) -> list[str]:
        """Layers, one after the other."""
        self.within = 0  # so many branches
        self.shared: dict[Part, str] = {}
        lines: list[str] = []
        if self.net.tied:
            for part in dict.fromkeys(self._leaves(self.net.units)):
                name = {Linear: "step", Normal: "norm", Phi: "phi"}[type(part)]
                before, text = self.text(part, name)
                lines += before if text == name else [*before, f"{name} = {text}"]
                self.shared[part] = name
        lines += self.fill("layers", self.net.units)
        self.shared = {}  # among steps alone
        last = [part for unit in self.net.ends for part in unit]
        texts = []
        for part in [*last, *([self.net.readout] if self.net.readout else [])]:
            before, text = self.text(part, "readout")
            lines += before
            texts.append(text)
        model = f"model = {_call(self.sequential, '*layers', *texts)}"
        if len(model) > WIDE:
            lines += self.add("layers", texts)
            model = f"model = {self.sequential}(*layers)"
        return [*lines, model]

    def _leaves(self, units: Sequence[Unit]) -> Iterator[Part]:
        """The parts that learn, within branches too."""
        for part in (part for unit in units for part in unit):
            if isinstance(part, Branch):
                yield from self._leaves(part.body)
            elif isinstance(part, Linear | Normal) or (isinstance(part, Phi) and part.kind.name == "prelu"):
                yield part

    def fill(self, name: str, units: Sequence[Unit]) -> list[str]:
        """Statements that fill a list with modules."""
        lines: list[str] = []
        inner = name != "layers"
        groups = list(_runs(units))
        if inner:  # what stands once is written in one row, of a net one layer a row
            alone = itertools.groupby(groups, lambda group: group[1] == 1)
            groups = [
                joined
                for once, run in alone
                for joined in ([([unit for group, _ in run for unit in group], 1)] if once else run)
            ]
        for group, count in groups:
            block: list[str] = []
            row: list[str] = []
            for unit in group:
                for part in unit:
                    before, text = self.text(part, "last" if inner else "layer")
                    if before:
                        block += self.add(name, row)
                        row = []
                    block += before
                    row.append(text)
            block += self.add(name, row)
            if self.net.tied and count > 1:  # the same modules again
                block[-1] += f" * {count}"
            elif count > 1:
                block = [f"for _ in range({count}):", *_indented(block)]
            lines += block
        first = next((i for i, line in enumerate(lines) if f"{name} +=" in line), 0)
        if lines and lines[first].startswith(name):
            return [*lines[:first], lines[first].replace("+=", "=", 1), *lines[first + 1 :]]
        return [f"{name} = []", *lines]

    def add(self, name: str, row: Sequence[str]) -> list[str]:
        """Additions to a list, each within a line."""
        lines: list[str] = []
        for text in row:
            longer = f"{lines[-1][:-1]}, {text}]" if lines else ""
            if longer and (len(longer) <= WIDE - 8 or self.net.tied):
                lines[-1] = longer
            else:
                lines.append(f"{name} += [{text}]")
        return lines

    def text(self, part: Part, name: str) -> tuple[list[str], str]:
        """Statements that a part needs before it, and the expression that it is."""
        if part in self.shared:
            return [], self.shared[part]
        match part:
            case Linear():
                return self.linear(part, name)
            case Normal():
                return [], self.norm(part)
            case Phi():
                return [], self.phi(part)
            case Drop():
                return [], self.drop(part)
        return self.branch(part)

    def branch(self, part: Branch) -> tuple[list[str], str]:
        """A branch in one expression if it is short, else as a list of its own."""
        before, first = ([], "") if part.gate is None else self.text(part.gate, "gate")
        name = self.join(part)
        self.within += 1
        own = "branch" if self.within == 1 else f"branch{self.within}"
        body = self.fill(own, part.body)
        self.within -= 1
        begins = f"{own} = ["
        if len(body) == 1 and body[0].startswith(begins) and len(body[0]) < 70 and body[0].endswith("]"):
            return before, _call(name, first, body[0][len(begins) : -1])
        return before + body, _call(name, first, f"*{own}")

    def linear(self, part: Linear, name: str) -> tuple[list[str], str]:
        raise NotImplementedError

    def norm(self, part: Normal) -> str:
        raise NotImplementedError

    def phi(self, part: Phi) -> str:
        raise NotImplementedError

    def drop(self, part: Drop) -> str:
        raise NotImplementedError

    def join(self, part: Branch) -> str:
        raise NotImplementedError


class _Torch(_Rows):
    """Source for torch."""

    framework = "torch"
    sequential = "nn.Sequential"
    imports = (
        ("torch", "import torch"),
        ("F", "import torch.nn.functional as F"),
        ("nn", "from torch import nn"),
    )

    def head(self) -> list[list[str]]:
        _, bias, transform = self.plain
        if not self.helped:
            return []
        like = next(m for m in self.maps if (m.weight, m.bias, m.transform) == self.plain)
        some = bias is not None and any(m.bias is None and m.transform == transform for m in self.maps)
        argument, handed = (", bias=True", ", bias=bias") if some else ("", "" if bias else ", bias=False")
        draws = self.draws(like, "layer", formula=True)
        if some and bias != TORCH:
            draws[-1:] = ["if bias:", f"    {draws[-1]}"]
        return [
            [
                f"def linear(fan_in, fan_out{argument}):",
                f"    layer = {self.cls(transform)}(fan_in, fan_out{handed})",
                *_indented(draws),
                "    return layer",
            ]
        ]

    @property
    def helped(self) -> bool:
        """Whether maps are made by a function, since torch would draw something else."""
        return self.plain[0] != TORCH or self.plain[1] not in {TORCH, None}

    @staticmethod
    def draws(part: Linear, name: str, *, formula: bool, but: tuple[Law | None, ...] = (TORCH, TORCH)) -> list[str]:
        """Statements that draw what differs from laws that are there already."""
        lines = []
        for tensor, law, there in zip(("weight", "bias"), (part.weight, part.bias), but, strict=True):
            if law is not None and law != there:
                function, arguments = spelling.torch_draw(law, part, formula=formula)
                lines += spelling.torch_std(law) if formula else []
                lines.append(_call(f"nn.init.{function}", f"{name}.{tensor}", *arguments))
        return lines

    def cls(self, transform: str | None) -> str:
        if transform is None:
            return "nn.Linear"
        name, lines = spelling.transformed(transform, "torch", bias=True)
        return self.define(name, *lines)

    def linear(self, part: Linear, name: str) -> tuple[list[str], str]:
        weight, bias, transform = self.plain
        sizes = f"{part.fan_in}, {part.fan_out}"
        if part.transform == transform and self.helped:
            if bias is None and part.bias is not None:
                raise ValueError("no source for a net most of whose maps have no bias and some have one")
            text = f"linear({sizes}{', bias=False' if part.bias is None and bias is not None else ''})"
            there = (weight, bias)
        else:
            text = f"{self.cls(part.transform)}({sizes}{', bias=False' if part.bias is None else ''})"
            there = (TORCH, TORCH)
        draws = self.draws(part, name, formula=False, but=there)
        return ([f"{name} = {text}", *draws], name) if draws else ([], text)

    def norm(self, part: Normal) -> str:
        name = {"layer": "nn.LayerNorm", "rms": "nn.RMSNorm", "batch": "nn.BatchNorm1d"}[part.kind]
        eps = "" if part.eps == 1e-5 and part.kind != "rms" else f"eps={number(part.eps)}"
        return _call(name, f"{part.features}", eps)

    def phi(self, part: Phi) -> str:
        spelled = spelling.activation(part.kind, "torch")
        if not spelled.body:
            return spelled.call
        lines = ["class NAME(nn.Module):", "    def forward(self, z):", *_indented(_indented(spelled.body))]
        return f"{self.define(spelled.call, *lines)}()"

    def drop(self, part: Drop) -> str:
        return f"nn.Dropout({number(part.p)})"

    def join(self, part: Branch) -> str:
        times = _factor(part.scale)
        inner = "super().forward(x)"
        head = ["class NAME(nn.Sequential):"]
        match part.way:
            case "residual":
                lines = ["    def forward(self, x):", f"        return x + {times}{inner}"]
                return self.define("Residual", *head, *lines)
            case "dense":
                lines = ["    def forward(self, x):", f"        return torch.cat([x, {inner}], dim=-1)"]
                return self.define("Dense", *head, *lines)
            case "rezero":
                return self.define(
                    "ReZero",
                    *head,
                    "    def __init__(self, *layers):",
                    "        super().__init__(*layers)",
                    f"        self.alpha = nn.Parameter(torch.full((1,), {number(part.alpha)}))"
                    if part.alpha
                    else "        self.alpha = nn.Parameter(torch.zeros(1))",
                    "",
                    "    def forward(self, x):",
                    f"        return x + {times}self.alpha * {inner}",
                )
            case "project":
                name, joined = "Project", f"self.gate(x) + {times}self.branch(x)"
            case _:
                name, joined = "Highway", "x + torch.sigmoid(self.gate(x)) * (self.branch(x) - x)"
        return self.define(
            name,
            "class NAME(nn.Module):",
            "    def __init__(self, gate, *layers):",
            "        super().__init__()",
            "        self.branch, self.gate = nn.Sequential(*layers), gate",
            "",
            "    def forward(self, x):",
            f"        return {joined}",
        )


class _Flax(_Rows):
    """Source for flax, of nnx."""

    framework = "flax"
    sequential = "nnx.Sequential"
    imports = (
        ("jax", "import jax"),
        ("jnp", "import jax.numpy as jnp"),
        ("nnx", "from flax import nnx"),
    )

    def head(self) -> list[list[str]]:
        _, _, transform = self.plain
        like = next(m for m in self.maps if (m.weight, m.bias, m.transform) == self.plain)
        draws = ", ".join(f"{name}={value}" for name, value in self.draws(like).items())
        return [["rngs = nnx.Rngs(0)", f"linear = {_call('partial', self.cls(transform), draws, 'rngs=rngs')}"]]

    @staticmethod
    def draws(part: Linear) -> dict[str, str]:
        """Arguments that say what is drawn, where it is not flax's own."""
        kernel = spelling.flax_draw(part.weight)
        found = {} if kernel == "nnx.initializers.lecun_normal()" else {"kernel_init": kernel}
        if part.bias is None:
            return found | {"use_bias": "False"}
        return found if part.bias == ZEROS else found | {"bias_init": spelling.flax_draw(part.bias)}

    def cls(self, transform: str | None) -> str:
        if transform is None:
            return "nnx.Linear"
        name, lines = spelling.transformed(transform, "flax", bias=self.biased(transform))
        return self.define(name, *lines)

    def linear(self, part: Linear, name: str) -> tuple[list[str], str]:
        del name
        weight, bias, transform = self.plain
        ours = self.draws(part)
        if part.transform != transform:
            words = [f"{key}={value}" for key, value in ours.items()]
            return [], _call(self.cls(part.transform), f"{part.fan_in}, {part.fan_out}", *words, "rngs=rngs")
        there = self.draws(Linear(part.fan_in, part.fan_out, weight, bias, transform))
        own = {"kernel_init": "nnx.initializers.lecun_normal()", "bias_init": "nnx.initializers.zeros"}
        said = {key: value for key, value in ours.items() if there.get(key) != value}
        said |= {key: own.get(key, "True") for key in there.keys() - ours.keys()}
        if said.get("use_bias") == "False":
            said.pop("bias_init", None)
        words = [f"{key}={value}" for key, value in sorted(said.items(), reverse=True)]
        return [], _call("linear", f"{part.fan_in}, {part.fan_out}", *words)

    def norm(self, part: Normal) -> str:
        name = {"layer": "nnx.LayerNorm", "rms": "nnx.RMSNorm", "batch": "nnx.BatchNorm"}[part.kind]
        eps = "" if part.eps == (1e-5 if part.kind == "batch" else 1e-6) else f"epsilon={number(part.eps)}"
        return _call(name, f"{part.features}", eps, "rngs=rngs")

    def phi(self, part: Phi) -> str:
        spelled = spelling.activation(part.kind, "flax")
        if spelled.body:
            return self.define(spelled.call, "def NAME(z):", *_indented(spelled.body))
        if "{z}" not in spelled.call:  # a module
            return spelled.call
        name, _, rest = spelled.call.partition("({z}")
        return name if rest == ")" else f"lambda z: {spelled.call.format(z='z')}"

    def drop(self, part: Drop) -> str:
        return f"nnx.Dropout({number(part.p)}, rngs=rngs)"

    def join(self, part: Branch) -> str:
        times = _factor(part.scale)
        inner = "super().__call__(x)"
        head = ["class NAME(nnx.Sequential):"]
        match part.way:
            case "residual":
                return self.define(
                    "Residual", *head, "    def __call__(self, x):", f"        return x + {times}{inner}"
                )
            case "dense":
                joined = f"        return jnp.concatenate([x, {inner}], axis=-1)"
                return self.define("Dense", *head, "    def __call__(self, x):", joined)
            case "rezero":
                start = f"jnp.full(1, {number(part.alpha)})" if part.alpha else "jnp.zeros(1)"
                return self.define(
                    "ReZero",
                    *head,
                    "    def __init__(self, *layers):",
                    "        super().__init__(*layers)",
                    f"        self.alpha = nnx.Param({start})",
                    "",
                    "    def __call__(self, x):",
                    f"        return x + {times}self.alpha * {inner}",
                )
            case "project":
                name, joined = "Project", f"self.gate(x) + {times}self.branch(x)"
            case _:
                name, joined = "Highway", "x + nnx.sigmoid(self.gate(x)) * (self.branch(x) - x)"
        return self.define(
            name,
            "class NAME(nnx.Module):",
            "    def __init__(self, gate, *layers):",
            "        self.branch, self.gate = nnx.Sequential(*layers), gate",
            "",
            "    def __call__(self, x):",
            f"        return {joined}",
        )


class _Keras(_Writer):
    """Source for Keras 3: a functional model."""

    framework = "keras"
    imports = (("keras", "import keras"),)

    def imported(self, text: str) -> list[str]:
        """The imports that a text needs."""
        modules = [name for name in ("initializers", "layers", "ops") if re.search(rf"\b{name}\.", text)]
        return [*super().imported(text), f"from keras import {', '.join(modules)}"]

    def head(self) -> list[list[str]]:
        if not self.helped:
            return []
        head, rest = ("def dense(units, **other):", ["**other"]) if self.others else ("def dense(units):", [])
        return [[head, f"    return {_call(self.cls(self.plain[2]), 'units', *self.said, *rest)}"]]

    @property
    def others(self) -> bool:
        """Whether some maps have the plain weights and other biases."""
        weight, bias, transform = self.plain
        return any((m.weight, m.transform) == (weight, transform) and m.bias != bias for m in self.maps)

    @property
    def said(self) -> list[str]:
        """What is said of all plain maps in one place."""
        like = next(m for m in self.maps if (m.weight, m.bias, m.transform) == self.plain)
        return self.kernel(like) + ([] if self.others else self.bias(like))

    @property
    def helped(self) -> bool:
        """Whether maps are made by a function: initializers that draw must be new for each map."""
        return bool(self.said)

    @staticmethod
    def kernel(part: Linear) -> list[str]:
        """The argument that says what weights are drawn from, where it is not Keras's own."""
        kernel = spelling.keras_draw(part.weight)
        return [] if kernel == '"glorot_uniform"' else [f"kernel_initializer={kernel}"]

    @staticmethod
    def bias(part: Linear) -> list[str]:
        """The same of biases."""
        if part.bias is None:
            return ["use_bias=False"]
        return [] if part.bias == ZEROS else [f"bias_initializer={spelling.keras_draw(part.bias)}"]

    def cls(self, transform: str | None) -> str:
        if transform is None:
            return "layers.Dense"
        name, lines = spelling.transformed(transform, "keras", bias=self.biased(transform))
        return self.define(name, *lines)

    def main(self) -> list[str]:
        """Calls, one after the other."""
        self.shared: dict[Part, str] = {}
        lines = [f"h = inputs = keras.Input(({self.net.in_features},))"]
        if self.net.tied:
            lines += self.share(self.net.units)
        lines += self.calls(self.net.units, "h", "h")
        self.shared = {}  # among steps alone
        lines += self.calls(self.net.ends, "h", "h")
        if self.net.readout is not None:
            lines += self.nested("h", "h", [self.net.readout])
        return [*lines, "model = keras.Model(inputs, h)"]

    def share(self, units: Sequence[Unit]) -> list[str]:
        """Layers that all steps use."""
        lines: list[str] = []
        for part in (part for unit in units for part in unit):
            if part in self.shared:
                continue
            match part:
                case Branch(gate=gate):
                    lines += self.share(part.body)
                    if gate is not None and gate not in self.shared:
                        lines.append(f"gate = {self.linear(gate).removesuffix('({z})')}")
                        self.shared[gate] = "gate"
                    if part.way == "rezero":
                        lines.append(f"scale = {self.scale(part)}()")
                        self.shared[part] = "scale"
                case Linear():
                    lines.append(f"step = {self.linear(part).removesuffix('({z})')}")
                    self.shared[part] = "step"
                case Normal():
                    lines.append(f"norm = {self.norm(part).removesuffix('({z})')}")
                    self.shared[part] = "norm"
                case Phi() if part.kind.name == "prelu":
                    lines.append(f"phi = {self.phi(part).removesuffix('({z})')}")
                    self.shared[part] = "phi"
        return lines

    def calls(self, units: Sequence[Unit], name: str, entry: str) -> list[str]:
        """Statements that take `entry` through units to `name`."""
        lines: list[str] = []
        for group, count in _runs(units):
            if count > 1 and entry != name:
                lines.append(f"{name} = {entry}")
                entry = name
            block: list[str] = []
            pending: list[Part] = []
            for part in (part for unit in group for part in unit):
                if not isinstance(part, Branch):
                    pending.append(part)
                    continue
                block += self.nested(name, entry, pending)
                block += self.branch(part, name, name if pending else entry)
                entry, pending = name, []
            block += self.nested(name, entry, pending)
            entry = name if pending else entry
            lines += [f"for _ in range({count}):", *_indented(block)] if count > 1 else block
        return lines if entry == name else [*lines, f"{name} = {entry}"]

    def nested(self, name: str, entry: str, parts: Sequence[Part]) -> list[str]:
        """Calls within calls, as far as a line goes, and never two of a sort: the outer layer would be made first."""
        lines: list[str] = []
        text, sorts = entry, set[type[Part]]()
        for part in parts:
            longer = self.call(part).format(z=text)
            if text != entry and (type(part) in sorts or len(f"{name} = {longer}") > WIDE - 12):
                lines.append(f"{name} = {text}")
                entry, sorts = name, set()
                longer = self.call(part).format(z=name)
            text = longer
            sorts.add(type(part))
        return [*lines, f"{name} = {text}"] if parts else []

    def branch(self, part: Branch, name: str, entry: str) -> list[str]:
        inner = "branch" if name == "h" else f"{name}_"
        lines = self.calls(part.body, inner, entry)
        times = _factor(part.scale)
        match part.way:
            case "residual":
                joined = f"{entry} + {times}{inner}"
            case "dense":
                joined = f"ops.concatenate([{entry}, {inner}], axis=-1)"
            case "rezero":
                scale = self.shared.get(part) or f"{self.scale(part)}()"
                joined = f"{entry} + {times}{scale}({inner})"
            case "project":
                assert part.gate is not None  # noqa: S101 (what goes around)
                joined = f"{self.call(part.gate).format(z=entry)} + {times}{inner}"
            case _:
                assert part.gate is not None  # noqa: S101 (of a highway)
                lines.append(f"t = ops.sigmoid({self.call(part.gate).format(z=entry)})")
                joined = f"{entry} + t * ({inner} - {entry})"
        return [*lines, f"{name} = {joined}"]

    def scale(self, part: Branch) -> str:
        """The layer of a learned factor."""
        start = f"initializers.Constant({number(part.alpha)})" if part.alpha else '"zeros"'
        return self.define(
            "Scale",
            "class NAME(layers.Layer):",
            "    def build(self, shape):",
            f"        self.alpha = self.add_weight(shape=(1,), initializer={start})",
            "",
            "    def call(self, x):",
            "        return self.alpha * x",
        )

    def call(self, part: Part) -> str:
        if part in self.shared:
            return f"{self.shared[part]}({{z}})"
        match part:
            case Linear():
                return self.linear(part)
            case Normal():
                return self.norm(part)
            case Phi():
                return self.phi(part)
            case Drop():
                return f"layers.Dropout({number(part.p)})({{z}})"
        raise AssertionError(part)

    def linear(self, part: Linear) -> str:
        units, bias = str(part.fan_out), self.bias(part)
        plain = (part.weight, part.transform) == (self.plain[0], self.plain[2])
        if plain and self.helped:
            return _call("dense", units, *(bias if self.others else [])) + "({z})"
        return _call(self.cls(part.transform), units, *self.kernel(part), *bias) + "({z})"

    def norm(self, part: Normal) -> str:
        kinds = {"layer": "LayerNormalization", "rms": "RMSNormalization", "batch": "BatchNormalization"}
        return f"layers.{kinds[part.kind]}(epsilon={number(part.eps)})({{z}})"

    def phi(self, part: Phi) -> str:
        spelled = spelling.activation(part.kind, "keras")
        if not spelled.body:
            return spelled.call
        return f"{self.define(spelled.call, 'def NAME(z):', *_indented(spelled.body))}({{z}})"


_WRITERS = {writer.framework: writer for writer in (_Torch, _Keras, _Flax)}
