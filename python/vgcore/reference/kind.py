"""Kinds as a spec names them, `"leaky_relu(negative_slope=0.1)"`, and the widths that activations change."""

from __future__ import annotations

from typing import Any

Kind = tuple[str, dict[str, Any]]  # a name and its parameters


def parse(text: str) -> Kind:
    """Split `"leaky_relu(negative_slope=0.1)"` into a name and parameters."""

    def value(text: str) -> float | str:
        try:
            return float(text)
        except ValueError:
            return text

    name, _, inside = text.rstrip(")").partition("(")
    items = (item.split("=") for item in inside.split(", ") if item)
    return name, {key: value(text) for key, text in items}


DOUBLED = {"crelu"}  # a = [phi(z), phi(-z)], of twice the width (Shang et al. 2016)
GATED = {"glu", "swiglu", "geglu"}  # a = value * phi(gate) of the halves of z (Dauphin et al. 2016; Shazeer 2020)


def features(kind: str, width: int) -> int:
    """The number of outputs of an activation with so many pre-activations."""
    name = parse(kind)[0]
    return width // 2 if name in GATED else 2 * width if name in DOUBLED else width
