"""The kinds that one may name: what each computes, with what parameters, and where it comes from."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from typing import Any, NamedTuple

from vgcore import _core
from vgcore.model.given import shown, text
from vgcore.model.shown import Shown
from vgcore.model.versioned import Versioned

#: Kinds that are told with their formulas; of more, the names alone.
WHOLE = 50
#: What the letters of the formulas of a family are.
LETTERS = {
    "activation": (
        "a = phi(z), element by element; v and g are the halves of z where it gates. Phi is the distribution "
        "function of a standard normal number, and sigmoid(z) = 1 / (1 + exp(-z))."
    ),
    "init": (
        "W are the weights of a map, fan_out rows and fan_in columns, and b its biases, which are 0 where nothing is "
        "said. U(low, high) is uniform, N(mean, variance) normal, Q orthogonal and I the identity."
    ),
    "norm": "v is what is normalised, w and c the weight and the bias of the norm, which start at 1 and 0.",
    "skip": (
        "x is the input of a block, F what its layers make of it, s the branch_scale; order says where activations "
        "stand."
    ),
    "cell": (
        "h and c are a layer's state before a step, 0 at first, and x what the step gets: its columns of the samples, "
        "or the state of the layer below. i, f, o, r and z are sigmoid(W h + U x + b) with rows of their own, g and n "
        "the same with tanh; n keeps W h apart."
    ),
    "weight_transform": "What a hidden map uses instead of its weights W, of which w is a row.",
    "loss": (
        "y are the outputs and t the targets: of one element, or of one sample where there is a sum over its outputs "
        "or a class t. reduction makes one number of all."
    ),
    "optimizer": (
        "What is done to a tensor w at step t by its gradient g; what is kept, b, m and v, starts at 0. scale_free "
        "makes eps relative, so that a gradient of any size makes a step of the same size."
    ),
    "schedule": "The rate of step t of T, counted from 1; lr is the optimiser's.",
}


class Parameter(NamedTuple):
    """A parameter of a kind.

    Attributes:
        name: The keyword.
        default: The value where it is left out; None where it must be given, or follows from other parameters.
        allowed: The values that it may have, in words.
        required: Whether it must be given.
    """

    name: str
    default: float | str | None
    allowed: str
    required: bool

    def __str__(self) -> str:
        if self.default is None:
            return self.name
        return f"{self.name}={self.default}" if isinstance(self.default, str) else f"{self.name}={self.default:.6g}"


@dataclass(frozen=True)
class KindInfo(Versioned):
    """A kind as a reader needs it.

    Attributes:
        name: The name that a field or an argument takes.
        family: That field or argument: `"activation"`, `"init"`, `"norm"`, `"skip"`, `"weight_transform"`, `"loss"`,
            `"optimizer"`, `"schedule"` or `"cell"`.
        aliases: Other names that it answers to.
        formula: What is computed, in plain text that Python reads where it is an expression; `letters` says what its
            letters are.
        summary: What it is, in a few words.
        params: Its parameters, in the order in which a call takes them.
        source: The paper, or the name in torch or Keras, that it comes from.

    >>> relu = next(kind for kind in kinds("activation") if kind.name == "relu")
    >>> relu.formula, relu.family, relu.params
    ('max(0, z)', 'activation', ())
    """

    name: str
    family: str
    aliases: tuple[str, ...]
    formula: str
    summary: str
    params: tuple[Parameter, ...]
    source: str

    @property
    def call(self) -> str:
        """The name with its parameters, `elu(alpha=1)`."""
        return f"{self.name}({', '.join(map(str, self.params))})" if self.params else self.name

    @property
    def letters(self) -> str:
        """What the letters of the family's formulas are."""
        return LETTERS[self.family]

    def to_dict(self) -> dict[str, Any]:
        """The attributes by name, each parameter as a dictionary."""
        return dataclasses.asdict(self) | {"params": [param._asdict() for param in self.params]}

    def __str__(self) -> str:
        return f"{self.call}: {self.formula}; {self.summary} ({self.source})"


class Kinds(tuple[KindInfo, ...], Shown):
    """Kinds, which a notebook shows as a table, and which print as lines."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Kinds({len(self)}: {', '.join(f'{count} {family}' for family, count in self.families.items())})"

    @property
    def families(self) -> Counter[str]:
        """How many kinds there are of each family."""
        return Counter(kind.family for kind in self)

    def named(self) -> dict[str, str]:
        """The names of each family in a row."""
        return {each: ", ".join(kind.name for kind in self if kind.family == each) for each in self.families}

    def __str__(self) -> str:
        if len(self) > WHOLE:
            return "\n".join(f"{family}: {names}" for family, names in self.named().items())
        return "\n".join(map(str, self))


def kinds(family: str | None = None) -> Kinds:
    """What may be named for a field of a net or an argument of a training, each with its formula and its source.

    Args:
        family: The field or the argument: `"activation"`, `"init"`, `"norm"`, `"skip"`, `"weight_transform"`, `"loss"`,
            `"optimizer"`, `"schedule"` or `"cell"`; or a kind by any of its names, of every family that has it;
            all if None.

    Raises:
        ValueError: If there is no such family or kind, with the nearest match.

    >>> (elu,) = kinds("elu")
    >>> elu.call, elu.formula
    ('elu(alpha=1)', 'where(z > 0, z, alpha * (exp(z) - 1))')
    >>> elu.params[0].allowed, elu.source
    ('a finite number', 'Clevert et al. 2015, arXiv:1511.07289; torch.nn.ELU')
    >>> [kind.name for kind in kinds("norm")]
    ['batch', 'layer', 'rms']
    """
    every = tuple(
        KindInfo(family=each, **row | {"params": tuple(Parameter(*param) for param in row["params"])})
        for each in _core.FAMILIES
        for row in _core.kinds(each)
    )
    if family is None:
        return Kinds(every)
    wanted = text("family", family).strip().lower().replace("-", "_").partition("(")[0]
    found = [kind for kind in every if kind.family == wanted]
    found = found or [kind for kind in every if wanted in (kind.name, *kind.aliases)]
    if not found:
        names = dict.fromkeys(name for kind in every for name in (kind.name, *kind.aliases))
        hint = _core.hint(family, [*_core.FAMILIES, *names])
        raise ValueError(f"unknown kind {shown(family)}{hint}; kinds are listed by family: {', '.join(_core.FAMILIES)}")
    return Kinds(found)
