"""Nets and data that might do: `Candidate`, one change at a time, two at once, with a smaller readout."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np

from vgcore.cure.remedies import DRAWN, PRETRAINED, READOUT, REMEDIES, Change, Fields, readout
from vgcore.cure.scaling import Data, scaled
from vgcore.judge.diagnosis import Diagnosis
from vgcore.measure.result import Probe
from vgcore.model.mlp import MLP
from vgcore.model.sorts import FIELDS, fields_of
from vgcore.model.spec import Spec
from vgcore.pretrain.greedy import pretrain, suited
from vgcore.pretrain.learn import Method, in_unit_interval
from vgcore.pretrain.pretrained import Pretrained

#: What of a net and its data can be kept beside its fields.
OTHERS = ("x", "y", "readout")
#: What can be kept as it is, of any net.
KEPT = (*FIELDS, *OTHERS)


@dataclass(frozen=True, eq=False)
class Candidate:
    """A net and its data.

    Attributes:
        spec: The net.
        data: What it is run on.
        kinds: The kinds of changes that it has.
        drawn: Whether weights are drawn where there were given ones.
        changes: What differs, by the names of `KEPT`, in words.
        pretrained: What its weights come from, where its layers were trained one by one.
    """

    spec: Spec
    data: Data
    kinds: tuple[Change, ...]
    drawn: bool
    changes: Mapping[str, Any]
    pretrained: Pretrained | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for the same net on the same data."""
        return self.spec.id, self.drawn, tuple(self.data.changes.items())

    @property
    def fields(self) -> Fields:
        """What differs in the net."""
        return {name: value for name, value in self.changes.items() if name not in self.data.changes}

    @property
    def cost(self) -> int:
        """That of the change that changes most."""
        return max(kind.cost for kind in self.kinds)

    @property
    def words(self) -> str:
        """What is changed, as code."""
        names = {"readout": "readout init"}
        parts = ["drawn anew"] if self.drawn and self.pretrained is None else []
        return ", ".join(parts + [f"{names.get(name, name)}={value}" for name, value in self.changes.items()])


