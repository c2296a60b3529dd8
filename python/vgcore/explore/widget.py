"""The explorer in a notebook: `Explorer`, whose engine is the kernel. Cannot be imported without anywidget."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vgcore._core import InternalError
from vgcore.explore import page
from vgcore.explore.reply import measure
from vgcore.explore.request import CONTROLS, Request
from vgcore.model.mlp import MLP

try:
    import anywidget
    import traitlets
except ImportError:
    raise ImportError("spec.explore() needs anywidget: pip install 'vgcore[notebook]'") from None

if TYPE_CHECKING:
    # ipywidgets, whose class a widget is, has no types: this is what is used of it here.
    class _Widget(traitlets.HasTraits):
        on_msg: Callable[[Callable[[Any, Any, Any], None]], None]
        send: Callable[[dict[str, Any]], None]

        def __getattr__(self, name: str) -> Any: ...  # all else that a notebook knows
else:
    _Widget = anywidget.AnyWidget


class Explorer(_Widget):
    """Controls of a net, and what is measured of it as they move, in a notebook.

    Args:
        spec: The net to begin with.

    Attributes:
        request: What the controls say, as a dictionary; the page writes it, and follows who writes to it.
        settings: What the page has to know of its controls.

    Raises:
        ValueError: For a net that the controls cannot show, with what is in the way.

    >>> import vgcore as vg
    >>> explorer = Explorer(vg.MLP(depth=8, width=32, activation="relu"))
    >>> explorer.request = explorer.request | {"depth": 12}
    >>> explorer.spec
    MLP(depth=12, width=32)
    """

    _esm = page.module()
    _css = page.style()
    settings: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    request: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)

    def __init__(self, spec: MLP) -> None:
        told = Request.of(spec).to_dict()
        super().__init__(settings=page.settings(), request={name: told[name] for name in CONTROLS})
        self.on_msg(self._asked)

    def __repr__(self) -> str:
        # An engine of notebooks shows the page; all else has this line.
        return f"Explorer({self.spec!r}), shown in a notebook; else: vgcore explore"

    def __setattr__(self, name: str, value: object) -> None:
        # An attribute that is misspelt would be set, and change nothing.
        if not name.startswith("_") and not hasattr(self, name):
            raise AttributeError(f"an explorer has no {name!r}; set explorer.request to change its net")
        super().__setattr__(name, value)

    @property
    def spec(self) -> MLP:
        """The net on screen."""
        # Steps of training, which say nothing of the net, stay where they are while noise has nothing to learn.
        return Request.read(self.request | {"steps": 0}).spec

    def _asked(self, _: Any, message: Any, __: Any) -> None:
        """Answer `{id, request}` with `{id, reply}`."""
        try:
            reply = measure(message["request"])
        except (TypeError, ValueError, MemoryError, InternalError) as error:
            reply = {"error": str(error)}
        self.send({"id": message["id"], "reply": reply})
