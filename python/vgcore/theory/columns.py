"""What theory gives of a net beside plain layers: the columns of a `Prediction`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from vgcore.theory.maps import Floats


class Columns(NamedTuple):
    """Columns by row, as `Prediction` names them; nan where theory has none.

    Attributes:
        extra: Those that only some nets have, by their names in a probe.
        doubt: Why they are not to be relied on; empty where they are.
    """

    sigma_w: Floats
    sigma_b: Floats
    log10_z_rms: Floats
    log10_a_rms: Floats
    log10_delta_rms: Floats
    log10_wgrad_norm: Floats
    log10_h_rms: Floats
    log10_dh_rms: Floats
    extra: Mapping[str, Floats]
    doubt: str
