"""What the explorer asks of an engine: `Request`, a net and how it is measured, small enough to be answered at once.

The server, the notebook and the page in a browser take the same requests, as JSON objects. The fields of `Request` are
the one table of them: defaults, bounds, choices, labels and explanations, for the checks here and for the controls.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vgcore import _core
from vgcore.model.given import Bounds, boolean, integer, number, shown, wrong_type
from vgcore.model.kind import Init
from vgcore.model.mlp import MLP
from vgcore.model.names import hint, known
from vgcore.model.spec import Spec

#: Seconds on one thread that the core may guess for a reply: what a hand on a slider waits for.
MOST_SECONDS = 2.0
#: The choice of no norm and of no skip.
NONE = "none"
#: What is measured on: random samples, or two spirals of points, whose classes are to be told apart.
NOISE, SPIRALS = "noise", "spirals"
#: Samples of the spirals, their features and their classes.
SAMPLES, FEATURES, CLASSES = 256, 2, 2
LOSS = "cross_entropy"
#: Inits that draw no weights: units are equal, or the readout is 0, and to judge that takes steps of gradient descent.
FIXED = ("zeros", "ones", "fixup")
#: The fields that a net has too, by the same names.
OF_NETS = ("depth", "width", "activation", "init", "norm", "norm_position", "skip", "branch_scale")


@dataclass(frozen=True)
class Control:
    """What is known of a field of a request beside its name and its default.

    Attributes:
        label: What it is called.
        explanation: What it does, in a sentence.
        bounds: The least and the largest number; empty for choices.
        choices: The words to choose from; empty for numbers.
        whole: Whether numbers are whole.
        log: Whether equal ways of a slider are equal factors.
    """

    label: str
    explanation: str
    bounds: tuple[float, ...] = ()
    choices: tuple[str, ...] = ()
    whole: bool = False
    log: bool = False

    def read(self, name: str, value: object) -> Any:
        """A value as it is meant, or an error that says what is allowed."""
        if self.choices:
            return known(name, value, self.choices)
        least, most = self.bounds
        if self.whole:
            return integer(name, value, least=int(least), most=int(most))
        return number(name, value, Bounds(least=least, most=most))


def _field(default: Any, label: str, explanation: str, **about: Any) -> Any:
    return dataclasses.field(default=default, metadata={"control": Control(label, explanation, **about)})


def _whole(default: int, least: int, most: int, label: str, explanation: str, *, log: bool = False) -> Any:
    return _field(default, label, explanation, bounds=(least, most), whole=True, log=log)


def _number(default: float, least: float, most: float, label: str, explanation: str, *, log: bool = False) -> Any:
    return _field(default, label, explanation, bounds=(least, most), log=log)


def _choice(default: str, choices: tuple[str, ...], label: str, explanation: str) -> Any:
    return _field(default, label, explanation, choices=choices)


def _plain(family: str, but: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The kinds of a family that need no parameter, but some."""
    kinds = _core.kinds(family)
    names = [kind["name"] for kind in kinds if not any(needed for *_, needed in kind["params"])]
    return tuple(name for name in names if name not in but)


