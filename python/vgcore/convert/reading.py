"""From a tape to a graph: what is computed between maps, norms and joins is read by its values (`values.py`).

A *sink* is a value that something other than a plain function reads: a map, a norm, a join, the output. A *leaf* is a
value that such a thing has made. Between a leaf and a sink lies a piece of tape that is one function of one value; it
is cut where all its paths meet, and each cut is as long as a part of the catalogue allows.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from vgcore.convert.graph import Graph, Node, bias_of, width
from vgcore.convert.imported import NonFinite, Refusal
from vgcore.convert.tape import Add, Array, Concat, Drop, Linear, Map, Norm, Op, Reshape, Scale, Tape, Unknown
from vgcore.convert.values import Curve, Function, Paired, agree, recognised, scaled_rows


def graph(tape: Tape) -> Graph:
    """The graph of a tape."""
    return _Reader(tape).read()


@dataclass(eq=False)
class _Reader:
    tape: Tape
    notes: list[str] = field(default_factory=list)

    def read(self) -> Graph:
        tape = self.tape
        self.alias: dict[int, int] = {}
        self.ops: dict[int, Op] = {}
        self._collect()
        self.output = self._at(tape.output)
        self._check_finite()
        self._note_stopped()
        self.sinks: set[int] = set()
        self.forced: dict[int, tuple[float, float]] = {}
        self.soft: set[int] = set()
        self._settle()
        self._soften()
        self._cut_the_end()
        self._resolve()
        nodes = {value: self.nodes[value] for value in self.ops if value in self.nodes}
        return Graph(tape, nodes, self.output, self.notes)

    def _at(self, value: int) -> int:
        while value in self.alias:
            value = self.alias[value]
        return value

    def _collect(self) -> None:
        """The operations that the output depends on, with what changes nothing left out."""
        by_value = {op.out: op for op in self.tape.ops}
        needed, todo = set(), [self.tape.output]
        while todo:
            value = todo.pop()
            if value in needed or value not in by_value:
                continue
            needed.add(value)
            todo += by_value[value].args
        for op in self.tape.ops:
            if op.out not in needed:
                continue
            if isinstance(op, Unknown):
                raise Refusal(op.path, op.name, op.reason)
            if isinstance(op, Reshape) or (isinstance(op, Drop) and op.p == 0) or self._is_whole(op):
                self.alias[op.out] = op.args[0]
                continue
            if isinstance(op, Linear):
                _check_positions(op)
            self.ops[op.out] = replace(op, args=tuple(self._at(arg) for arg in op.args))
        if self._at(self.tape.output) == self.tape.inputs or not any(
            isinstance(op, Linear) for op in self.ops.values()
        ):
            raise Refusal("", "the model", "it has no linear map on the way from the input to the output")

    @staticmethod
    def _is_whole(op: Op) -> bool:
        return isinstance(op, Concat) and len(op.args) == 1

    def _check_finite(self) -> None:
        """Refuse weights that are not finite, all of them at once."""
        tensors: dict[str, Array] = {}
        for op in self.ops.values():
            if isinstance(op, Linear | Norm):
                named = {"weight": op.key or f"{op.path or op.name}.weight", "bias": f"{op.path or op.name}.bias"}
                for part, name in named.items():
                    if (tensor := getattr(op, part)) is not None:
                        tensors.setdefault(name, tensor)
        if (broken := NonFinite.of(tensors)) is not None:
            raise broken

    def _note_stopped(self) -> None:
        """Say which gradients the user's model stops."""
        for op in self.ops.values():
            if isinstance(op, Linear | Map | Norm) and op.stopped:
                name = op.key or op.path or op.name
                self.notes.append(f"{name}: its gradient is stopped in your model, and a net here trains all")

    # --- Sinks and leaves --------------------------------------------------------------------

    def _settle(self) -> None:
        """Find sinks and leaves: each sink makes leaves, which may make further sums of two ways."""
        self.joins: dict[int, tuple[float, float]] = dict(self.forced)
        hard = [op for op in self.ops.values() if self._is_hard(op)]
        self.sinks = {self.output} | {arg for op in hard for arg in op.args}
        self.sinks |= {arg for value in self.forced for arg in self.ops[value].args}
        known = -1
        while known != len(self.sinks) + len(self.joins):
            known = len(self.sinks) + len(self.joins)
            self.leaves: dict[int, frozenset[int]] = {self.tape.inputs: frozenset([self.tape.inputs])}
            for op in self.ops.values():
                of_args = [self.leaves.get(arg, frozenset([arg])) for arg in op.args]
                union = frozenset().union(*of_args)
                ways = len(op.args) == 2 and len(union) == 2 and all(len(each) == 1 for each in of_args)
                if ways and op.out not in self.joins and (factors := self._factors(op)) is not None:
                    self.joins[op.out] = factors
                    self.sinks |= set(op.args)
                own = self._is_hard(op) or op.out in self.joins or op.out in self.sinks
                self.leaves[op.out] = frozenset([op.out]) if own else union

    def _is_hard(self, op: Op) -> bool:
        learned = isinstance(op, Scale) and op.learned and op.out not in self.soft
        return learned or isinstance(op, Linear | Norm | Drop | Concat)

    def _soften(self) -> None:
        """Let a factor that learns be inside of an activation: `relu(x) - a relu(-x)` is a prelu."""
        scales = {value for value, op in self.ops.items() if isinstance(op, Scale) and op.learned}
        if not scales:
            return
        held, self.soft = set[int](), scales
        self._settle()
        for value, op in self.ops.items():
            leaves = frozenset().union(*(self.leaves.get(arg, {arg}) for arg in op.args))
            if len(op.args) != 2 or len(leaves) != 1:
                continue
            (leaf,) = leaves
            inside = {each.out for each in self._between([leaf], value)} & scales
            if len(inside) != 1 or not self._width(leaf):
                continue
            piece = recognised(self._function([leaf], value)[0], self._width(leaf) or 0, learned=1, custom=False)
            held |= inside if isinstance(piece, Curve) else set()
        self.soft = held
        self._settle()

    def _factors(self, op: Op) -> tuple[float, float] | None:
        """The factors of an operation that is `alpha a + beta b`."""
        if isinstance(op, Add):
            return op.alpha, op.beta
        if not isinstance(op, Map):
            return None
        widths = [self._width(arg) for arg in op.args]
        if len(set(widths)) != 1 or widths[0] is None:
            return None
        a = scaled_rows(widths[0])
        b = a[::-1, ::-1].copy()
        zero = np.zeros_like(a)
        with np.errstate(all="ignore"):
            try:
                alpha, beta = float(op.f(zero + 1, zero).flat[0]), float(op.f(zero, zero + 1).flat[0])
                same = agree(np.asarray(op.f(a, b)), alpha * a + beta * b)
                same &= agree(np.asarray(op.f(a, a)), alpha * a + beta * a)
            except (ValueError, IndexError, TypeError):
                return None
        return (alpha, beta) if same else None

    def _width(self, value: int) -> int | None:
        return self.tape.in_features if value == self.tape.inputs else width(self.ops[value])

    # --- Pieces between a leaf and a sink ----------------------------------------------------

    def _between(self, leaves: Iterable[int], sink: int) -> list[Op]:
        """The operations from some leaves to a sink, in order."""
        leaves, found, todo = set(leaves), set(), [sink]
        while todo:
            value = todo.pop()
            if value in leaves or value in found or value not in self.ops:
                continue
            found.add(value)
            todo += self.ops[value].args
        return [op for value, op in self.ops.items() if value in found]

    def _function(self, leaves: Sequence[int], sink: int) -> tuple[Function, list[Op]]:
        """The function that leads from some leaves to a sink, on arrays of the leaves' features side by side."""
        ops = self._between(leaves, sink)
        widths = [self._width(leaf) or 0 for leaf in leaves]
        cuts = list(itertools.accumulate(widths))[:-1]

        def f(x: Array) -> Array:
            values = dict(zip(leaves, np.split(x, cuts, axis=1), strict=True))
            with np.errstate(all="ignore"):
                for op in ops:
                    values[op.out] = _replay(op, [values[arg] for arg in op.args])
            made = values[sink]
            return made.reshape(len(x), -1) if made.ndim != 2 else made

        return f, ops

    def _meeting(self, leaf: int, sink: int) -> list[int]:
        """The values that all paths from a leaf to a sink go through, both ends included."""
        ops = self._between([leaf], sink)
        ahead, back = {leaf: 1}, {sink: 1}
        for op in ops:
            ahead[op.out] = sum(ahead.get(arg, 0) for arg in op.args)
        for op in reversed(ops):
            for arg in op.args:
                back[arg] = back.get(arg, 0) + back.get(op.out, 0)
        total = ahead[sink]
        meets = [leaf] + [op.out for op in ops if ahead[op.out] * back.get(op.out, 0) == total]
        return [value for value in meets if value in {leaf, sink} or (self._width(value) or 0) > 0]

    def _recognise(self, leaf: int, sink: int) -> None:
        """Make nodes of the pieces between a leaf and a sink: each as long as it is something known."""
        meets = self._meeting(leaf, sink)
        last = len(meets) - 1
        refused: dict[int, str] = {}

        def pieces(at: int, *, custom: bool) -> list[tuple[int, int, Node]] | None:
            if at == last:
                return []
            for end in range(last, at, -1):
                f, ops = self._function([meets[at]], meets[end])
                learned = max((int(op.learned) for op in ops if isinstance(op, Map | Scale)), default=0)
                piece = recognised(f, self._width(meets[at]) or 0, learned=learned, custom=custom)
                if isinstance(piece, str):
                    refused[at] = piece
                elif (rest := pieces(end, custom=custom)) is not None:
                    if isinstance(piece, Curve) and rest and isinstance(rest[0][2].what, Curve):
                        continue  # two activations in a row are one of its own
                    node = Node(ops[-1], (meets[at],), piece, keys=_keys(*ops), learned=learned)
                    return [(at, end, node), *rest]
            return None

        found = pieces(0, custom=False) or pieces(0, custom=True)
        if found is None:
            at = max(refused)
            blamed = self._function([meets[at]], meets[at + 1])[1]
            names = list(dict.fromkeys(op.name for op in blamed))
            name = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
            raise Refusal(blamed[-1].path, name, refused[at])
        self.nodes |= {meets[end]: node for _, end, node in found}

    def _resolve(self) -> None:
        """Make a node for every value that the output needs."""
        self.nodes: dict[int, Node] = {}
        todo = [self.output]
        while todo:
            value = todo.pop()
            if value == self.tape.inputs or value in self.nodes:
                continue
            op = self.ops[value]
            if self._is_hard(op) or value in self.joins:
                self.nodes[value] = Node(op, op.args, op, self.joins.get(value, ()), keys=_keys(op))
                todo += op.args
                continue
            leaves = sorted({leaf for arg in op.args for leaf in self.leaves[arg]})
            if len(leaves) == 1:
                self._recognise(leaves[0], value)
                todo += leaves
            elif (others := self._several(leaves, value)) is not None:
                todo += others
            elif isinstance(op, Add):  # of which one way is more than a piece of one leaf
                self.forced[value] = (op.alpha, op.beta)
                self._settle()
                self.nodes, todo = {}, [self.output]
            else:
                raise Refusal(
                    op.path,
                    op.name,
                    f"it joins {len(leaves)} ways, and neither adds them, sets them side by side, nor gates pairs",
                )

    def _several(self, leaves: list[int], sink: int) -> list[int] | None:
        """Make a node of several leaves, an activation of pairs or a highway, and give the values that it reads."""
        f, ops = self._function(leaves, sink)
        if len(leaves) == 2:
            first, second = (self.ops.get(leaf) for leaf in leaves)
            width = sum(self._width(leaf) or 0 for leaf in leaves)
            if isinstance(first, Linear) and isinstance(second, Linear) and first.args == second.args:
                piece = recognised(f, width, custom=False)
                inside = {op.out for op in ops}
                alone = all(user.out in inside for each in (first, second) for user in self._users(each.out))
                if isinstance(piece, Paired) and alone:
                    return self._merged(first, second, sink, piece)
        return self._highway(leaves, sink) if len(leaves) == 3 else None

    def _merged(self, first: Linear, second: Linear, sink: int, piece: Paired) -> list[int]:
        """Two maps of one value as one map of twice the width."""
        none = first.bias is None and second.bias is None
        both = replace(
            second,
            weight=np.concatenate([first.weight, second.weight]),
            bias=None if none else np.concatenate([bias_of(first), bias_of(second)]),
            key=f"{first.key} and {second.key}",
        )
        self.ops[second.out] = both
        self.nodes[second.out] = Node(both, both.args, both, keys=_keys(first, second))
        self.nodes[sink] = Node(self.ops[sink], (second.out,), piece)
        self.notes.append(
            f"{first.path or first.name} and {second.path or second.name} are one map here, "
            f"whose pairs {piece.text} joins"
        )
        return list(both.args)

    def _users(self, value: int) -> list[Op]:
        return [op for op in self.ops.values() if value in op.args]

    def _highway(self, leaves: list[int], sink: int) -> list[int] | None:
        """A gate that is a map of what goes around, if that is what three leaves make."""
        inside = self._between(leaves, sink)
        for around, branch, gate in itertools.permutations(leaves):
            op = self.ops.get(gate)
            if not isinstance(op, Linear) or op.args[0] != around:
                continue
            # What comes through the block may be a piece of its leaf: an activation, say.
            for through in (branch, *(each.out for each in inside if self.leaves[each.out] == {branch})):
                if self._is_gated(around, through, gate, sink):
                    self.nodes[sink] = Node(self.ops[sink], (around, through), self.ops[sink], gate=op, keys=_keys(op))
                    return [around, through]
        return None

    def _is_gated(self, around: int, through: int, gate: int, sink: int) -> bool:
        """Is a value `(1 - T) x + T F` with T the sigmoid of the gate?"""
        widths = [self._width(value) for value in (around, through, gate)]
        if len(set(widths)) != 1 or widths[0] is None:
            return False
        x = scaled_rows(widths[0])
        f, g = x[::-1, ::-1], 3 * np.random.default_rng(0).standard_normal(x.shape)
        opened = 1 / (1 + np.exp(-g))
        try:
            made = self._function([around, through, gate], sink)[0](np.hstack([x, f, g]))
        except TypeError:  # the value is made of something else too
            return False
        return bool((np.abs((1 - opened) * x + opened * f - made) <= 1e-12 * (1 + np.abs(x) + np.abs(f))).all())

    # --- The end ------------------------------------------------------------------------------

    def _cut_the_end(self) -> None:
        """Leave a last softmax or logistic function to the loss."""
        op = self.ops[self.output]
        if self._is_hard(op) or self.output in self.joins:
            return
        leaves = frozenset().union(*(self.leaves[arg] for arg in op.args))
        if len(leaves) != 1:
            return
        (leaf,) = leaves
        if not isinstance(self.ops.get(leaf), Linear):
            return
        meets = self._meeting(leaf, self.output)
        for at in range(len(meets) - 1):
            f, ops = self._function([meets[at]], self.output)
            width = self._width(meets[at]) or 0
            if (name := _of_the_loss(f, width)) is not None:
                self.output = meets[at]
                self.notes.append(f"the last {name} ({ops[-1].name}) belongs to the loss: outputs are those before it")
                needed = {op.out for op in self._between([self.tape.inputs], self.output)}
                self.ops = {value: op for value, op in self.ops.items() if value in needed}
                self._settle()
                return


