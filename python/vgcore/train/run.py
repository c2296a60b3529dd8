"""What came of a training: `Run`, and any of its steps once more: `Replay`."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgcore import _core
from vgcore.measure import files, table
from vgcore.measure.probe import probe
from vgcore.measure.result import Probe
from vgcore.measure.trace import row_labels
from vgcore.model.given import LONGEST, integer
from vgcore.model.names import counted, known
from vgcore.model.network import Gradients, Network
from vgcore.model.optimizer import Optimizer, Schedule
from vgcore.model.shown import Reported, Shown
from vgcore.model.spec import Spec
from vgcore.model.versioned import Versioned
from vgcore.train import data, join
from vgcore.train.join import STEPWISE, VALIDATED
from vgcore.train.settings import FULL, Clip, Recipe, monitored
from vgcore.train.training import Columns, Training

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

Floats: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = Literal["layers", "steps"]

#: Where the bytes of a state have the number of readings in a row that were no better.
_READINGS = 40
#: What is told of the loss of each seed: properties of `Run`, columns of a frame.
LOSS_COLUMNS = ("first_loss", "best_loss", "final_loss")
#: The readout among the layers of a run.
READOUT = "readout"
#: Where a value first was not finite, as words.
PHASES = {
    "forward": "in the forward pass",
    "loss": "in the loss",
    "backward": "in the backward pass",
    "moment": "in a moment of the optimiser",
    "update": "in the update",
}


def ended(word: str) -> str:
    """Why a seed ended, one of `Run.stopped_by`, as a person reads it.

    >>> ended("non_finite"), ended("early_stopping")
    ('not finite', 'early stopping')
    """
    return "not finite" if word == "non_finite" else word.replace("_", " ")


def size(loss: float) -> str:
    """A loss as a person reads it.

    >>> size(2.30259), size(math.inf)
    ('2.303', 'not finite')
    """
    return f"{loss:.4g}" if math.isfinite(loss) else "not finite"


class FirstBad(NamedTuple):
    """Where a value first was not finite: what made it, not what passed it on.

    Attributes:
        step: The step, from 1.
        layer: The index of the layer, from 0, in `Run.layers`.
        tensor: The tensor by its name in a state dict, or what else it is: z, dL/dz, the loss.
        phase: `"forward"`, `"loss"`, `"backward"`, `"moment"` or `"update"`.
        name: What `Run.layers` calls the layer: `layers.2`, `readout`; empty for the loss, and where nobody said it.

    >>> import vgcore as vg
    >>> x, y = vg.data.digits()
    >>> spec = vg.MLP(depth=6, width=32, in_features=64, out_features=10)
    >>> bad = vg.train(spec, x, y, optimizer=vg.SGD(lr=100.0), steps=50).first_bad
    >>> bad.phase in {"forward", "backward", "loss"}
    True
    """

    step: int
    layer: int
    tensor: str
    phase: str
    name: str = ""

    def __str__(self) -> str:
        return told_of(self)


def labels_of(spec: Spec, layers: Sequence[str]) -> tuple[str, ...]:
    """What people call the layers of a run of a net."""
    return (*row_labels(spec), READOUT)[: len(layers)]


def first_bad_of(found: Sequence[Any], layers: Sequence[str]) -> FirstBad:
    """What the core, or a store, says of a run with these layers."""
    step, layer, tensor, phase = found[:4]
    has_name = tensor != "loss" and layer < len(layers)
    return FirstBad(step, layer, tensor, phase, layers[layer] if has_name else "")


def told_of(bad: FirstBad, layers: Sequence[str] = ()) -> str:
    """Where a value first was not finite, in words; `layers` are `Run.labels`, or `Run.layers`.

    >>> told_of(FirstBad(3, 1, "layers.1.weight", "update")), told_of(FirstBad(3, 2, "loss", "loss"))
    ('step 3: layer 2, weight, in the update', 'step 3: in the loss')
    """
    where = place_of(bad, layers)
    return f"step {bad.step}: {', '.join((*filter(None, where), PHASES.get(bad.phase, bad.phase)))}"


def place_of(bad: FirstBad, layers: Sequence[str] = ()) -> tuple[str, str]:
    """The layer of a bad value and what it was of, in words; both empty for the loss, which is of no layer.

    Where nobody said what the layer is called, it is its place: the last may be the readout.

    >>> place_of(FirstBad(1, 2, "z", "forward"), ("layers.0", "layers.1", "readout"))
    ('readout', 'z')
    >>> place_of(FirstBad(1, 2, "z", "forward", "layers.2")), place_of(FirstBad(1, 2, "z", "forward"))
    (('layer 3', 'z'), ('run.layers[2]', 'z'))
    """
    if bad.tensor == "loss":
        return "", ""
    if "." in bad.tensor:
        return counted(bad.tensor)
    name = layers[bad.layer] if bad.layer < len(layers) else bad.name
    if not name:
        return "" if layers else f"run.layers[{bad.layer}]", bad.tensor
    return " ".join(filter(None, counted(name))), bad.tensor


class Evaluated(NamedTuple):
    """What a trained net makes of some samples.

    Attributes:
        loss: The loss.
        accuracy: Share of right classes; nan where targets are no classes.
    """

    loss: float
    accuracy: float


@dataclass(frozen=True, eq=False)
class Replay(Versioned, Shown):
    """One step of a run again, to the bit, with every column on.

    Attributes:
        step: Which, from 1.
        seed: The seed of the run.
        loss: The loss of the step, as in `Run.loss`.
        rows: The rows of its batch among the samples that the run was given.
        probe: What the batch did in the net, layer by layer.
        network: The net before the update.
        gradients: All gradients of the batch, before noise and clipping.
        layers: The layers that the values of `columns` are of.
        columns: What `Run` records of a step, by name, `(layers,)` each.

    >>> import vgcore as vg
    >>> x, y = vg.data.digits()
    >>> run = vg.train(vg.MLP(depth=3, width=16, in_features=64, out_features=10), x, y, steps=20)
    >>> again = run.replay(7)
    >>> bool(again.loss == run.loss[0, 6]), again.probe.log10_delta_rms.shape
    (True, (1, 3))
    """

    step: int
    seed: int
    loss: float
    rows: NDArray[np.int64]
    probe: Probe
    network: Network
    gradients: Gradients
    layers: tuple[str, ...]
    columns: Mapping[str, Floats]

    def __repr__(self) -> str:
        return f"Replay(step {self.step} of seed {self.seed}: loss {self.loss:.6g}, {len(self.rows)} rows)"


@dataclass(frozen=True, eq=False)
class Run(Versioned, Reported):
    """What came of a training. S seeds, T steps, of which R are recorded, V validations, L layers.

    Step t = 1, 2, ..., T is a forward and a backward pass with the weights before it, and an update; what is recorded
    of it are that gradient, before clipping, and that update. Norms are log10, whose range no depth leaves. What was
    not monitored, what comes after the end of a seed, and the gradient of what is frozen are nan. Its arrays are
    read-only.

    Attributes:
        spec: What was trained.
        training: What it was trained on, and how, where all cells of a sweep agree.
        recipe: How it took its steps.
        network0: The net that every seed started from; None where each drew its own.
        loss_name: The loss, in canonical spelling.
        layers: The layers as a state dict names them: `layers.0`, which people call layer 1, ..., `readout`. They are
            the rows of a probe of the net, and the readout: of an `RNN` each layer at each step, of which those that
            share a tensor have one name.
        seeds: The seed of each run, `(S,)`.
        loss: Of the batch, before the update, `(S, T)`; step t is in column t - 1.
        lr: The rate that was used, `(S, T)`.
        log10_grad_norm: Norm of all gradients together, noise included, before boosts and clipping, `(S, T)`.
        clip_coef: What clipping multiplied them by, the least of several, `(S, T)`; 1 where it did nothing, nan where
            entries are clipped one by one.
        log10_boost: The largest factor that raised a tensor's gradient to `min_norm`, `(S, T)`; 0 for none.
        clipped: Share of what is clipped by itself (all as one, layers, tensors, rows, entries) that was, `(S, T)`.
        steps_done: Finished steps, `(S,)`.
        stopped_by: Why each seed ended: `"steps"`, as many as it was to do, `"non_finite"`, `"early_stopping"` or
            `"interrupted"`.
        first_bads: Where a value of each seed first was not finite; None for nowhere.
        steps: The recorded steps, `(R,)`.
        log10_weight_norm: Norm of a layer's weight matrix, before the update, `(S, R, L)`, as all to `correlation`.
            Layers that share a matrix, the steps of an `RNN` or of a tied net, have one number in this column and the
            next four: that of the matrix, whose gradient is the sum over all of them. In an `RNN` it is that of the
            state, `layers.{l}.weight`, in a `Transformer` queries, keys and values are one.
        log10_wgrad_norm: Norm of its gradient.
        log10_update_norm: Norm of its update.
        log10_update_ratio: Update over weights.
        rounded: Share of weights that have a gradient, and that the update left as they were, since it was smaller than
            the dtype can add to them.
        log10_z_rms: Root mean square of the pre-activations of the probe set, the first 256 rows of x; the six below
            are of it too, and nan at the readout.
        log10_delta_rms: Root mean square of dL/dz.
        dead: Share of units that are 0 for every row.
        births: Share of units that died since the step that was recorded before.
        revivals: Share of units that came back to life.
        saturated: Share of (row, unit) with a slope below 1 % of the largest.
        correlation: Mean cosine between the z of two rows.
        sharpness_steps: The steps whose sharpness was measured.
        sharpness: The largest eigenvalue of the loss's Hessian, over the first 1024 rows, `(S, len(sharpness_steps))`.
        validation_steps: The steps after which the net was validated, `(V,)`.
        validation_loss: The loss of the rows for validation, `(S, V)`.
        validation_accuracy: Share of them whose class is right; nan where targets are no classes.
        best_step: The step after which the kept weights stood, `(S,)`.
        networks: The net of each seed: after the best reading where there is a validation or early stopping, at the
            best checkpoint after a stop by a bad value, and after the last step otherwise. Empty, as are the next
            three, in a sweep too large to keep them.
        statistics: Running mean and variance of each batch norm, by seed and by name, as torch keeps them.
        checkpoints: State of each seed before some steps, from which others are replayed.
        states: State of each seed after its last step, from which `resume` goes on; empty after a bad value.

    >>> import vgcore as vg
    >>> x, y = vg.data.digits()
    >>> run = vg.train(vg.MLP(depth=3, width=32, in_features=64, out_features=10), x, y, steps=200)
    >>> run.loss.shape, run.layers
    ((1, 200), ('layers.0', 'layers.1', 'layers.2', 'readout'))
    >>> bool(run.final_loss[0] < run.first_loss[0] / 2), vg.diagnose(run).verdict
    (True, 'trained')
    """

    spec: Spec
    training: Training
    recipe: Recipe
    network0: Network | None
    loss_name: str
    layers: tuple[str, ...]
    seeds: NDArray[np.uint64]
    loss: Floats
    lr: Floats
    log10_grad_norm: Floats
    clip_coef: Floats
    log10_boost: Floats
    clipped: Floats
    steps_done: NDArray[np.int64]
    stopped_by: tuple[str, ...]
    first_bads: tuple[FirstBad | None, ...]
    steps: NDArray[np.int64]
    log10_weight_norm: Floats
    log10_wgrad_norm: Floats
    log10_update_norm: Floats
    log10_update_ratio: Floats
    rounded: Floats
    log10_z_rms: Floats
    log10_delta_rms: Floats
    dead: Floats
    births: Floats
    revivals: Floats
    saturated: Floats
    correlation: Floats
    sharpness_steps: NDArray[np.int64]
    sharpness: Floats
    validation_steps: NDArray[np.int64]
    validation_loss: Floats
    validation_accuracy: Floats
    best_step: NDArray[np.int64]
    networks: tuple[Network, ...]
    statistics: tuple[Mapping[str, tuple[Floats, Floats]], ...]
    checkpoints: tuple[tuple[tuple[int, bytes], ...], ...]
    states: tuple[bytes, ...]

    _ROWS: ClassVar[tuple[str, ...]] = ("layers", "steps")

    # What was asked for

    @property
    def optimizer(self) -> Optimizer:
        """The optimiser."""
        return self.recipe.optimizer

    @property
    def schedule(self) -> Schedule | Floats:
        """What multiplied its rate: a kind, or one number a step."""
        return self.recipe.schedule

    @property
    def clip(self) -> Clip | None:
        """How gradients were clipped and boosted."""
        return self.recipe.clip

    @property
    def noise(self) -> float:
        """How much noise there was on gradients: eta."""
        return self.recipe.noise

    @property
    def rates(self) -> Mapping[str, float]:
        """Multipliers of the rate by the names of modules or tensors."""
        return self.recipe.rates

    @property
    def frozen(self) -> tuple[str, ...]:
        """Names of modules or tensors that did not move."""
        return self.recipe.frozen

    @property
    def x(self) -> ArrayLike:
        """The samples as they were given."""
        return self.training.x

    @property
    def y(self) -> ArrayLike | None:
        """The targets as they were given."""
        return self.training.y

    @property
    def batch(self) -> int:
        """Rows of a batch."""
        return self.training.batch_rows

    @property
    def dtype(self) -> str:
        """The dtype of the computation."""
        return self.training.dtype

    @property
    def monitor(self) -> tuple[str, ...]:
        """The columns that were recorded."""
        return self.training.monitor

    # What came of it

    @property
    def first_bad(self) -> FirstBad | None:
        """Where a value first was not finite, of the first seed where one was; None for nowhere."""
        return next(filter(None, self.first_bads), None)

    @property
    def network(self) -> Network:
        """The trained net of the first seed; `networks` has those of all."""
        if not self.networks:
            raise ValueError("the weights of this run were not kept; train its spec alone to have them")
        return self.networks[0]

    @property
    def first_loss(self) -> Floats:
        """The loss before the first update, `(S,)`."""
        return self.loss[:, 0]

    @property
    def final_loss(self) -> Floats:
        """The mean loss of the last 5 % of the finished steps, at most 20, `(S,)`.

        Skipped steps, whose loss is nan, are left out; it is inf where there are no others, where one of them is
        infinite, or after a stop by a bad value.
        """
        found = np.full(len(self.seeds), math.inf)
        for i, (done, word) in enumerate(zip(self.steps_done.tolist(), self.stopped_by, strict=True)):
            last = self.loss[i, max(0, done - min(20, -(-done // 20))) : done]
            if word != "non_finite" and (there := last[~np.isnan(last)]).size and np.isfinite(there).all():
                found[i] = there.mean()
        return found

    @property
    def best_loss(self) -> Floats:
        """The least loss of any step, `(S,)`; inf where there is none."""
        found: Floats = np.where(np.isnan(self.loss), math.inf, self.loss).min(axis=1)
        return found

    def replay(self, step: int, *, seed: int | None = None, columns: str | Iterable[str] = "all") -> Replay:
        """Any step once more, to the bit, with every column on: why did the loss spike there?

        The run is taken up at the state that was kept last before the step; without any, at its beginning.

        Args:
            step: 1 to the number of steps that the run of this seed has begun.
            seed: One of `seeds`; the first one if None.
            columns: `"all"` of what a run records of a layer, or a list of them.

        >>> import numpy as np, vgcore as vg
        >>> x = np.random.default_rng(0).standard_normal((32, 4))
        >>> run = vg.train(vg.MLP(depth=2, width=8, in_features=4, out_features=1), x, x[:, :1], steps=20)
        >>> again = run.replay(15)
        >>> again.loss == float(run.loss[0, 14]), again.probe.log10_delta_rms.shape
        (True, (1, 2))
        """
        index = self._index(seed)
        names = monitored(columns, "columns", {"all": FULL})
        begun = min(int(self.steps_done[index]) + (self.stopped_by[index] == "non_finite"), self.loss.shape[1])
        step = integer("step", step, least=1, most=max(begun, 1))
        kept = [each for each in self._checkpoints(index) if each[0] <= step]
        state = max(kept)[1] if kept else None
        here = self._again(index, state, step - 1)
        there = self._again(index, here["last"][0], step)
        training = self.training
        rows = _core.batch_rows(int(self.seeds[index]), training.count, training.batch_rows, step)
        network = Network(self.spec, here["weights"][0])
        x, y = (None if given is None else np.asarray(given)[rows] for given in (training.rows.x, training.rows.y))
        places = training.rows.places
        return Replay(
            step=step,
            seed=int(self.seeds[index]),
            loss=float(there["loss"][0, step - 1]),
            rows=rows if places is None else places[rows],
            probe=probe(network, x=x, y=y, loss=self.loss_name, seeds=1),
            network=network,
            gradients=network.gradients(x, y, loss=self.loss_name),  # type: ignore[arg-type]
            layers=self.layers,
            columns={name: there[name][0, 0] for name in names},
        )

    def _checkpoints(self, index: int) -> tuple[tuple[int, bytes], ...]:
        """The states of a seed that were kept; none where the weights were not."""
        return self.checkpoints[index] if self.checkpoints else ()

    def _again(self, index: int, state: bytes | None, until: int) -> Columns:
        """A seed from a state on, or from its beginning, up to the end of a step, which is recorded.

        It has passed each step up to there once, so that nothing stops it early: it may have gone on after a stop.
        """
        found: list[Columns] = []
        self.training.run(
            self.network0 or [self.spec],
            [self.recipe],
            lambda _, columns: found.append(columns),
            until=until,
            record=[max(until, 1)],
            columns=FULL,
            sharpness=[],
            checkpoints=[],
            patience=None,
            resume=None if state is None else [state],
            seeds=1,
            seed=int(self.seeds[index]),
        )
        return found[0]

    def resume(self, steps: int | None = None, *, threads: int | None = None) -> Run:
        """Go on from the last step of each seed, as if there had been no stop.

        Where early stopping or a plateau looks at readings, the one behind the last planned step counts. A seed that
        early stopping has ended counts its readings anew.

        Args:
            steps: How many more, of each seed from where it ended; if None, those that an interrupt has left of the
                planned ones, while seeds that early stopping has ended stay as they are.
            threads: At most this many.

        Raises:
            ValueError: Where every seed ended at a bad value; for steps beyond the planned ones, where the schedule
                ends with these.
            KeyboardInterrupt: At Ctrl-C, with what was done as its attribute `run`.

        >>> import numpy as np, vgcore as vg
        >>> x = np.random.default_rng(0).standard_normal((32, 4))
        >>> spec = vg.MLP(depth=2, width=8, in_features=4, out_features=1)
        >>> resumed = vg.train(spec, x, x[:, :1], steps=20).resume(20)
        >>> bool((resumed.loss == vg.train(spec, x, x[:, :1], steps=40).loss).all())
        True
        """
        if not any(self.states):
            raise ValueError("this run cannot go on: it ended at a bad value, or its weights were not kept")
        # A seed that ended at a bad value stays there.
        alive = [place for place, state in enumerate(self.states) if state]
        done, planned = self.steps_done[alive], self.training.steps
        if steps is None:
            alive = [place for place in alive if self.stopped_by[place] != "early_stopping"]
            ends = dict.fromkeys(alive, planned)
        else:
            more = integer("steps", steps, least=1, most=LONGEST - int(done.max()))
            ends = dict(zip(alive, (done + more).tolist(), strict=True))
        if not ends:
            return self
        training, recipe, schedule = self.training, self.recipe, self.schedule
        if (last := max(ends.values())) > planned:
            if isinstance(schedule, np.ndarray) or schedule.knows_steps:
                told = f"{planned} numbers" if isinstance(schedule, np.ndarray) else str(schedule)
                raise ValueError(f"this run has a schedule, {told}, that ends with its {planned} steps: it has no more")
            training = replace(training, steps=last, ends=(*training.ends, planned))
        late: list[tuple[list[int], Columns]] = []

        def both() -> Run:
            found = join.every_seed(self, late)
            return join.joined(self, run_of(self.spec, recipe, training, self.network0, found))

        # The core takes seeds in a row that end at one step.
        try:
            for (_, end), group in itertools.groupby(
                enumerate(alive), key=lambda pair: (pair[1] - pair[0], ends[pair[1]])
            ):
                places = [place for _, place in group]
                training.run(
                    self.network0 or [self.spec],
                    [recipe],
                    lambda _, columns, places=places: late.append((places, columns)),  # type: ignore[misc]
                    until=end,
                    resume=[self._patient(place) for place in places],
                    seeds=len(places),
                    seed=int(self.seeds[places[0]]),
                    threads=threads,
                )
        except KeyboardInterrupt as error:
            if late:
                error.run = both()  # type: ignore[attr-defined]
            raise
        return both()

    def _patient(self, index: int) -> bytes:
        """The state that a seed goes on from; after early stopping, without the readings that were no better.

        A state begins with numbers of 8 bytes: two of its form, the next step, those taken, the step of the best
        reading, and how many since were no better (src/train/state.rs).
        """
        state = self.states[index]
        if self.stopped_by[index] != "early_stopping":
            return state
        return state[:_READINGS] + bytes(8) + state[_READINGS + 8 :]

    def evaluate(self, x: ArrayLike, y: ArrayLike | None = None, *, seed: int | None = None) -> Evaluated:
        """What the trained net makes of other samples; batch norms use their running mean and variance.

        Args:
            x: Samples `(rows, in_features)`, or sequences as in `probe`.
            y: Their targets; names of classes are those of the training.
            seed: One of `seeds`; the first one if None.
        """
        index = self._index(seed)
        _ = self.network  # which says where there is none
        targets = data.coded(y, self.training.rows.names)
        net = self.networks[index]
        return Evaluated(
            *_core.evaluate(net._weights, dict(self.statistics[index]), x, targets, self.loss_name)  # noqa: SLF001 (its handle)
        )

    def _index(self, seed: int | None) -> int:
        """The place of a seed."""
        if seed is None:
            return 0
        first = int(self.seeds[0])
        return integer("seed", seed, least=first, most=int(self.seeds[-1])) - first

    @property
    def labels(self) -> tuple[str, ...]:
        """What people call each of `layers`: by its number, in an `RNN` by its step, in a `Transformer` by its map.

        >>> import numpy as np, vgcore as vg
        >>> x = np.random.default_rng(0).standard_normal((8, 2, 3))
        >>> vg.train(vg.RNN(2, 4, in_features=3, out_features=1), x, x[:, 0, :1], steps=2).labels
        ('step 1', 'step 2', 'readout')
        """
        return labels_of(self.spec, self.layers)

    # Frames

    def to_dict(self, rows: Rows = "layers") -> dict[str, NDArray[Any]]:
        """Tidy columns; those of which nothing is known in any row are left out.

        Args:
            rows: `"layers"`: a row a (seed, recorded step, layer), with the columns that were monitored; `"steps"`: a
                row a (seed, step), with the loss and what is known of all gradients together.

        Returns:
            Steps are counted from 1, and so are layers, input side first; the readout comes last. `name` is one of
            `labels`: `layer 1` for what a state dict calls `layers.0`, and `readout`.
        """
        if known("rows", rows, self._ROWS) == "steps":
            return table.informative(self._stepwise())
        seeds, steps, layers = len(self.seeds), len(self.steps), len(self.layers)
        columns = {
            "seed": np.repeat(self.seeds, steps * layers),
            "step": np.tile(np.repeat(self.steps, layers), seeds),
            "layer": np.tile(np.arange(1, layers + 1), seeds * steps),
            "name": np.tile(np.array(self.labels, dtype=object), seeds * steps),
        }
        columns |= {name: getattr(self, name).ravel() for name in FULL if name in self.monitor}
        return table.informative(columns)

    def _stepwise(self) -> dict[str, NDArray[Any]]:
        seeds, steps = self.loss.shape
        columns = {"seed": np.repeat(self.seeds, steps), "step": np.tile(np.arange(1, steps + 1), seeds)}
        columns |= {name: getattr(self, name).ravel() for name in STEPWISE}
        sparse = {name: (self.validation_steps, getattr(self, name)) for name in VALIDATED if self.validation_loss.size}
        if self.sharpness.size:
            sparse["sharpness"] = self.sharpness_steps, self.sharpness
        for name, (at, values) in sparse.items():
            wide = np.full((seeds, steps), math.nan)
            wide[:, at - 1] = values
            columns[name] = wide.ravel()
        return columns

    def to_pandas(self, rows: Rows = "layers") -> pd.DataFrame:
        """The tidy columns of `to_dict` as a pandas frame (extra `pandas`)."""
        return table.to_pandas(self.to_dict(rows))

    def to_polars(self, rows: Rows = "layers") -> pl.DataFrame:
        """The tidy columns of `to_dict` as a polars frame (extra `polars`)."""
        return table.to_polars(self.to_dict(rows))

    def save(self, path: str | os.PathLike[str], rows: Rows = "layers") -> None:
        """Write the tidy columns of `to_dict` to a `.csv`, `.json` or `.parquet` file (extra `parquet`).

        Raises:
            OSError: Where it cannot be written, with the path and the system's reason.
        """
        write = table.writer(path)
        columns = self.to_dict(rows)
        with files.replacing(path) as temporary:
            write(temporary, columns)

    # Words

    def summary(self) -> list[str]:
        """What was trained, and what came of each seed, as lines."""
        clip = "" if self.clip is None else f", {self.clip!r}"
        schedule = self.schedule if isinstance(self.schedule, str) else "a schedule of its own"
        curve = "" if schedule == "constant" else f", {schedule}"
        head = f"{self.spec.sizes}, {self.optimizer}{curve}{clip}, batch {self.batch}, {self.loss_name}, {self.dtype}"
        return [head, *(self._words(i) for i in range(len(self.seeds)))]

    def _words(self, index: int) -> str:
        done, word = int(self.steps_done[index]), self.stopped_by[index]
        first, last = (size(each[index]) for each in (self.first_loss, self.final_loss))
        ends = f"loss {first} -> {last}"
        why = "" if word == "steps" else f", stopped: {ended(word)}"
        bad = self.first_bads[index]
        return f"seed {self.seeds[index]}: {ends} in {done} steps{why}" + (
            f", first bad at {told_of(bad, self.labels)}" if bad else ""
        )

    def __repr__(self) -> str:
        head, first, *others = self.summary()
        more = f" and {len(others)} more" if others else ""
        return f"Run({head}; {first}{more})"


def run_of(spec: Spec, recipe: Recipe, training: Training, network0: Network | None, found: Columns) -> Run:
    """What the core says of a cell."""
    seeds, steps, layers = training.seeds, training.recorded, tuple(found["layers"])
    unknown = np.broadcast_to(np.float64(math.nan), (seeds, len(steps), len(layers)))  # takes no memory
    none = np.empty((seeds, 0))
    validated = training.validation is not None
    bads = (None if bad is None else first_bad_of(bad, layers) for bad in found["first_bad"])
    return Run(
        spec=spec,
        training=training,
        recipe=recipe,
        network0=network0,
        loss_name=found["loss_name"],
        layers=layers,
        seeds=training.seeds_of_runs,
        **{name: found[name] for name in STEPWISE},
        steps_done=found["steps_done"],
        stopped_by=tuple(found["stopped_by"]),
        first_bads=tuple(bads),
        steps=steps,
        **{name: found.get(name, unknown) for name in FULL},
        sharpness_steps=training.sharp,
        sharpness=found.get("sharpness", none),
        validation_steps=training.validated if validated else np.array([], dtype=np.int64),
        **{name: found[name] if validated else none for name in VALIDATED},
        best_step=found["best_step"],
        networks=tuple(Network(spec, weights) for weights in found.get("weights", ())),
        statistics=tuple(found["statistics"]),
        checkpoints=tuple(map(tuple, found["checkpoints"])),
        states=tuple(found["last"]),
    )


# A column that is in none of the lists would not come back from a frame or a resume.
assert {*STEPWISE, *VALIDATED, *FULL} < {each.name for each in fields(Run)}  # noqa: S101