@dataclass(frozen=True)
class Request:
    """A net, and how it is measured: the fields of the JSON object that every engine of the explorer takes.

    With `data="noise"` samples and the gradient at the output are random, as in `vg.probe(spec, batch=batch)`. With
    `data="spirals"` they are `vg.data.spirals()`, with the loss `cross_entropy` of a readout, and each net is trained
    first where `steps` says so: `vg.train(..., optimizer="sgd(lr=...)")` on batches of `batch` rows.

    Raises:
        ValueError: For values out of bounds, nets that do not exist, and work of more than two seconds.
        TypeError: For values of a wrong type.

    >>> Request(depth=3, width=8, sigma_w=1.25).spec
    MLP(depth=3, width=8, activation='tanh', init='mean_field(sigma_w=1.25, sigma_b=0.05)')
    >>> Request.read({"depth": 0})
    Traceback (most recent call last):
    ...
    ValueError: depth must be an integer from 1 to 200, got 0
    """

    depth: int = _whole(20, 1, 200, "depth", "Hidden layers of the net.")
    width: int = _whole(64, 1, 512, "width", "Units of each hidden layer.", log=True)
    activation: str = _choice("tanh", _plain("activation"), "activation", "The function phi between two layers.")
    init: str = _choice("mean_field", _plain("init", FIXED), "init", "How the weights are drawn before training.")
    sigma_w: float = _number(
        1.5, 0.05, 20.0, "sigma_w", "The init mean_field draws weights of variance sigma_w^2 / fan_in.", log=True
    )
    sigma_b: float = _number(0.05, 0.0, 5.0, "sigma_b", "The init mean_field draws biases of variance sigma_b^2.")
    norm: str = _choice(NONE, (NONE, *_plain("norm")), "norm", "What each layer is normalised over.")
    norm_position: str = _choice(
        "pre",
        ("pre", "post", "input"),
        "norm position",
        "The norm stands before the activation, behind it (post), or before the layer's map (input).",
    )
    skip: str = _choice(NONE, (NONE, *_plain("skip")), "skip", "The way around each layer.")
    branch_scale: float = _number(
        1.0, 0.0, 10.0, "branch scale", "A residual branch is multiplied by it before it joins the stream."
    )
    data: str = _choice(
        NOISE,
        (NOISE, SPIRALS),
        "data",
        "Random samples with a random gradient at the output, or two spirals whose classes are to be told apart.",
    )
    steps: int = _whole(0, 0, 500, "steps", "Steps of gradient descent on the spirals before the net is measured.")
    lr: float = _number(0.1, 1e-5, 10.0, "learning rate", "The rate of gradient descent.", log=True)
    seeds: int = _whole(4, 1, 16, "seeds", "Nets that are drawn by this recipe and measured.")
    batch: int = _whole(32, 1, 256, "batch", "Samples of a measurement, and of a step of training.", log=True)
    seed: int = _whole(0, 0, 2**32 - 1, "seed", "The seed of the first net; the others count on from it.")
    #: Whether the theory is asked for, which takes longer than the measurement; no control, and no part of the net.
    theory: bool = True

    def __post_init__(self) -> None:
        for name, control in CONTROLS.items():
            vars(self)[name] = control.read(name, getattr(self, name))
        boolean("theory", self.theory)
        if self.steps and self.data == NOISE:
            raise ValueError(f"noise has nothing to learn: choose data={SPIRALS!r}, or steps=0; got steps={self.steps}")
        if (seconds := self.seconds) > MOST_SECONDS:
            raise ValueError(
                f"this takes about {seconds:.2g} seconds, and {MOST_SECONDS:g} are the most here: "
                f"lower depth, width, batch, seeds{' or steps' if self.steps else ''}"
            )

    @staticmethod
    def read(given: object) -> Request:
        """A request out of a mapping, as JSON gives it; what it leaves out is at its default."""
        if not isinstance(given, Mapping):
            raise wrong_type("a request", "a JSON object", given)
        for name in given:
            if name not in NAMES:
                near = hint(name, NAMES) if isinstance(name, str) else ""
                raise ValueError(f"a request has no field {shown(name)}{near}; it has: {', '.join(NAMES)}")
        return Request(**given)

    @staticmethod
    def of(spec: Spec) -> Request:
        """The request whose net a spec is.

        Raises:
            ValueError: For a spec that the controls cannot show, with what is in the way.

        >>> import vgcore as vg
        >>> Request.of(vg.MLP(depth=8, width=32, init="mean_field(1.2, 0.1)", activation="erf")).sigma_w
        1.2
        >>> Request.of(vg.MLP(depth=8, width=32, stem=1, skip="residual"))
        Traceback (most recent call last):
        ...
        ValueError: the explorer cannot show this net: stem=1, where it has stem=0
        """
        if not isinstance(spec, MLP):
            raise ValueError(f"the explorer shows an MLP, got {shown(spec)}")
        told = spec.to_dict()
        if reason := _beyond(told):
            raise ValueError(f"the explorer cannot show this net: {reason}")
        spirals = (told["in_features"], told["out_features"]) == (FEATURES, CLASSES)
        chosen: dict[str, Any] = {"data": SPIRALS if spirals else NOISE}
        chosen |= {name: NONE if told[name] is None else told[name] for name in OF_NETS}
        if isinstance(spec.init, Init) and spec.init.name == "mean_field":
            sizes = {name: spec.init.params[name] for name in ("sigma_w", "sigma_b")}
            chosen |= {"init": spec.init.name, **sizes}
        try:
            made = Request(**chosen)
        except (TypeError, ValueError) as error:
            raise ValueError(f"the explorer cannot show this net: {error}") from None
        ours = made.spec.to_dict()
        # Noise goes into as many features as the net is wide, whether a spec says so or leaves it out.
        ours["in_features"] = told["in_features"]
        for name, value in told.items():
            if ours[name] != value:
                raise ValueError(
                    f"the explorer cannot show this net: {name}={value!r}, where it has {name}={ours[name]!r}"
                )
        return made

    @cached_property
    def spec(self) -> MLP:
        """The net."""
        optional: dict[str, Any] = {}
        if self.norm != NONE:
            optional |= {"norm": self.norm, "norm_position": self.norm_position}
        if self.skip != NONE:
            optional |= {"skip": self.skip}
        if self.skip == "residual":
            optional |= {"branch_scale": self.branch_scale}
        if self.data == SPIRALS:
            optional |= {"in_features": FEATURES, "out_features": CLASSES}
        init = self.init
        if init == "mean_field":
            init = f"mean_field(sigma_w={self.sigma_w!r}, sigma_b={self.sigma_b!r})"
        return MLP(self.depth, width=self.width, activation=self.activation, init=init, **optional)

    @property
    def seconds(self) -> float:
        """About how long a reply takes on one thread: a step of training is a pass as a measurement is."""
        once, _, _ = _core.cost([self.spec], batch=self.batch, seeds=self.seeds, dtype="float32", threads=1)
        return once * (1 + self.steps)

    def to_dict(self) -> dict[str, Any]:
        """The fields as a JSON object, from which `read` makes an equal request."""
        return dataclasses.asdict(self)


