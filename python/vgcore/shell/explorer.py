"""The command `explore`: a net under sliders, from a server on this machine, or as a file that needs none."""

from __future__ import annotations

import inspect
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from vgcore.explore.request import CONTROLS, DEFAULTS, Request
from vgcore.shell import nets
from vgcore.shell.complete import choices, files_of
from vgcore.shell.options import OUTPUT
from vgcore.shell.outputs import Force, say, writing

#: Panels of `--help`.
BEGIN, SERVER = "What the controls begin with", "The server, on this machine alone"


def _explore(
    given: dict[str, Any],
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, help="Its port.", show_default="any that is free", rich_help_panel=SERVER, metavar="PORT"
        ),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in a browser.", rich_help_panel=SERVER)] = False,
    save: Annotated[
        Path | None,
        typer.Option(
            help="Write a page that needs no server, and end.",
            show_default="none",
            rich_help_panel=OUTPUT,
            autocompletion=files_of(".html", ".htm"),
        ),
    ] = None,
    force: Force = False,
) -> None:
    Request.read(given)
    if save is not None:
        if port is not None or open_:
            raise ValueError(
                f"{'--open' if port is None else '--port'} is of the server; --save writes a file and ends"
            )
        _save(save, given, force=force)
        return
    state = f"#{urlencode(given)}" if given else ""
    from vgcore.explore import server

    def started(address: str) -> None:
        print(f"{address}{state}", flush=True)
        say("Ctrl-C ends it")
        if open_:
            import webbrowser

            webbrowser.open(f"{address}{state}")

    server.serve(port or 0, started)


def _save(path: Path, start: dict[str, Any], *, force: bool) -> None:
    """Write the page that measures by itself, and begins with a net."""
    from vgcore.explore.page import saved
    from vgcore.measure import files

    if path.suffix.lower() not in {".html", ".htm"}:
        raise ValueError(f"--save must name an .html or .htm file, got '{path}'")
    files.check(path)
    if not force and files.would_replace(path):
        raise FileExistsError(f"'{path}' is there already; write over it with --force, or give --save another name")
    text = saved(start)
    with writing({path: partial(files.save_text, text)}, force=force):
        pass


def _option(name: str) -> inspect.Parameter:
    """The option of a control."""
    control, default = CONTROLS[name], DEFAULTS[name]
    about: dict[str, Any] = {"help": control.explanation, "show_default": str(default), "rich_help_panel": BEGIN}
    if control.choices:
        about["autocompletion"] = choices(*control.choices)
    kind: Any = type(default)
    option = Annotated[kind | None, typer.Option(nets.flag(name), **about)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)


def explore(**given: Any) -> None:
    """Begin with what is given of the controls; the rest is at their defaults."""
    controls = {name: given.pop(name) for name in CONTROLS}
    _explore({name: value for name, value in controls.items() if value is not None}, **given)


_own = list(inspect.signature(_explore, eval_str=True).parameters.values())[1:]
_parameters = [*map(_option, CONTROLS), *(each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in _own)]
explore.__signature__ = inspect.Signature(_parameters)  # type: ignore[attr-defined]
explore.__annotations__ = {parameter.name: parameter.annotation for parameter in _parameters}
