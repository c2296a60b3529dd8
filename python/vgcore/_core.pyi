from collections.abc import Callable, Sequence
from typing import Any, TypedDict, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgcore.model.spec import Spec as AnySpec

__all__ = [
    "ACTIVATIONS",
    "BATCH",
    "CELLS",
    "COLUMNS",
    "FAMILIES",
    "INITS",
    "LOSSES",
    "MOMENTS",
    "MONITORS",
    "NORMS",
    "OPTIMIZERS",
    "PRETRAININGS",
    "SCHEDULES",
    "SKIPS",
    "WEIGHT_TRANSFORMS",
    "InternalError",
    "Learner",
    "Spec",
    "Table",
    "Weights",
    "__version__",
    "activate",
    "activation_outputs",
    "as_number",
    "as_numbers",
    "batch_moments",
    "batch_rows",
    "build_info",
    "calculate_gain",
    "check_memory",
    "cost",
    "cotangent",
    "critical_point",
    "custom_activation",
    "evaluate",
    "free_energies",
    "gibbs",
    "gradcheck",
    "half_pass",
    "hermite",
    "hint",
    "jacobian",
    "kinds",
    "kinks",
    "loss_facts",
    "loss_gradient",
    "loss_name",
    "moments",
    "pair_moments",
    "plan",
    "probe",
    "pseudo_likelihoods",
    "release_memory",
    "resolve",
    "samples",
    "steepest",
    "targets",
    "tensors",
    "train",
]

__version__: str
ACTIVATIONS: tuple[str, ...]
CELLS: tuple[str, ...]
INITS: tuple[str, ...]
NORMS: tuple[str, ...]
SKIPS: tuple[str, ...]
WEIGHT_TRANSFORMS: tuple[str, ...]
LOSSES: tuple[str, ...]
OPTIMIZERS: tuple[str, ...]
PRETRAININGS: tuple[str, ...]
SCHEDULES: tuple[str, ...]
FAMILIES: tuple[str, ...]
MONITORS: tuple[str, ...]
COLUMNS: tuple[str, ...]
MOMENTS: tuple[str, ...]
BATCH: int

class InternalError(RuntimeError): ...

@final
class Spec:
    def __new__(cls, fields: dict[str, Any]) -> Spec: ...
    @staticmethod
    def of_parts(fields: dict[str, Any]) -> Spec: ...
    @staticmethod
    def of_steps(fields: dict[str, Any]) -> Spec: ...
    @staticmethod
    def of_blocks(fields: dict[str, Any]) -> Spec: ...
    def fields(self) -> dict[str, Any]: ...
    def widths(self) -> list[int]: ...
    def rows(self) -> int: ...
    def row_names(self) -> list[str]: ...
    def extra(self) -> list[str]: ...
    def readout(self) -> int | None: ...
    def content(self) -> str: ...

@final
class Table:
    @property
    def text(self) -> str: ...

@final
class Weights:
    @staticmethod
    def draw(spec: AnySpec, seed: int, dtype: str, x: ArrayLike | None) -> Weights: ...
    @staticmethod
    def given(spec: AnySpec, state: dict[str, ArrayLike]) -> Weights: ...
    @property
    def dtype(self) -> str: ...
    @staticmethod
    def joined(spec: AnySpec, parts: list[NDArray[np.floating[Any]]], dtype: str) -> Weights: ...
    def parts(self) -> list[NDArray[np.floating[Any]]]: ...
    def check_spec(self, spec: AnySpec) -> None: ...
    def state_dict(self) -> dict[str, NDArray[np.floating[Any]]]: ...
    def forward(self, x: ArrayLike, threads: int | None) -> NDArray[np.floating[Any]]: ...
    def signals(self, x: ArrayLike) -> dict[str, Any]: ...
    def backward(self, x: ArrayLike, cotangent: ArrayLike, threads: int | None) -> dict[str, Any]: ...
    def gradients(self, x: ArrayLike, y: ArrayLike | None, loss: str | None, threads: int | None) -> dict[str, Any]: ...

