"""Vanishing and exploding gradients in deep networks: shown, measured, explained, on a laptop CPU, in milliseconds."""

import lazy_loader as _lazy

# Four rooms are named as functions are, and Python sets the name of a room here when it is first imported: it does so
# now, and never again.
from vgcore import measure, pretrain, train, watch

del measure, pretrain, train, watch

# A name is imported when it is first asked for, from where the stub has it: a script that probes does not wait for
# converters, pictures and theory.
__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
