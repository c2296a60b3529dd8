"""Results as HTML that stands alone, for notebooks and pages, readable in light and in dark, and as Markdown.

`of` gives that of any result. `blocks` and `charts` have what all of it is made of, `style` its colours; the other
modules have a function a class.
"""

from collections.abc import Callable
from typing import Any

from vgcore.show.html import compared, explained, judged, measured, nets, predicted, pretrained, trained
from vgcore.show.html.blocks import Html, block

__all__ = [
    "BY_CLASS",
    "Html",
    "inside",
    "of",
]

#: By the name of a class, as many of them stand in rooms that this one may not import.
BY_CLASS: dict[str, Callable[[Any], Html]] = {
    "Advice": judged.advice,
    "Advised": judged.advised,
    "Clipped": nets.clipped,
    "Comparison": compared.comparison,
    "CriticalLine": predicted.critical_line,
    "CriticalPoint": predicted.critical_point,
    "DBN": pretrained.dbn,
    "DepthLimit": judged.depth_limit,
    "DepthScales": predicted.depth_scales,
    "Diagnosis": judged.diagnosis,
    "Explanation": explained.explanation,
    "Factor": measured.factor,
    "Finding": judged.finding,
    "Forward": nets.forward,
    "Gradients": nets.gradients,
    "Imported": nets.imported,
    "Jacobian": measured.jacobian,
    "Kinds": nets.kinds,
    "Measured": measured.measured,
    "Memory": predicted.memory,
    "Network": nets.network,
    "PhaseDiagram": predicted.phase_diagram,
    "Prediction": predicted.prediction,
    "Pretrained": pretrained.pretrained,
    "PretrainedLayer": pretrained.layer,
    "Probe": measured.probe,
    "RBM": pretrained.rbm,
    "RateFractal": predicted.rate_fractal,
    "RateMap": predicted.rate_map,
    "Refusal": nets.refusal,
    "Replay": trained.replay,
    "Run": trained.run,
    "RunDiagnosis": judged.run_diagnosis,
    "Sequences": measured.sequences,
    "Spec": nets.spec,
    "Sweep": measured.sweep,
    "Trace": measured.trace,
    "TrainSweep": trained.train_sweep,
    "Trainability": predicted.trainability,
    "Watch": measured.watch,
}


def inside(result: object) -> Html:
    """What is shown of a result, without a frame and a style: by its class, or the nearest that it inherits from."""
    return next(BY_CLASS[kind.__name__] for kind in type(result).__mro__ if kind.__name__ in BY_CLASS)(result)


def of(result: object) -> Html:
    """A result as HTML that stands alone.

    >>> import vgcore as vg
    >>> "1 -&gt; 8 (3 layers)" in of(vg.MLP(depth=3, width=8, in_features=1))
    True
    """
    return block(inside(result))
