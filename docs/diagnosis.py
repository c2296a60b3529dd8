"""Fill the tables of docs/diagnosis.md, measured or read from the rules. `make diagnosis`; some seconds."""

from __future__ import annotations

from pathlib import Path

import vgcore as vg
from vgcore import plot
from vgcore.judge import foreign
from vgcore.judge.evidence import Evidence
from vgcore.judge.rules import RULES
from vgcore.measure import files

HERE = Path(__file__).parent

# The measured table of published rules: net, what is true of it.
EXAM = {
    "ReLU, weights of std 1/sqrt(3 fan_in), depth 30": (
        {"depth": 30, "activation": "relu", "init": "mean_field(sigma_w=0.57735)"},
        "both directions vanish",
    ),
    "the same with torch's default bias": (
        {"depth": 30, "activation": "relu", "init": "torch_default"},
        "backward vanishes; all samples become one",
    ),
    "ReLU, Xavier, depth 50": ({"depth": 50, "activation": "relu", "init": "xavier_normal"}, "both vanish"),
    "ReLU, Kaiming, depth 50": ({"depth": 50, "activation": "relu", "init": "kaiming_normal"}, "healthy"),
    "ReLU, std 2/sqrt(n), depth 30": (
        {"depth": 30, "activation": "relu", "init": "mean_field(sigma_w=2)"},
        "both explode",
    ),
    "tanh, Xavier, depth 50": ({"depth": 50, "activation": "tanh", "init": "xavier_normal"}, "mild decay"),
    "tanh, gain 5/3, depth 50": (
        {"depth": 50, "activation": "tanh", "init": "xavier_normal(gain=1.6666666666666667)"},
        "slow explosion",
    ),
    "sigmoid, Xavier, depth 8": ({"depth": 8, "activation": "sigmoid", "init": "xavier_normal"}, "backward vanishes"),
}

SICK = {
    "sigmoid, Xavier": {"depth": 50, "activation": "sigmoid", "init": "xavier_normal"},
    "ReLU, Xavier": {"depth": 50, "activation": "relu", "init": "xavier_normal"},
    "ReLU, torch's defaults": {"depth": 30, "activation": "relu", "init": "torch_default"},
    "ReLU, std 2/sqrt(n)": {"depth": 30, "activation": "relu", "init": "mean_field(sigma_w=2)"},
    "tanh, gain 5/3": {"depth": 50, "activation": "tanh", "init": "xavier_normal(gain=1.6667)"},
    "tanh in chaos": {"depth": 50, "activation": "tanh", "init": "mean_field(sigma_w=4)"},
    "ReLU, plain residual": {"depth": 100, "width": 128, "activation": "relu", "skip": "residual"},
    "ReLU, batch norm, no skip": {"depth": 100, "width": 128, "activation": "relu", "norm": "batch"},
    "ReLU, biases of -1: dead": {"depth": 30, "activation": "relu", "bias": "constant(-1)"},
    "ReLU, narrow and deep": {"depth": 200, "width": 32, "activation": "relu"},
}


def rows(head: tuple[str, ...], body: list[tuple[object, ...]]) -> str:
    """A table in Markdown."""
    lines = [head, tuple("---" for _ in head), *body]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def exam() -> str:
    """The table of published rules, 20 blocks of 8 seeds a net."""
    body: list[tuple[object, ...]] = []
    for name, (fields, true) in EXAM.items():
        spec = vg.MLP(width=128, **fields)
        judged = [vg.diagnose(spec, seed=1000 * block) for block in range(20)]
        words = {d.word for d in judged}
        assert len(words) == 1, f"{name}: the verdict flips: {words}"
        cells = [d.probe for d in judged if d.probe is not None]
        looked = [d.evidence for d in judged if d.evidence is not None]
        factors = [f"{cells[0].factor(signal).value:.2f}" for signal in ("forward", "backward", "weight")]
        changes = [e.backward.rms for e in looked]
        span = f"{min(changes):.2f} to {max(changes):.2f}"
        body.append((name, *factors, span, words.pop(), true))
    return rows(
        ("net, width 128", "fwd", "bwd", "wgrad", "decades of dL/dz", "verdict, 20 of 20", "what is true"), body
    )


def decades(e: Evidence) -> str:
    """Of the root mean square over nets, and where it differs of a typical one."""
    rms, typical = (round(value, 1) + 0.0 for value in (e.backward.rms, e.backward.typical))  # + 0 makes -0.0 plain 0.0
    return f"{rms}" if abs(rms - typical) < 1 or rms == typical else f"{rms}, a typical net {typical}"


def sick() -> str:
    """Ten sick nets and their first advice."""
    body: list[tuple[object, ...]] = []
    for name, fields in SICK.items():
        spec = vg.MLP(**{"width": 256} | fields)
        advised = vg.advise(spec)
        first = advised[0]
        before, after = (d.evidence for d in (advised.before, first.after) if d.evidence is not None)
        body.append(
            (
                f"{name}, {spec.depth} x {spec.width}",
                advised.before.word,
                decades(before),
                f"`{first.change}`",
                first.after.word,
                decades(after),
            )
        )
    return rows(("net", "before", "decades of dL/dz", "first advice", "after", "decades of dL/dz"), body)


def rule_list() -> str:
    """Every rule, from the table that the code runs."""
    parts = []
    for rule in RULES:
        levels = ", ".join(f"{name} from {value:g}" for name, value in rule.thresholds.items())
        parts.append(
            f"### `{rule.id}`\n\n"
            f"**Looks at** {rule.quantity}: `{rule.formula}`.\n\n"
            f"**Speaks** {levels}. {rule.why}\n\n"
            f"**When it is wrong.** {rule.wrong}\n\n"
            f"**What helps:** {rule.remedy}. **Source:** {rule.reference}."
        )
    return "\n\n".join(parts)


def presets() -> str:
    """What the rule sets of other tools hold."""
    body: list[tuple[object, ...]] = []
    for name, preset in foreign.PRESETS.items():
        body.append((f"`{name}`", preset.title, ", ".join(rule.id for rule in preset.rules), preset.left_out))
    return rows(("preset", "tool", "rules", "left out"), body)


def main() -> None:
    """Fill the template and draw the picture."""
    spec = vg.MLP(depth=30, width=128, activation="relu", init="torch_default")
    d = vg.diagnose(spec, explain=True)
    assert d.probe is not None
    finding = next(f for f in d.findings if f.rule == "correlation_collapse")
    ax = plot.columns(d.probe, finding.picture, layers=finding.layers)
    ax.figure.canvas.print_figure(HERE / "collapse.png", dpi=90, bbox_inches="tight")
    example = vg.diagnose(vg.MLP(depth=50, width=128, activation="tanh", init="xavier_normal(gain=1.6667)"))
    filled = {
        "example": f"```text\n{example}\n```",
        "exam": exam(),
        "rules": rule_list(),
        "sick": sick(),
        "presets": presets(),
    }
    page = HERE / "diagnosis.md"
    text = page.read_text(encoding="utf-8")
    for name, value in filled.items():
        start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, _, rest = text.partition(start)
        text = "".join((before, start, "\n\n", value, "\n\n", end, rest.partition(end)[2]))
    files.save_text(text, page)


if __name__ == "__main__":
    main()
