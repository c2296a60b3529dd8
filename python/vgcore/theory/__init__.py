"""Mean-field theory of signal propagation: what wide random nets do, without drawing one.

`moments`, `q_map`, `c_map`, `chi` and `norm_chi` are one layer; `q_star`, `c_star`, `depth_scales` where layers lead;
`critical_line`, `critical_point`, `half_stable_points` and `phase_diagram` the edge of chaos; `gradient_noise` what a
finite width does; `memory`, `tied_growth` and `time_constant` recurrent nets; `participation` and `token_collapse`
transformers; `lyapunov_exponents`, `fuss_catalan`, `spectrum_edge` and `jacobian_variance` spectra; `predict` the
columns of a probe. Each formula with its source and its test stands in docs/theory.md.
"""

from vgcore.theory.attention import participation
from vgcore.theory.fixed import (
    CriticalLine,
    CriticalPoint,
    DepthScales,
    PhaseDiagram,
    c_star,
    critical_line,
    critical_point,
    depth_scales,
    half_stable_points,
    phase_diagram,
    q_star,
)
from vgcore.theory.gated import tied_growth, time_constant
from vgcore.theory.maps import c_map, chi, hermite, moments, norm_chi, pair_moments, q_map
from vgcore.theory.prediction import Prediction, predict
from vgcore.theory.recurrent import Memory, memory
from vgcore.theory.spectra import fuss_catalan, jacobian_variance, lyapunov_exponents, spectrum_edge
from vgcore.theory.transformer import token_collapse
from vgcore.theory.width import gradient_noise

__all__ = [
    "CriticalLine",
    "CriticalPoint",
    "DepthScales",
    "Memory",
    "PhaseDiagram",
    "Prediction",
    "c_map",
    "c_star",
    "chi",
    "critical_line",
    "critical_point",
    "depth_scales",
    "fuss_catalan",
    "gradient_noise",
    "half_stable_points",
    "hermite",
    "jacobian_variance",
    "lyapunov_exponents",
    "memory",
    "moments",
    "norm_chi",
    "pair_moments",
    "participation",
    "phase_diagram",
    "predict",
    "q_map",
    "q_star",
    "spectrum_edge",
    "tied_growth",
    "time_constant",
    "token_collapse",
]
