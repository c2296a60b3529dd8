from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgcore.model.mlp import MLP

__all__ = [
    "ACTIVATIONS",
    "BATCH",
    "COLUMNS",
    "INITS",
    "LOSSES",
    "MOMENTS",
    "NORMS",
    "SKIPS",
    "WEIGHT_TRANSFORMS",
    "Spec",
    "Weights",
    "__version__",
    "activate",
    "activation_outputs",
    "batch_moments",
    "build_info",
    "calculate_gain",
    "check_memory",
    "cotangent",
    "critical_point",
    "custom_activation",
    "gradcheck",
    "hermite",
    "hint",
    "jacobian",
    "kinks",
    "loss_facts",
    "loss_gradient",
    "moments",
    "pair_moments",
    "plan",
    "probe",
    "release_memory",
    "resolve",
    "samples",
    "targets",
]

__version__: str
ACTIVATIONS: tuple[str, ...]
INITS: tuple[str, ...]
NORMS: tuple[str, ...]
SKIPS: tuple[str, ...]
WEIGHT_TRANSFORMS: tuple[str, ...]
LOSSES: tuple[str, ...]
COLUMNS: tuple[str, ...]
MOMENTS: tuple[str, ...]
BATCH: int

@final
class Spec:
    def __new__(cls, fields: dict[str, Any]) -> Spec: ...
    def fields(self) -> dict[str, Any]: ...
    def content(self) -> str: ...

@final
class Weights:
    @staticmethod
    def draw(spec: MLP, seed: int, dtype: str, x: ArrayLike | None) -> Weights: ...
    @staticmethod
    def given(spec: MLP, state: dict[str, ArrayLike], dtype: str) -> Weights: ...
    @property
    def dtype(self) -> str: ...
    def state_dict(self) -> dict[str, NDArray[np.floating[Any]]]: ...
    def forward(self, x: ArrayLike, threads: int | None) -> NDArray[np.floating[Any]]: ...
    def signals(self, x: ArrayLike) -> list[list[NDArray[np.floating[Any]]]]: ...
    def backward(self, x: ArrayLike, cotangent: ArrayLike, threads: int | None) -> dict[str, Any]: ...
    def gradients(self, x: ArrayLike, y: ArrayLike | None, loss: str | None, threads: int | None) -> dict[str, Any]: ...

def plan(spec: MLP) -> dict[str, Any]: ...
def samples(spec: MLP, seed: int, batch: int, dtype: str) -> NDArray[np.float64]: ...
def targets(loss: str, y: ArrayLike | None, batch: int, outputs: int) -> NDArray[Any] | None: ...
def cotangent(spec: MLP, seed: int, batch: int, dtype: str) -> NDArray[np.float64]: ...
def activate(activation: str, z: Sequence[float]) -> NDArray[np.float64]: ...
def activation_outputs(activation: str) -> float: ...
def custom_activation(
    name: str,
    borders: Sequence[float],
    cells: Sequence[int],
    values: Sequence[float],
    slopes: Sequence[float],
    kinks: Sequence[float],
) -> str: ...
def kinks(activation: str) -> list[float]: ...
def resolve(kind: str, name: str, params: dict[str, float | str | None]) -> tuple[str, dict[str, float | str], str]: ...
def loss_facts(loss: str) -> tuple[bool, bool, str]: ...
def loss_gradient(loss: str, outputs: ArrayLike, y: ArrayLike | None) -> tuple[float, NDArray[np.float64]]: ...
def calculate_gain(activation: str, param: float | str | None, mode: str | None) -> float: ...
def batch_moments(activation: str, batch: int) -> list[float]: ...
def critical_point(activation: str, sigma_b: float) -> tuple[float, float]: ...
def hermite(activation: str, q: Sequence[float], count: int) -> NDArray[np.float64]: ...
def moments(activation: str, q: Sequence[float]) -> NDArray[np.float64]: ...
def pair_moments(activation: str, q: Sequence[float], c: Sequence[float]) -> NDArray[np.float64]: ...
def hint(given: str, choices: Sequence[str]) -> str: ...
def jacobian(net: Weights, x: ArrayLike | None, seed: int) -> NDArray[np.float64]: ...
def probe(
    cells: Sequence[MLP] | Weights,
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
def gradcheck(spec: MLP, seed: int, batch: int, loss: str | None) -> dict[str, float]: ...
def check_memory(what: str, needed: int) -> None: ...
def build_info() -> dict[str, str | int]: ...
def release_memory() -> int: ...
