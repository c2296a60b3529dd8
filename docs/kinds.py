"""Write docs/kinds.md, every kind that one may name, from the tables of the core. `make kinds`."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import vgcore as vg
from vgcore.measure import files

HERE = Path(__file__).parent

HEAD = """\
# Kinds

Everything that one may name for a field of a net or an argument of a training, written by `make kinds` from the tables
of the core; `vgcore kinds`, `vgcore kinds activation` and `vgcore kinds gelu` print the same, and
[`vg.kinds`](api.md) gives it to Python. A name takes its parameters as a call, `activation="elu(alpha=0.5)"`; what is
left out has the default that stands here. Formulas are plain text that Python reads, and tests hold each of them to
what the core computes. [models.md](models.md) says how the kinds of a net fit together, [gallery.md](gallery.md) shows
each of them at work: names lead to its pictures.
"""
#: By family: heading, and where one names a kind of it.
FAMILIES = {
    "activation": ("Activations", "vg.MLP(activation=...)"),
    "init": ("Inits", "vg.MLP(init=...)"),
    "norm": ("Norms", "vg.MLP(norm=...)"),
    "skip": ("Skips", "vg.MLP(skip=...)"),
    "weight_transform": ("Weight transforms", "vg.MLP(weight_transform=...)"),
    "loss": ("Losses", "vg.probe(..., loss=...)"),
    "optimizer": ("Optimisers", "vg.train(..., optimizer=...)"),
    "schedule": ("Schedules", "vg.train(..., schedule=...)"),
    "cell": ("Cells", "vg.RNN(cell=...)"),
}


def pictures() -> dict[str, str]:
    """The heading of the gallery, as a link has it, at which the pictures of each kind begin, by section and name."""
    found: dict[str, str] = {}
    section = ""
    for marks, title in re.findall(r"^(##+) (.*)$", (HERE / "gallery.md").read_text(encoding="utf-8"), re.MULTILINE):
        if marks == "##":
            section = title
        else:
            anchor = re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", title.lower()))
            found.setdefault(f"{section} {re.split('[(,]', title)[0]}", anchor)
    return found


def linked(source: str) -> str:
    """A source whose identifiers lead to the paper and whose names of libraries are code."""
    source = re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", source)
    source = re.sub(r"doi:([\w./]+\w)", r"[doi:\1](https://doi.org/\1)", source)
    source = re.sub(r"(jmlr\.org/[\w./]+\w|kellerjordan\.github\.io/[\w./]+\w)", r"[\1](https://\1)", source)
    return re.sub(r"((?:torch|keras)\.[\w.]+\w)", r"`\1`", source)


def parameters(kind: vg.KindInfo) -> str:
    """The parameters of a kind with what is allowed."""
    told = []
    for param in kind.params:
        default = "must be given" if param.required else "from the others" if param.default is None else ""
        told.append(f"`{param}`: {param.allowed}{', ' if default else ''}{default}")
    return "<br>".join(told)


def row(kind: vg.KindInfo, anchor: str | None) -> str:
    """A line of a table."""
    name = f"`{kind.name}`" if anchor is None else f"[`{kind.name}`](gallery.md#{anchor})"
    names = "<br>".join([name, *(f"or `{alias}`" for alias in kind.aliases)])
    formula = "<br>".join(f"`{part}`" for part in kind.formula.split("; "))
    cells = (names, formula, kind.summary, parameters(kind), linked(kind.source))
    return f"| {' | '.join(cells)} |"


def page() -> str:
    """The page."""
    anchors, parts = pictures(), [HEAD]
    for family, (title, used) in FAMILIES.items():
        kinds = vg.kinds(family)
        lines = [row(kind, anchors.get(f"{title} {kind.name}")) for kind in kinds]
        table = "\n".join(["| name | formula | what it is | parameters | source |", "|---|---|---|---|---|", *lines])
        said = textwrap.fill(
            f"{len(kinds)} for `{used}`. {kinds[0].letters}", 120, break_long_words=False, break_on_hyphens=False
        )
        parts.append(f"## {title}\n\n{said}\n\n{table}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    files.save_text(page(), HERE / "kinds.md")