def plan(spec: AnySpec) -> dict[str, Any]: ...
def samples(spec: AnySpec, seed: int, batch: int, dtype: str) -> NDArray[np.float64]: ...
def targets(
    loss: str, y: ArrayLike | None, batch: int, outputs: int, places: int | None = None
) -> NDArray[Any] | None: ...
def cotangent(spec: AnySpec, seed: int, batch: int, dtype: str) -> NDArray[np.float64]: ...
def as_number(name: str, given: object) -> float: ...
def as_numbers(name: str, given: ArrayLike) -> NDArray[np.float64]: ...
def activate(activation: str, z: ArrayLike) -> NDArray[np.float64]: ...
def activation_outputs(activation: str) -> float: ...
def custom_activation(
    name: str,
    borders: Sequence[float],
    cells: Sequence[int],
    values: Sequence[float] | NDArray[np.float64],
    slopes: Sequence[float] | NDArray[np.float64],
    kinks: Sequence[float],
) -> Table: ...
def kinds(family: str) -> list[dict[str, Any]]: ...
def kinks(activation: str) -> list[float]: ...
def steepest(activation: str) -> float: ...
def resolve(kind: str, name: str, params: dict[str, float | str | None]) -> tuple[str, dict[str, float | str], str]: ...
def loss_facts(loss: str) -> tuple[bool, bool, str]: ...
def loss_name(loss: str | None, y: ArrayLike | None) -> str | None: ...
def loss_gradient(loss: str, outputs: ArrayLike, y: ArrayLike | None) -> tuple[float, NDArray[np.float64]]: ...
def calculate_gain(activation: str, param: float | str | None, mode: str | None) -> float: ...
def batch_moments(activation: str, batch: int) -> list[float]: ...
def critical_point(activation: str, sigma_b: float) -> tuple[float, float]: ...
def hermite(activation: str, q: ArrayLike, count: int) -> NDArray[np.float64]: ...
def moments(activation: str, q: ArrayLike) -> NDArray[np.float64]: ...
def pair_moments(activation: str, q: ArrayLike, c: ArrayLike) -> NDArray[np.float64]: ...
def hint(given: str, choices: Sequence[str]) -> str: ...
def jacobian(net: Weights, x: ArrayLike | None, seed: int) -> NDArray[np.float64]: ...
def cost(
    cells: Sequence[AnySpec], *, batch: int, seeds: int, dtype: str, threads: int | None
) -> tuple[float, int, int | None]: ...
def probe(
    cells: Sequence[AnySpec] | Weights,
    report: Callable[[int, dict[str, Any]], object],
    *,
    x: ArrayLike | None,
    y: ArrayLike | None,
    loss: str | None,
    batch: int | None,
    seeds: int,
    seed: int,
    dtype: str,
    threads: int | None,
) -> None: ...
def train(
    subject: Sequence[AnySpec] | Weights,
    recipes: Sequence[dict[str, Any]],
    report: Callable[[int, dict[str, Any]], object],
    *,
    x: ArrayLike,
    y: ArrayLike | None,
    loss: str | None,
    validation: tuple[ArrayLike, ArrayLike | None] | None,
    steps: int,
    until: int | None,
    batch: int,
    record: Sequence[int],
    columns: Sequence[str],
    sharpness: Sequence[int],
    validate: Sequence[int],
    checkpoints: Sequence[int],
    nonfinite: str,
    patience: tuple[int, float] | None,
    keep_weights: bool,
    resume: Sequence[bytes] | None,
    seeds: int,
    seed: int,
    dtype: str,
    threads: int | None,
    progress: Callable[[int, int, int, float], object] | None,
) -> None: ...

@final
class Learner:
    def __new__(
        cls,
        method: str,
        weight: ArrayLike,
        visible: ArrayLike,
        hidden: ArrayLike,
        x: ArrayLike,
        *,
        activation: str,
        probabilities: bool,
        lr: float,
        decay: float,
        batch: int,
        seed: int,
        layer: int,
    ) -> Learner: ...
    def epoch(self, momentum: float) -> None: ...
    def numbers(self) -> list[NDArray[np.float32]]: ...

def half_pass(weight: ArrayLike, bias: ArrayLike, x: ArrayLike, down: bool, activation: str) -> NDArray[np.float64]: ...
def free_energies(weight: ArrayLike, visible: ArrayLike, hidden: ArrayLike, x: ArrayLike) -> NDArray[np.float64]: ...
def pseudo_likelihoods(
    weight: ArrayLike, visible: ArrayLike, hidden: ArrayLike, x: ArrayLike, seed: int
) -> NDArray[np.float64]: ...
def gibbs(
    weight: ArrayLike, visible: ArrayLike, hidden: ArrayLike, x: ArrayLike, steps: int, seed: int
) -> list[NDArray[np.float32]]: ...
def tensors(spec: AnySpec) -> list[tuple[str, int]]: ...
def batch_rows(seed: int, total: int, batch: int, step: int) -> NDArray[np.int64]: ...
def evaluate(
    weights: Weights,
    statistics: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]],
    x: ArrayLike,
    y: ArrayLike | None,
    loss: str | None,
) -> tuple[float, float]: ...
def gradcheck(spec: AnySpec, seed: int, batch: int, loss: str | None) -> dict[str, float]: ...
def check_memory(what: str, needed: int) -> None: ...

class _Build(TypedDict):
    version: str
    isa: str  # in use
    isas: tuple[str, ...]  # that this processor has, best first
    threads: int
    profile: str
    target: str
    compiler: str
    commit: str | None
    stream_version: int

def build_info() -> _Build: ...
def release_memory() -> int: ...
