"""Vanishing and exploding gradients in deep networks: shown, measured, explained, on a laptop CPU, in milliseconds."""

import os as _os
import threading as _threading

import lazy_loader as _lazy

# Four rooms are named as functions are, and Python sets the name of a room here when it is first imported: it does so
# now, and never again.
from vgcore import measure, pretrain, train, watch

del measure, pretrain, train, watch

# A name is imported when it is first asked for, from where the stub has it: a script that probes does not wait for
# converters, pictures and theory.
_import, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)

# Two threads that begin at different ends of modules that need each other would each hold what the other waits for.
# Python then lets one of them go on with half a module, and the name that it asked for is not there.
_importing = _threading.RLock()
# A fork waits until no thread imports: the child would have none that lets go of the lock. Windows has no fork.
if hasattr(_os, "register_at_fork"):
    _let_go = _importing.release
    _os.register_at_fork(before=_importing.acquire, after_in_parent=_let_go, after_in_child=_let_go)


def __getattr__(name: str) -> object:
    with _importing:
        return _import(name)