def _check_positions(op: Linear) -> None:
    positions = int(np.prod(op.shape[1:-1])) if len(op.shape) > 2 else 1
    if positions != 1:
        raise Refusal(
            op.path, op.name, f"it maps {positions} positions of a sample with the same weights, shape {op.shape}"
        )


def _replay(op: Op, values: list[Array]) -> Array:
    match op:
        case Map():
            return np.asarray(op.f(*values), np.float64)
        case Add():
            return np.asarray(op.alpha * values[0] + op.beta * values[1], np.float64)
        case Scale():
            return np.asarray(op.factor * values[0], np.float64)
    raise TypeError(f"{type(op).__name__} is no function of values alone")


def _of_the_loss(f: Function, width: int) -> str | None:
    """`"softmax"`, `"log_softmax"` or `"sigmoid"`, if the function is that."""
    x = 2 * scaled_rows(width)
    with np.errstate(all="ignore"):
        try:
            made = np.asarray(f(x))
        except (ValueError, IndexError, TypeError):
            return None
        if made.shape != x.shape or not np.isfinite(made).any():
            return None
        log_softmax = x - np.logaddexp.reduce(x, axis=1, keepdims=True)
        log_sigmoid = -np.logaddexp(0, -x)
        known = {"softmax": np.exp(log_softmax), "log_softmax": log_softmax}
        known |= {"sigmoid": np.exp(log_sigmoid), "log_sigmoid": log_sigmoid}
        made = np.where(made < -700, np.nan, made)  # the logarithm of what has lost digits, or is 0
    return next((name for name, value in known.items() if agree(made, value)), None)


def _keys(*ops: Op) -> frozenset[str]:
    """What the parameters of operations are, a matrix and its transpose as one."""
    found: set[str] = set()
    for op in ops:
        if isinstance(op, Linear):
            found |= {op.key, op.bias_key}
        elif isinstance(op, Norm) or (isinstance(op, Map | Scale) and op.learned):
            # A function of several parameters names them all; one that is worked out is a name of its own.
            found |= set(op.key.split(", ")) if "(" not in op.key else {op.key}
    return frozenset(key.removesuffix(".T") for key in found if key)