def _beyond(told: Mapping[str, Any]) -> str:
    """Why the controls cannot show a spec whose words they know; empty where they can."""
    ends = told["in_features"], told["out_features"]
    if ends not in [(FEATURES, CLASSES), (None, None), (told["width"], None)]:
        return (
            f"in_features={ends[0]} and out_features={ends[1]}, where it has as many features as the width and no "
            f"readout for noise, {FEATURES} and {CLASSES} for spirals; leave both out to see the layers on noise"
        )
    for name in ("activation", "init"):
        kind, parameters, _ = str(told[name]).partition("(")
        if parameters and kind in CHOICES[name] and not str(told[name]).startswith("mean_field("):
            return f"{name}={told[name]!r} has a parameter of its own, where it has {kind!r} as it is by default"
    return ""


#: The names of all fields, and what is known of those that have a control.
NAMES = tuple(field.name for field in dataclasses.fields(Request))
CONTROLS: dict[str, Control] = {
    field.name: field.metadata["control"] for field in dataclasses.fields(Request) if "control" in field.metadata
}
DEFAULTS: dict[str, Any] = {
    field.name: field.default for field in dataclasses.fields(Request) if field.name in CONTROLS
}
CHOICES = {name: control.choices for name, control in CONTROLS.items() if control.choices}
