"""The training of one net: `train` -> `Run`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from numpy.typing import ArrayLike

from vgcore.measure.brought import brought
from vgcore.measure.progress import Tell, training_line
from vgcore.model.given import boolean
from vgcore.model.kind import Loss
from vgcore.model.network import Network
from vgcore.model.spec import Spec
from vgcore.train.data import Validation
from vgcore.train.run import Run, ended
from vgcore.train.settings import Clip, EarlyStopping, Recipe
from vgcore.train.steps import Rule
from vgcore.train.training import Training, dtype_of
from vgcore.train.work import Cell, Trainer


def train(
    subject: Any,
    x: ArrayLike,
    y: ArrayLike | None = None,
    *,
    loss: str | Loss | None = None,
    optimizer: str = "adam",
    steps: int = 1000,
    batch: int | None = None,
    schedule: str | ArrayLike | None = None,
    clip: Clip | float | None = None,
    noise: float = 0.0,
    rates: Mapping[str, float] | None = None,
    frozen: str | Iterable[str] = (),
    validation: Validation = None,
    validate_every: int | None = None,
    early_stopping: int | EarlyStopping | None = None,
    monitor: str | Iterable[str] = "cheap",
    record: Rule = None,
    sharpness: int | None = None,
    checkpoints: int | None = None,
    nonfinite: str = "stop",
    seeds: int = 1,
    seed: int = 0,
    dtype: str | None = None,
    threads: int | None = None,
    progress: bool = False,
    store: str | os.PathLike[str] | None = None,
) -> Run:
    """Train a net, and record what its layers do: how far each of them moves, and where a value first is not finite.

    Args:
        subject: A spec, whose weights are drawn for each seed; or a `Network`, which every seed starts from, or a model
            of another library, as in `probe`, of which that is made.
        x: Samples `(rows, in_features)`, or sequences as in `probe`.
        y: Targets of `loss`, as in `probe`: classes as ids, names or one-hot rows, or numbers.
        loss: One of `LOSSES`, a call, or a `Loss`; if None, the one that `probe` would take for such targets.
        optimizer: One of `OPTIMIZERS`, a call such as `"sgd(lr=0.1, momentum=0.9)"`, or what `SGD`, `Adam` and their
            like make; `Optimizer` says what each of them does.
        steps: Updates, 1 to 1,000,000.
        batch: Rows of a batch; 64 if None; all there are where these are fewer. Each epoch has a new order, drawn from
            the seed; rows that fill no batch wait for the next one. A batch of all rows keeps them in order.
        schedule: What multiplies the rate: one of `SCHEDULES`, a call such as `"cosine(warmup=100)"`, or one number a
            step.
        clip: None, a largest norm of all gradients together, or a `Clip`.
        noise: eta of Gaussian noise on gradients, of variance `eta / t^0.55` at step t = 1, 2, ... (Neelakantan et al.
            2015, arXiv:1511.06807, who count from 0).
        rates: Multipliers of the rate by the names of modules or tensors, as in `{"readout": 0.1, "layers.0.bias": 2}`;
            of several names that fit, the longest one counts.
        frozen: Names of modules or tensors that stay as they are.
        validation: Samples and targets `(x, y)`, or a share of the rows above 0 and up to 0.9, which is drawn by `seed`
            and is not trained on.
        validate_every: Steps between validations; an epoch if None, and at most 100 over the run.
        early_stopping: None, a patience, or an `EarlyStopping`, which says what a reading is.
        monitor: `"cheap"`: norms of weights, gradients and updates and the share that was rounded away; `"full"`: what
            units do as well; or a list of columns of `Run`.
        record: The steps whose layers are recorded: every so many, a list of one or more, or `"log"` for about 200 that
            are denser at the beginning; if None, all of 256, and of more the first 16 and about 200. The loss and all
            norms together are of every step.
        sharpness: Measure the largest eigenvalue of the Hessian every so many steps, on the first 1024 rows: 5 to 80
            products with it (Lanczos' method), of two gradients each.
        checkpoints: States that are kept for `Run.replay`; if None, about 16, at most one in 25 steps, and no more than
            256 MB hold.
        nonfinite: What a step with a gradient or loss that is not finite leads to: `"stop"`, or `"skip"`, which leaves
            weights and moments as they are and goes on.
        seeds: Number of runs; run i uses `seed + i` for weights, batches and noise.
        seed: The first seed, 0 to 2^64 - 1.
        dtype: `"float32"`, which it is for a spec if None, or `"float64"`. A network has its own, and takes no other.
        threads: At most this many; else VGCORE_NUM_THREADS, else all that the process may use. The numbers do not
            depend on it.
        progress: Show a line with step, loss and time left in a notebook, or on stderr where that is a terminal.
        store: A file that keeps the run when it ends, beside whatever else it holds. The same call again gives the run
            that is there, and goes on with one that was interrupted.

    Raises:
        ValueError: For values, names or shapes that are not allowed, before anything runs.
        TypeError: For arguments of a wrong type.
        MemoryError: Before anything is allocated, where the machine has too little.
        BlockingIOError: Where another process writes the store.
        OSError: Where the store cannot be written.
        KeyboardInterrupt: At Ctrl-C, behind the step at hand, with what was done as its attribute `run`, whose
            `stopped_by` says `"interrupted"` and whose `resume()` goes on; without it where a step takes long, after a
            quarter of a second.

    >>> import vgcore as vg
    >>> x, y = vg.data.digits()
    >>> spec = vg.MLP(depth=3, width=32, in_features=64, out_features=10, activation="relu")
    >>> run = vg.train(spec, x, y, optimizer=vg.Adam(lr=1e-3), steps=200, validation=0.2)
    >>> run.stopped_by, bool(run.final_loss[0] < 0.5 < run.first_loss[0])
    (('steps',), True)
    >>> run.log10_update_ratio.shape, run.layers[0], run.layers[-1]
    ((1, 200, 4), 'layers.0', 'readout')
    """
    if not isinstance(subject, Spec | Network):
        subject, _ = brought(subject, x, "an MLP, a Sequential or a Network")
    network, spec = (subject, subject.spec) if isinstance(subject, Network) else (None, subject)
    how = Training.of(
        x=x,
        y=y,
        loss=loss,
        steps=steps,
        batch=batch,
        validation=validation,
        validate_every=validate_every,
        early_stopping=early_stopping,
        monitor=monitor,
        record=record,
        sharpness=sharpness,
        checkpoints=checkpoints,
        nonfinite=nonfinite,
        seeds=seeds,
        seed=seed,
        dtype=_dtype(network, dtype),
    )
    recipe = Recipe.of(
        optimizer=optimizer,
        schedule=schedule,
        clip=clip,
        noise=noise,
        rates=rates,
        frozen=frozen,
        steps=how.steps,
    )
    show = boolean("progress", progress)
    trainer, cell = Trainer(how, network, threads), Cell(spec, recipe)

    def trained() -> Run:
        found: list[Run] = []
        with training_line(how.steps, how.seeds, show=show) as line:
            try:
                trainer.run([cell], lambda _, run: found.append(run), progress=line, interrupted=True)
            except KeyboardInterrupt as error:
                if found:
                    error.run = found[0]  # type: ignore[attr-defined]
                raise
            finally:
                if line is not None and found:
                    _tell_ends(line, found[0])
        return found[0]

    return trained() if store is None else trainer.kept(store, cell, trained)


def _tell_ends(line: Tell, run: Run) -> None:
    """Where each seed ended: the core tells of steps now and then, and not of the last."""
    for seed, (step, word) in enumerate(zip(run.steps_done.tolist(), run.stopped_by, strict=True)):
        line(0, seed, step, run.loss[seed, max(step, 1) - 1], "" if word == "steps" else ended(word))


def _dtype(network: Network | None, given: str | None) -> str:
    """The dtype of the computation; a network has its own."""
    if network is None:
        return "float32" if given is None else given
    if given is not None and dtype_of(given) != network.dtype:
        raise ValueError(f"dtype must be that of the network, {network.dtype!r}, or None, got {given!r}")
    return network.dtype
