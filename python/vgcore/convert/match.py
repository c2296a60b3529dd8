"""From a tape to a spec with weights, or to a refusal."""

from __future__ import annotations

from collections.abc import Sequence

from vgcore.convert.folding import folded
from vgcore.convert.imported import Imported, Refusal
from vgcore.convert.infer import infer_init
from vgcore.convert.proof import SIZES, Run, prove, prove_structure
from vgcore.convert.reading import graph
from vgcore.convert.say import networks
from vgcore.convert.straightening import straightened
from vgcore.convert.tape import Tape
from vgcore.model.network import Network

#: What a net with a sampled activation may be off by: the stated error of samples is 1e-10 to 1e-9 a layer.
SAMPLED = 1e-7


def imported(tape: Tape, run: Run, *, notes: Sequence[str] = (), tolerance: float = 1e-10) -> Imported:
    """The net of a tape, proved against the user's model.

    Args:
        tape: One recorded run.
        run: The user's model.
        notes: What the front end has to say beside the notes of the tape.
        tolerance: The largest error of outputs and of dL/dx, as a share of the largest number of the tensor; 1e-4 where
            the framework cannot leave float32.

    Raises:
        Refusal: For a tape that has no equal here, or whose equal computes something else.
        NonFinite: For weights that are not finite.
    """
    found = graph(tape)
    upto = None if found.output == tape.output else found.output
    simple = folded(found)
    flat = straightened(simple)
    twins = [(other, straightened(folded(other))) for other in map(found.drawn, SIZES)]
    refusals: list[Refusal] = []
    for network in networks(flat):
        try:
            for other, parts in twins:
                prove_structure(network, other, next((n for n in networks(parts) if n.spec == network.spec), None))
            prove(network, run, upto, tolerance=tolerance if found.exact else max(tolerance, SAMPLED))
        except Refusal as error:
            refusals.append(error)
            continue
        return _with_init(network, tuple(dict.fromkeys((*notes, *tape.notes, *found.notes, *simple.notes))))
    raise refusals[0]


def _with_init(network: Network, notes: tuple[str, ...]) -> Imported:
    """The net whose spec has the init that its weights look like, if they look like one."""
    init = infer_init(network)
    if init is None or (isinstance(init, tuple) and None in init):
        note = f"the weights look like no init of the catalogue; spec.init={str(network.spec.init)!r} is a default"
        return Imported(network, (*notes, note))
    try:
        spec = network.spec.replace(init=list(init) if isinstance(init, tuple) else init)
        # Biases that the init would bring are there already, or none are meant.
        return Imported(Network.from_state_dict(spec, network.state_dict()), notes)
    except ValueError:  # an init a map, which a list of parts with projections counts otherwise
        return Imported(network, notes)
