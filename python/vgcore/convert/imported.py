"""What a conversion ends in: a net with what was noted on the way, or a refusal that says where and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from vgcore.model.given import text, wrong_type
from vgcore.model.network import Network
from vgcore.model.shown import Shown
from vgcore.model.versioned import Versioned

if TYPE_CHECKING:
    from vgcore.model.spec import Spec

#: What to do instead, where nothing nearer is known.
WATCH = "vg.watch(model) measures any torch model"


@dataclass(frozen=True, eq=False, repr=False)
class Imported(Versioned, Shown):
    """A net of another library as a net here, proved to compute the same outputs and the same dL/dx.

    Attributes:
        network: The net: `probe`, `diagnose` and `train` take it.
        notes: What was taken as identity, dropped, or left to the loss, a sentence each.

    >>> import numpy as np
    >>> import vgcore as vg
    >>> rng = np.random.default_rng(0)
    >>> arrays = {f"w{i}": rng.normal(size=shape) for i, shape in enumerate([(3, 8), (8, 2)])}
    >>> net = vg.from_arrays(arrays, activation="tanh")
    >>> net.network.spec.depth, net.network.spec.activation.name
    (1, 'tanh')
    """

    network: Network
    notes: tuple[str, ...] = ()

    @property
    def spec(self) -> Spec:
        """What the net is. Its `init` is what the weights look like, where that is known."""
        return self.network.spec

    @cached_property
    def init(self) -> str | tuple[str | None, ...] | None:
        """The init that the weights look like, as `infer_init` names it."""
        from vgcore.convert.infer import infer_init  # which a net that is only measured does not need

        return infer_init(self.network)

    def __repr__(self) -> str:
        notes = "".join(f"\n  note: {note}" for note in self.notes)
        return f"Imported({self.network!r}){notes}"


class Refusal(ValueError, Shown):  # noqa: N818 (it is an answer, as `Finding` is)
    """A net that has no equal here: where, what, why, and what comes nearest.

    Attributes:
        path: The place in the user's model.
        operation: What stands there, as the framework calls it.
        reason: Why it cannot be said.
        nearest: What to do instead.

    >>> import numpy as np
    >>> import vgcore as vg
    >>> try:
    ...     vg.from_arrays({"w0": np.ones((3, 8)), "w1": np.ones((5, 2))}, activation="tanh")
    ... except ValueError as error:
    ...     print(type(error).__name__)
    Refusal
    """

    def __init__(self, path: str, operation: str, reason: str, nearest: str = WATCH) -> None:
        self.path: str = text("path", path)
        self.operation: str = text("operation", operation)
        self.reason: str = text("reason", reason)
        self.nearest: str = text("nearest", nearest)
        place = f"{path}: " if path else ""
        super().__init__(f"{place}{operation}: {reason}; {nearest}")

    def __reduce__(self) -> tuple[type[Refusal], tuple[str, str, str, str]]:
        return Refusal, (self.path, self.operation, self.reason, self.nearest)


class NonFinite(ValueError):  # noqa: N818 (a case that `diagnose` takes)
    """Weights that are not finite.

    Attributes:
        tensors: Those that are not, by name, input side first: shape, how many nan, how many infinite, and how many
            numbers there are.
        every: All tensors that were looked at, in the same form: what is finite tells how the others came about.

    >>> import numpy as np
    >>> import vgcore as vg
    >>> try:
    ...     vg.from_arrays({"w0": np.ones((3, 8)), "w1": np.full((8, 2), np.nan)}, activation="tanh")
    ... except vg.NonFinite as error:
    ...     print([*error.tensors])
    ['w1']
    """

    def __init__(self, tensors: Mapping[str, tuple[tuple[int, ...], int, int, int]]) -> None:
        self.every: dict[str, tuple[tuple[int, ...], int, int, int]] = dict(tensors)
        self.tensors: dict[str, tuple[tuple[int, ...], int, int, int]] = {
            name: each for name, each in self.every.items() if each[1] or each[2]
        }
        named = [f"{name} ({nan} nan, {inf} inf of {total})" for name, (_, nan, inf, total) in self.tensors.items()]
        more = f" and {len(named) - 3} more" if len(named) > 3 else ""
        super().__init__(
            f"weights must be finite, got {', '.join(named[:3])}{more}; vg.diagnose(model) says what it means"
        )

    @classmethod
    def of(cls, arrays: Mapping[str, Any]) -> NonFinite | None:
        """The case of these arrays by name, if any of them has a number that is not finite.

        >>> found = NonFinite.of({"weight": [1.0, float("nan")], "bias": [0.0]})
        >>> found.tensors, len(found.every)
        ({'weight': ((2,), 1, 0, 2)}, 2)
        """
        if not isinstance(arrays, Mapping):
            raise wrong_type("arrays", "a mapping from names to arrays", arrays)
        each = {}
        for name, value in arrays.items():
            array = np.asarray(value)
            # Most are finite, which one look tells.
            bad = () if np.isfinite(array).all() else (np.isnan(array).sum(), np.isinf(array).sum())
            each[name] = (array.shape, *(map(int, bad) if bad else (0, 0)), array.size)
        found = cls(each)
        return found if found.tensors else None

    def __reduce__(self) -> tuple[type[NonFinite], tuple[dict[str, tuple[tuple[int, ...], int, int, int]]]]:
        return NonFinite, (self.every,)
