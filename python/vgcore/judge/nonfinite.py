"""Weights that are not finite: what they tell of the step that made them so.

Three facts of arithmetic carry most of it. nan times anything is nan, 0 too: a signal that is nan on its way back makes
nan of every gradient before it. Clipping by one norm of all gradients multiplies all of them by one number: if that is
nan, all are. And a finite weight becomes infinite only by a step that is, and nan by the step after.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgcore.convert.imported import NonFinite
from vgcore.judge.diagnosis import Diagnosis
from vgcore.judge.rule import Hit, RuleOf
from vgcore.judge.verdict import found_by

#: Words in the names of tensors that no step of an optimiser moves: those of batch norms.
STATISTICS = ("running_mean", "running_var", "moving_mean", "moving_variance", "batch_stats")
#: The last word of a bias's name.
BIASES = ("bias", "b", "beta", "intercept")
#: Tensors that are named in a sentence.
NAMED = 3


@dataclass(frozen=True)
class Tensor:
    """What is finite in a tensor of weights, and what is not.

    Attributes:
        name: Its name.
        shape: Its shape.
        nan: Numbers that are nan.
        inf: Numbers that are infinite.
        total: All of its numbers.
        rows: Rows without a finite number, of two or more dimensions; empty where all or none are so, as of columns.
        columns: Columns without a finite number.
        largest: log10 of the largest finite size; nan where none is known.
        half: Whether every finite number is one of float16.
        digits: Whether some number has more digits than bfloat16 has.
    """

    name: str
    shape: tuple[int, ...]
    nan: int
    inf: int
    total: int
    rows: tuple[int, ...] = ()
    columns: tuple[int, ...] = ()
    largest: float = math.nan
    half: bool = False
    digits: bool = False

    @classmethod
    def of(cls, name: str, values: NDArray[Any]) -> Tensor:
        """Of an array.

        >>> Tensor.of("layers.0.weight", np.array([[np.nan, np.nan], [1.0, 0.5]])).rows
        (0,)
        """
        nan, inf = np.isnan(values), np.isinf(values)
        bad = nan | inf
        size = np.abs(values[~bad])
        with np.errstate(divide="ignore", over="ignore"):
            largest = float(np.log10(np.max(size, initial=0.0)))
            half = bool((size == size.astype(np.float16)).all())
            digits = bool((size.astype(np.float32).view(np.uint32) & 0xFFFF).any())
        rows: tuple[int, ...] = ()
        columns: tuple[int, ...] = ()
        if values.ndim > 1 and 0 < bad.sum() < bad.size:
            rows = tuple(np.flatnonzero(bad.reshape(len(bad), -1).all(axis=1)).tolist())
            columns = tuple(np.flatnonzero(bad.all(axis=tuple(i for i in range(bad.ndim) if i != 1))).tolist())
        return cls(
            name, values.shape, int(nan.sum()), int(inf.sum()), values.size, rows, columns, largest, half, digits
        )

    @property
    def bad(self) -> int:
        """Numbers that are not finite."""
        return self.nan + self.inf

    @property
    def whole(self) -> bool:
        """Whether it is nan throughout."""
        return 0 < self.nan == self.total

    @property
    def by_rows(self) -> bool:
        """Whether some rows are nan throughout and all others finite; of one dimension, whether any number is nan."""
        in_rows = len(self.shape) < 2 or self.nan * self.shape[0] == len(self.rows) * self.total
        return self.nan > 0 and not self.inf and (self.whole or in_rows)

    @property
    def statistic(self) -> bool:
        """Whether it is what a batch norm has seen, which no step moves."""
        return any(word in self.name for word in STATISTICS)

    @property
    def bias(self) -> bool:
        """Whether it is a bias."""
        words = self.name.replace("/", ".").replace("_", ".").split(".")
        return len(self.shape) < 2 and any(word in BIASES for word in words[-2:])

    def __str__(self) -> str:
        parts = [f"{n} {word}" for n, word in ((self.nan, "nan"), (self.inf, "infinite")) if n]
        return f"{self.name} (nan throughout)" if self.whole else f"{self.name} ({', '.join(parts)} of {self.total})"


class Weights:
    """The tensors of a net, input side first.

    Attributes:
        tensors: All of them; or those alone that are not finite, where the others are not known.
    """

    def __init__(self, tensors: Iterator[Tensor] | tuple[Tensor, ...]) -> None:
        self.tensors: tuple[Tensor, ...] = tuple(tensors)

    @cached_property
    def trained(self) -> list[Tensor]:
        """Those that steps move."""
        return [tensor for tensor in self.tensors if not tensor.statistic]

    @cached_property
    def statistics(self) -> list[Tensor]:
        """Those of batch norms, which passes move."""
        return [tensor for tensor in self.tensors if tensor.statistic]

    @cached_property
    def bad(self) -> list[Tensor]:
        """Those that steps move and that are not finite."""
        return [tensor for tensor in self.trained if tensor.bad]

    @cached_property
    def every(self) -> bool:
        """Whether all hold some number that is not finite."""
        return 1 < len(self.bad) == len(self.trained)

    @cached_property
    def input_side(self) -> bool:
        """Whether those that are not finite are all before those that are, and more than the first one."""
        count = len(self.bad)
        return 1 < count < len(self.trained) and self.bad == self.trained[:count]

    def bias_of(self, tensor: Tensor) -> Tensor | None:
        """The bias beside a weight."""
        stem, _, _ = tensor.name.rpartition(".") if "." in tensor.name else tensor.name.rpartition("/")
        beside = (
            each for each in self.trained if each.bias and each is not tensor and each.name.startswith(stem + ".")
        )
        return next(beside, None) if stem and not tensor.bias else None


def _listed(tensors: list[Tensor]) -> str:
    """Some tensors, the first of them by name."""
    more = f" and {len(tensors) - NAMED} more" if len(tensors) > NAMED else ""
    return ", ".join(map(str, tensors[:NAMED])) + more


def _hit(value: float, sentence: str, working: str) -> Hit:
    return Hit(value, (), math.nan, sentence, working)


def _weights(w: Weights, _: RuleOf[Weights]) -> Hit | None:
    if not w.bad:
        return None
    numbers, total = sum(tensor.bad for tensor in w.bad), sum(tensor.total for tensor in w.trained)
    count = f"{len(w.bad)} of {len(w.trained)} tensors are" if len(w.trained) > 1 else "the one tensor is"
    return _hit(numbers / total, f"{count} not finite: {_listed(w.bad)}", f"{numbers} of {total} numbers.")


def _every(w: Weights, _: RuleOf[Weights]) -> Hit | None:
    if not w.every:
        return None
    if all(tensor.whole for tensor in w.trained):
        text = (
            f"all {len(w.trained)} tensors are nan throughout, so the gradient of each was: the loss was nan or "
            "infinite, or the one norm that all gradients are clipped by was nan"
        )
    elif all(tensor.by_rows for tensor in w.trained):
        text = (
            f"all {len(w.trained)} tensors are nan, some of them in whole rows: the loss was nan or infinite, and "
            "units that were off kept their rows; clipping by one norm would have made nan of them too"
        )
    else:
        text = (
            f"all {len(w.trained)} tensors hold numbers that are not finite, and some that are: signals left the range "
            "of the dtype on their way forward, and gradients were not clipped by one norm"
        )
    return _hit(1.0, text, "dL/dW = dL/dz h^T is nan for dL/dz = nan, whatever h is; max_norm/nan times g is nan.")


def _untouched(w: Weights, _: RuleOf[Weights]) -> Hit | None:
    fine = [tensor for tensor in w.trained if not tensor.bad]
    whole = len(w.bad) > 1 and all(tensor.by_rows for tensor in w.bad)
    if not whole or not fine or w.input_side or all(tensor.bias for tensor in w.bad):
        return None
    named = ", ".join(tensor.name for tensor in fine[:NAMED]) + (" ..." if len(fine) > NAMED else "")
    are = "is" if len(fine) == 1 else "are"
    text = f"{len(w.bad)} tensors are nan and {named} {are} finite: no gradient came there, frozen or unused"
    return _hit(len(w.bad) / len(w.trained), text, "A signal that is nan makes nan of every gradient that it reaches.")


def _input_side(w: Weights, _: RuleOf[Weights]) -> Hit | None:
    if not w.input_side:
        return None
    behind = w.trained[len(w.bad)]
    text = (
        f"the first {len(w.bad)} of {len(w.trained)} tensors, to {w.bad[-1].name}, are not finite, those behind are: "
        f"dL/dz came from the loss as a number and left the range of the dtype on its way back, before {behind.name}"
    )
    return _hit(len(w.bad) / len(w.trained), text, "inf - inf and 0 inf are nan, and both stay with all that follows.")


def _one(w: Weights, _: RuleOf[Weights]) -> Hit | None:
    if len(w.bad) != 1 or len(w.trained) < 2 or w.bad[0].columns:
        return None
    only, bias = w.bad[0], w.bias_of(w.bad[0])
    text = f"{only.name} alone is not finite: a signal that is nan would have reached others too"
    if bias is not None and not bias.bad:
        text += f"; {bias.name} is finite, so dL/dz was"
    text += "; its own gradient was not finite, or its own rate was too large, or it began so"
    return _hit(1 / len(w.trained), text, "dL/db = sum of dL/dz and dL/dW = dL/dz h^T: nan in dL/dz is in both.")


def _biases(w: Weights, _: RuleOf[Weights]) -> Hit | None:
    if not w.bad or not all(tensor.bias for tensor in w.bad) or len(w.bad) == len(w.trained):
        return None
    text = (
        "biases alone are not finite: dL/dz = nan would have made nan of weights too, so the rate or the start of the "
        "biases was it, or the sum of dL/dz over the samples, too large where h is so small that dL/dW was not"
    )
    return _hit(len(w.bad) / len(w.trained), text, "dL/dW = dL/dz h^T is nan for dL/dz = nan, whatever h is, 0 too.")


def _infinite(w: Weights, _: RuleOf[Weights]) -> Hit | None:
    count, nan = sum(tensor.inf for tensor in w.bad), sum(tensor.nan for tensor in w.bad)
    if not count:
        return None
    known = [tensor for tensor in w.trained if not math.isnan(tensor.largest)]
    text = f"{count} {'number is' if count == 1 else 'numbers are'} infinite"
    if not nan and all(tensor.half for tensor in known) and any(tensor.digits for tensor in known):
        text += ", and all others are numbers of float16: a cast made them so, beyond 65504"
    else:
        text += ": a step, rate times gradient, left the range of the dtype, and the next one would have made them nan"
    return _hit(float(count), text, "w - lr g is infinite where lr g is; the next pass makes inf - inf = nan of it.")


def _entries(w: Weights, _: RuleOf[Weights]) -> Hit | None:
    some = [t for t in w.bad if 0 < t.nan < t.total and not (t.inf or t.rows or t.columns) and len(t.shape) > 1]
    if not some or w.every:
        return None
    text = (
        f"single numbers are nan in {_listed(some)}: their gradients were infinite, and inf/inf in a step of Adam or "
        "0 inf in clipping by one norm made nan of them; a signal that was nan would have made whole rows so"
    )
    return _hit(float(sum(tensor.nan for tensor in some)), text, "m/sqrt(v) = inf/inf; max_norm/inf g = 0 inf.")


def _rows(w: Weights, _: RuleOf[Weights]) -> Hit | None:
    some = [tensor for tensor in w.bad if tensor.rows and not tensor.columns and not tensor.inf]
    if not some or w.every:
        return None
    one = some[-1]  # nearest to the loss: where it came from
    text = (
        f"{len(one.rows)} of {one.shape[0]} rows of {one.name} are nan throughout: dL/dz of those units was nan or too "
        "large; the other rows got none of it: their units were off for every sample, or their words in none"
    )
    return _hit(len(one.rows) / one.shape[0], text, "Row j of dL/dW is the sum over samples of dL/dz_j h^T.")


def _columns(w: Weights, _: RuleOf[Weights]) -> Hit | None:
    some = [tensor for tensor in w.bad if tensor.columns and not tensor.rows and not tensor.inf]
    if not some or w.every:
        return None
    one = some[0]
    listed = ", ".join(map(str, one.columns[:NAMED])) + (" ..." if len(one.columns) > NAMED else "")
    whose = "of x" if one is w.trained[0] else "of what the layer got"
    which = f"column {listed} is" if len(one.columns) == 1 else f"columns {listed} are"
    text = f"{which} nan throughout in {one.name} (from 0): that feature {whose} was not finite, or too large"
    return _hit(len(one.columns) / one.shape[1], text, "Column j of dL/dW is the sum over samples of dL/dz h_j.")


def _statistics(w: Weights, _: RuleOf[Weights]) -> Hit | None:
    bad = [tensor for tensor in w.statistics if tensor.bad]
    if not bad or w.bad:
        return None
    text = (
        f"running statistics alone are not finite, {_listed(bad)}: a pass in training mode was not, and no step was "
        "taken on it; all weights are finite"
    )
    return _hit(len(bad) / len(w.statistics), text, "A pass moves running statistics; only a step moves weights.")


def _last_step(w: Weights, _: RuleOf[Weights]) -> Hit | None:
    if not w.bad or not w.statistics or any(tensor.bad for tensor in w.statistics):
        return None
    text = "running statistics are finite: the pass before the bad step was, and no other pass came behind the step"
    return _hit(1.0, text, "A pass in training mode through weights that are nan makes nan of running statistics.")


REFERENCE = "IEEE 754, section 6: operations on infinity and nan"
LAST = "go back to the last checkpoint that is finite"


def _rule(
    check: Callable[[Weights, RuleOf[Weights]], Hit | None],
    name: str,
    quantity: str,
    *,
    why: str,
    remedy: str,
    formula: str,
    wrong: str,
    severity: str = "critical",
) -> RuleOf[Weights]:
    least = {severity: 1e-12}
    return RuleOf(name, quantity, least, why, REFERENCE, wrong, remedy, formula, picture=(), check=check)


#: What is concluded of weights that are not finite, in the order in which it is said.
NONFINITE_RULES: tuple[RuleOf[Weights], ...] = (
    _rule(
        _weights,
        "weights_not_finite",
        "share of the numbers that are not finite",
        why="One such number makes every output nan, or those that it reaches.",
        remedy=LAST,
        formula="w is nan or infinite",
        wrong="Never.",
    ),
    _rule(
        _every,
        "every_tensor",
        "1 where no tensor that steps move is finite",
        why="One step does so, and nothing is left that tells more.",
        remedy=f"{LAST}; a smaller rate or a warm-up, no log of 0 and no 0/0 in the loss, no step where the norm of "
        "gradients is not finite",
        formula="W - lr nan = nan",
        wrong="Of the second bad step on all is nan whatever was nan first: which tensor that was is not to be seen.",
    ),
    _rule(
        _untouched,
        "untouched_tensors",
        "share of the tensors that are nan, where others are finite",
        why="What is nan spreads to all that gets a gradient; the rest says how far gradients go.",
        remedy=f"{LAST}; see whether those tensors were to be trained",
        formula="W - lr nan = nan; W - lr 0 = W",
        wrong="Clipping by layer, or steps of several optimisers, keep nan within some tensors too.",
    ),
    _rule(
        _input_side,
        "overflow_on_the_way_back",
        "share of the tensors, from the input on, that are not finite",
        why="Gradients at the output were finite, and those at the input were not: they exploded on their way.",
        remedy=f"{LAST}, and diagnose it: dL/dz explodes; clipping cannot divide what is infinite",
        formula="|dL/dz_1| = f^(L-1) |dL/dz_L| beyond the largest number",
        wrong="Tensors at the output that are frozen look so too.",
    ),
    _rule(
        _one,
        "one_tensor",
        "share of the tensors, one of them",
        why="A signal that is nan reaches weights and biases, and all layers before.",
        remedy=f"{LAST}; a finite x, the rate and the init of that tensor, and its own function where it has one",
        formula="dL/dW = dL/dz h^T",
        wrong="Where gradients are cut off before the tensor, nan of a signal stays in it too.",
    ),
    _rule(
        _biases,
        "biases_alone",
        "share of the tensors, all biases",
        why="Weights have the same signal as their biases.",
        remedy="the rate of the biases, and their init",
        formula="dL/db = sum of dL/dz",
        wrong="Where weights are frozen, their biases alone can go.",
    ),
    _rule(
        _infinite,
        "infinite_weights",
        "numbers that are infinite",
        why="inf lives for one step: the next makes nan of it.",
        remedy=f"{LAST}, and a smaller rate; or the numbers before the cast, in bfloat16 or float32",
        formula="w - lr g = inf",
        wrong="Behind a unit that is flat there, as tanh is, infinite weights stay for more than a step.",
    ),
    _rule(
        _entries,
        "single_entries",
        "numbers that are nan by themselves",
        why="A nan of a signal is one of a unit, and of all of its weights.",
        remedy=f"{LAST}; skip steps whose gradients are not finite; diagnose it: dL/dz explodes",
        formula="inf/inf = nan, 0 inf = nan",
        wrong="Sparse gradients, and masks on weights, leave single numbers too.",
    ),
    _rule(
        _rows,
        "rows",
        "share of the rows of a tensor",
        why="A row belongs to a unit, whose signal it has.",
        remedy=f"{LAST}; the samples in which those units were on",
        formula="dL/dW_j = sum of dL/dz_j h^T",
        wrong="Of a mask that multiplies by 0, rows of units that are off are nan as well.",
    ),
    _rule(
        _columns,
        "columns",
        "share of the columns of a tensor",
        why="A column belongs to a feature that comes in.",
        remedy=f"{LAST}; that feature: samples must be finite, and it may be the logarithm of 0 or a division by 0",
        formula="dL/dW_ij = sum of dL/dz_i h_j",
        wrong="Of arrays (in, out) that are not called kernel or coefs, rows and columns are the other way round.",
    ),
    _rule(
        _statistics,
        "running_statistics",
        "share of the running statistics that are not finite",
        why="Outputs in evaluation are nan, though every weight is fine.",
        remedy="set running statistics back (mean 0, variance 1), and pass finite samples through in training mode",
        formula="mean = (1 - m) mean + m batch mean",
        wrong="Weights that are finite may still have grown.",
    ),
    _rule(
        _last_step,
        "last_step",
        "1 where running statistics are finite and weights are not",
        severity="info",
        why="It dates the step: the one that was taken last.",
        remedy="look at the batch and the rate of that very step",
        formula="mean = (1 - m) mean + m batch mean",
        wrong="Norms in evaluation mode move no statistics.",
    ),
)


def judge_weights(w: Weights, *, explain: bool = False) -> Diagnosis:
    """The diagnosis of weights that are not finite."""
    found = found_by(NONFINITE_RULES, w, explain=explain)
    return Diagnosis(
        spec=None,
        probe=None,
        verdict="non-finite",
        direction=None,
        conditions=("non-finite",),
        confidence=math.nan,
        depth_limit=None,
        findings=found,
        summary=f"non-finite: {found[0].evidence}",
    )


def of_error(error: NonFinite, *, explain: bool = False) -> Diagnosis:
    """The diagnosis of weights that could not be brought in."""
    each = (Tensor(name, *counts) for name, counts in error.every.items())
    return judge_weights(Weights(each), explain=explain)


def of_weights(subject: Any, *, explain: bool = False) -> Diagnosis | None:
    """The diagnosis of a model or a state dict whose numbers are not finite; None where they are, or there are none."""
    w = Weights(tuple(Tensor.of(name, values) for name, values in arrays_of(subject)))
    return judge_weights(w, explain=explain) if any(tensor.bad for tensor in w.tensors) else None


# Arrays of models, of which no library is imported


def arrays_of(subject: Any) -> Iterator[tuple[str, NDArray[Any]]]:
    """The weights of a mapping of arrays, nested or not, or of a model that tells its own; by name, input side first.

    Those of (in, out), which Keras, flax and scikit-learn have, are turned to (out, in).
    """
    if isinstance(subject, type):
        return
    weights = getattr(subject, "weights", None)
    if isinstance(weights, list) and all(hasattr(each, "path") for each in weights):
        # Of Keras, before what is of torch: on its torch backend a model is both, and its state dict has all twice.
        subject = {each.path: each for each in weights}
    elif callable(getattr(subject, "state_dict", None)):
        subject = subject.state_dict()
    elif hasattr(subject, "coefs_") and hasattr(subject, "intercepts_"):  # of scikit-learn
        pairs = zip(subject.coefs_, subject.intercepts_, strict=True)
        subject = {
            f"{name}_.{i}": each
            for i, pair in enumerate(pairs)
            for name, each in zip(("coefs", "intercepts"), pair, strict=True)
        }
    if isinstance(subject, Mapping):
        yield from _flat(subject, "")


def _flat(tree: Mapping[Any, Any], path: str) -> Iterator[tuple[str, NDArray[Any]]]:
    names = list(tree)
    texts = [str(name) for name in names]
    if texts == sorted(texts):  # as JAX and safetensors leave them, 10 before 9
        names.sort(key=lambda name: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", str(name))])
    for name in names:
        value, full = tree[name], f"{path}{name}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{full}.")
        elif (array := _array(value)) is not None:
            turned = array.ndim > 1 and any(word in full for word in ("kernel", "coefs_"))
            yield full, np.moveaxis(array, (-1, -2), (0, 1)) if turned else array


def _array(value: Any) -> NDArray[Any] | None:
    """An array of floats as NumPy has it; None for anything else."""
    if hasattr(value, "detach"):  # a tensor of torch, on any device, of any type
        value = value.detach()
        if not value.is_floating_point():
            return None
        value = (value.double() if value.element_size() == 8 else value.float()).cpu()
    if not hasattr(value, "shape"):
        return None
    found = np.asarray(value)
    if found.dtype.kind != "f":
        return found.astype(np.float32) if "float" in found.dtype.name else None  # bfloat16 and its like
    return found
