"""Which modules of a model of torch are its layers, and what they are called."""

from __future__ import annotations

import re
from typing import Any

from vgcore.model.given import items, shown, text
from vgcore.model.names import known

#: The names under which wrappers hold what they wrap: of torch.compile, of checkpointing, of FSDP.
WRAPPED = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)(?:\.|$)")
#: The fewest blocks that make a sequence, of which one can say how signals grow from one to the next.
FEWEST = 3


def torch_for(name: str) -> Any:
    """torch, which is imported here if it is installed.

    Raises:
        ImportError: If it is not, with what to do.
    """
    try:
        import torch
    except ModuleNotFoundError:
        raise ImportError(f"{name} needs torch: pip install torch") from None
    return torch


def layers_of(model: Any, which: object) -> dict[str, Any]:
    """The modules to watch, by name, in the order in which the model lists them.

    Args:
        model: A `torch.nn.Module`.
        which: `"auto"`: the blocks, which are the children of containers (`Sequential`, `ModuleList`, `ModuleDict`)
            that hold modules of one class. Of several classes, the one with most blocks, if they are three or more;
            what is inside of a block is not looked at. Where there are none, the Linear, the convolutions or the
            recurrent layers, of whichever there are most, without the readout.
            `"all"`: every module without children. A list of names, as in `model.named_modules()`.

    Raises:
        ValueError: For a name that the model does not have, or a model without such modules.
        TypeError: For anything else.
    """
    named = _named(model)
    if isinstance(which, str):
        every = {name: module for name, module in named.items() if not any(True for _ in module.children())}
        found = every if known("layers", which, ("auto", "all")) == "all" else _blocks(model, named) or _maps(every)
        if not found:
            raise ValueError(f"the model has no layers to watch: no blocks, Linear or convolution; got {shown(model)}")
        return found
    given = [text("a layer", name) for name in items("layers", which, "'auto', 'all' or a list of names")]
    if not given:
        raise ValueError("layers must be 'auto', 'all' or one name or more, got none")
    plain = [_plain(name) for name in given]
    plain = [name if name in named else name.removeprefix("module.") for name in plain]
    return {known("layer", name, named): named[name] for name in plain}


def _plain(name: str) -> str:
    return WRAPPED.sub("", name).rstrip(".")


def _named(model: Any) -> dict[str, Any]:
    """All modules but the model itself, by the names that they have without wrappers; the outermost of one name."""
    named: dict[str, Any] = {}
    for name, module in model.named_modules():
        named.setdefault(_plain(name), module)
    named.pop("")
    if all(name == "module" or name.startswith("module.") for name in named):  # DistributedDataParallel
        named = {name.removeprefix("module").lstrip("."): module for name, module in named.items()}
        named = {name: module for name, module in named.items() if name} or named
    return named


def _children(module: Any) -> list[Any]:
    """The modules of a container of modules of one class, one entry a use."""
    from torch import nn

    children = list(module._modules.values())  # noqa: SLF001 (children() lists a shared module once)
    alike = len(children) > 1 and len({type(child) for child in children}) == 1
    if not alike or not isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict):
        return []
    return children if any(True for child in children for _ in child.parameters()) else []


def _blocks(model: Any, named: dict[str, Any]) -> dict[str, Any]:
    """The modules of the class that has most of them in containers, outermost first; none if they are too few."""
    names = {id(module): name for name, module in reversed(named.items())}
    groups: dict[type, list[Any]] = {}
    inside: list[str] = []
    for name, module in model.named_modules():
        children = _children(module)
        # A container of containers of blocks is a list of stages.
        if not children or any(_children(child) for child in children) or name.startswith(tuple(inside)):
            continue
        groups.setdefault(type(children[0]), []).extend(children)
        inside.append(f"{name}." if name else "")
    most = max(groups.values(), key=len, default=[])
    return {names[id(module)]: module for module in most} if len(most) >= FEWEST else {}


def _maps(every: dict[str, Any]) -> dict[str, Any]:
    """The convolutions, or the Linear, or the recurrent layers, of whichever there are most; all if they are too few.

    The last one is left out if it gives another number of features than the one before: it is the readout, whose
    weights have a scale of their own.
    """
    from torch import nn
    from torch.nn.modules.conv import _ConvNd

    sorts = [
        {name: module for name, module in every.items() if isinstance(module, sort)}
        for sort in (nn.Linear, _ConvNd, nn.RNNBase | nn.RNNCellBase)
    ]
    most = max(sorts, key=len)
    if len(most) < FEWEST:
        return {name: module for name, module in every.items() if any(name in sort for sort in sorts)}
    features = [getattr(module, "out_features", getattr(module, "out_channels", None)) for module in most.values()]
    return dict([*most.items()][:-1]) if len(most) > FEWEST and features[-1] != features[-2] else most