class Candidates:
    """What can be changed in a net that was measured, each candidate once.

    Args:
        cell: The net as it is.
        keep: Names of what must stay.
    """

    def __init__(self, cell: Probe, keep: Collection[str]) -> None:
        self.cell = cell
        self.spec: Spec = cell.spec
        self.data: Data = Data(cell.x, cell.y)
        # The readout's init is one of the inits.
        self.keep: frozenset[str] = frozenset({*keep, "readout"} if "init" in keep else keep)
        self.own: bool = cell.network is not None
        self.seen: set[tuple[str, bool, tuple[()]]] = {(self.spec.id, False, ())}

    def singles(self, before: Diagnosis) -> Iterator[Candidate]:
        """One change each: those of the data first."""
        for scaling, data in scaled(self.cell):
            yield from self._new(self.spec, data, (scaling,), drawn=False)
        if self.own:
            yield from self._new(self.spec, self.data, (DRAWN,))
        for remedy in (each for each in REMEDIES if isinstance(self.spec, each.of)):
            for fields in remedy.propose(self.spec, before):
                yield from self._replaced(self._suited(fields), self.data, (remedy,))

    def pairs(self, singles: Sequence[Candidate]) -> Iterator[Candidate]:
        """Two changes at once, of different kinds that do not touch the same."""
        for one, two in itertools.combinations(singles, 2):
            if one.kinds == two.kinds or one.changes.keys() & two.changes.keys():
                continue
            fields = one.fields | two.fields
            data = one.data.with_changes(two.data)
            yield from self._replaced(fields, data, one.kinds + two.kinds, drawn=one.drawn or two.drawn)

    def toned(self, candidate: Candidate, after: Diagnosis) -> Iterator[Candidate]:
        """A candidate whose first loss is far above a blind guess, with a smaller readout if that has its own init."""
        if not isinstance(candidate.spec, READOUT.of):
            return
        for smaller in READOUT.propose(candidate.spec, after):
            yield from self._replaced(candidate.fields | {**smaller}, candidate.data, (*candidate.kinds, READOUT))

    def pretrained(self) -> Candidate | None:
        """The net with its hidden layers trained one by one, where it has samples and such layers.

        By Boltzmann machines where its layers and samples allow it, else by denoising autoencoders.
        """
        x = self.data.x
        if x is None or "init" in self.keep:
            return None
        for method in ("rbm", "dae"):
            try:
                suited(self.spec, Method(method))
                if method == "rbm" and not in_unit_interval(np.asarray(x)):
                    continue
                found = pretrain(self.spec, x, method=method, seed=int(self.cell.seeds[0]))
            except ValueError:  # such as layers with norms, or a rate with which these samples diverge
                continue
            changes = {"pretrain": found.method}
            return Candidate(self.spec, self.data, (PRETRAINED,), True, changes, found)
        return None

    def _suited(self, fields: Mapping[str, Any]) -> Fields:
        """Fields to replace, with the input that data have and the readout that must stay."""
        suited = dict(fields)
        if self.spec.bias is False:
            suited.pop("bias", None)  # which it is to be without
        if self.cell.x is not None and "width" in fields and self.spec.in_features is None:
            suited["in_features"] = self.spec.width
        if (
            isinstance(self.spec, MLP)
            and "readout" in self.keep
            and "init" in fields
            and self.spec.out_features is not None
        ):
            suited["readout"] = readout(self.spec)
        return suited

    def _replaced(
        self, fields: Mapping[str, Any], data: Data, kinds: tuple[Change, ...], *, drawn: bool = True
    ) -> Iterator[Candidate]:
        try:
            changed = _replace(self.spec, fields)
        except ValueError:  # This net cannot have it, such as a skip around blocks that do not divide the depth.
            return
        yield from self._new(changed, data, kinds, drawn=drawn)

    def _new(self, spec: Spec, data: Data, kinds: tuple[Change, ...], *, drawn: bool = True) -> Iterator[Candidate]:
        """A candidate that was not there before, and leaves as it is what must stay."""
        changes = {**data.changes, **changed_fields(self.spec, spec)}
        touched = changes.keys() - {"readout"}
        if spec.out_features is not None and _last(spec) != _last(self.spec):
            touched |= {"readout"}
        candidate = Candidate(spec, data, kinds, drawn and self.own, changes)
        if candidate.key not in self.seen and not touched & self.keep:
            self.seen.add(candidate.key)
            yield candidate


def changed_fields(spec: Spec, changed: Spec) -> Fields:
    """The fields that differ; of an init, `"init"` of hidden layers and `"readout"` where that has another."""
    found: Fields = {}
    for name in fields_of(spec):
        ours, theirs = ((_hidden if name == "init" else attrgetter(name))(each) for each in (spec, changed))
        if ours != theirs:
            found[name] = theirs
        if name == "init" and changed.out_features is not None:
            last = _last(changed)
            if last != found.get("init", _last(spec)):
                found["readout"] = last
    return found


def _last(spec: Spec) -> Any:
    """The init of the readout: that of all weights where an init has one entry."""
    return readout(spec) if isinstance(spec, MLP) else spec.init


def _hidden(spec: Spec) -> Any:
    """The init of the hidden layers, or several where they differ."""
    if not isinstance(spec, MLP) or isinstance(spec.init, str):
        return spec.init
    pattern = spec.stem + spec.block
    several = tuple(spec.init[: spec.depth if len(spec.init) >= spec.depth else pattern])
    return several[0] if len(set(several)) == 1 else several


def _replace(spec: Spec, fields: Mapping[str, Any]) -> Spec:
    """The net with these fields, `"readout"` among them."""
    given = dict(fields)
    if (last := given.pop("readout", None)) is not None:
        hidden = given.get("init", _hidden(spec))
        several = [hidden] * given.get("depth", spec.depth) if isinstance(hidden, str) else hidden
        given["init"] = (*several, last)
    return spec.replace(**given)
