"""Fill the tables of docs/diagnosis.md, measured or read from the rules. `make diagnosis`; some seconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import vgcore as vg
from vgcore import plot
from vgcore.judge import foreign
from vgcore.judge.evidence import Evidence
from vgcore.judge.nonfinite import NONFINITE_RULES
from vgcore.judge.rule import NEEDS, RuleOf
from vgcore.judge.rules import RULES
from vgcore.judge.training.depths import DEPTH_RULES
from vgcore.judge.training.rules import RUN_RULES
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


_RNN: dict[str, Any] = {"steps": 100, "width": 64, "in_features": 16, "out_features": 2}
_TORCH = {"init": "torch_rnn", "recurrent_init": "torch_rnn"}
_BLOCKS: dict[str, Any] = {"depth": 24, "width": 64, "tokens": 16}
# Nets over steps and tokens, by what they are.
SEQUENCES: dict[str, vg.RNN | vg.Transformer] = {
    "tanh, orthogonal": vg.RNN(**_RNN),
    "IRNN": vg.RNN(**_RNN, cell="irnn"),
    "LSTM, torch's defaults": vg.RNN(**_RNN, cell="lstm(forget_bias=0)", biases=2, **_TORCH),
    "the same, forget bias 1": vg.RNN(**_RNN, cell="lstm(forget_bias=1)", biases=2, **_TORCH),
    "the same, forget bias 2": vg.RNN(**_RNN, cell="lstm(forget_bias=2)", biases=2, **_TORCH),
    "the same, forget bias 5": vg.RNN(**_RNN, cell="lstm(forget_bias=5)", biases=2, **_TORCH),
    "LSTM, chrono(100)": vg.RNN(**_RNN, cell="lstm", bias="chrono(100)"),
    "GRU, torch's defaults": vg.RNN(**_RNN, cell="gru", biases=2, **_TORCH),
    "the same, update bias 4": vg.RNN(**_RNN, cell="gru(update_bias=4)", biases=2, **_TORCH),
    "GRU, chrono(100)": vg.RNN(**_RNN, cell="gru", bias="chrono(100)"),
    "pre-norm": vg.Transformer(**_BLOCKS),
    "pre-norm, GPT-2": vg.Transformer(**_BLOCKS, init="gpt2"),
    "post-norm": vg.Transformer(**_BLOCKS, norm_position="post"),
    "post-norm, torch's layers": vg.Transformer(**_BLOCKS, norm_position="post", init="torch_transformer"),
    "post-norm, torch's encoder, 6 blocks": vg.Transformer(
        **_BLOCKS | {"depth": 6}, norm_position="post", init="torch_encoder"
    ),
    "DeepNorm": vg.Transformer(**_BLOCKS, norm_position="post", skip="deepnorm", init="deepnorm"),
    "ReZero": vg.Transformer(**_BLOCKS, skip="rezero"),
    "no skip": vg.Transformer(**_BLOCKS, skip=None),
    "no skip, no norm": vg.Transformer(**_BLOCKS, skip=None, norm=None),
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


def sequences() -> str:
    """What is said of nets over steps and tokens."""
    body: list[tuple[object, ...]] = []
    for name, spec in SEQUENCES.items():
        d = vg.diagnose(spec)
        e = d.evidence
        assert e is not None
        warned = [f"`{found.rule}`" for found in d.findings if found.severity != "info"]
        limit = "-" if d.depth_limit is None else d.depth_limit.units
        body.append((name, e.name("backward"), round(e.backward.rms, 1) + 0.0, limit, d.word, ", ".join(warned) or "-"))
    return rows(("net", "signal", "decades", "within 32-fold", "verdict", "rules that warn"), body)


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
    """Every rule about a net as it starts, from the table that the code runs."""
    return sections(RULES)


def run_rule_list() -> str:
    """Every rule about a training, from the tables that the code runs."""
    return sections([*RUN_RULES, *DEPTH_RULES])


def sections(rules: Sequence[RuleOf[Any]]) -> str:
    """A section for each rule."""
    parts = []
    for rule in rules:
        levels = ", ".join(f"{name} from {value:g}" for name, value in rule.thresholds.items())
        others = "".join(f" Of an `{kind}` {helps}." for kind, helps in rule.remedies.items()).replace("an `T", "a `T")
        parts.append(
            f"### `{rule.id}`\n\n"
            f"**Looks at** {rule.quantity}: `{rule.formula}`.\n\n"
            f"**Speaks** {levels}. {rule.why}\n\n"
            f"**When it is wrong.** {rule.wrong}\n\n"
            f"**What helps:** {rule.remedy}.{others} **Source:** {rule.reference}."
        )
    return "\n\n".join(parts)


# Trainings of the digits, width 64, batch 64: net, how it is trained, what is true of it.
TRAININGS = {
    "sigmoid, Xavier, depth 6": (
        {"depth": 6, "activation": "sigmoid", "init": "xavier_normal"},
        {"optimizer": "sgd(lr=0.1)", "steps": 600},
        "stuck at ln 10 (Glorot and Bengio 2010)",
    ),
    "the same, Adam": (
        {"depth": 6, "activation": "sigmoid", "init": "xavier_normal"},
        {"optimizer": "adam(lr=0.01)", "steps": 600},
        "trains",
    ),
    "the same, min_norm=1": (
        {"depth": 6, "activation": "sigmoid", "init": "xavier_normal"},
        {
            "optimizer": "sgd(lr=0.03, momentum=0.9)",
            "steps": 600,
            "clip": vg.Clip(max_norm=None, min_norm=1.0),
        },
        "trains",
    ),
    "ReLU, Xavier, depth 30": (
        {"depth": 30, "activation": "relu", "init": "xavier_normal"},
        {"optimizer": "sgd(lr=0.002, momentum=0.9)", "steps": 400},
        "stalls (He et al. 2015)",
    ),
    "ReLU, Kaiming, depth 30": (
        {"depth": 30, "activation": "relu", "init": "kaiming_normal"},
        {"optimizer": "sgd(lr=0.002, momentum=0.9)", "steps": 400},
        "trains",
    ),
    "ReLU, depth 4, a rate of 0.1": (
        {"depth": 4, "activation": "relu", "init": "kaiming_normal"},
        {"optimizer": "adam(lr=0.1)", "steps": 300},
        "units die",
    ),
    "ReLU, std 2/sqrt(n), depth 30": (
        {"depth": 30, "activation": "relu", "init": "mean_field(sigma_w=2)"},
        {"optimizer": "sgd(lr=0.02, momentum=0.9)", "steps": 300},
        "not finite (Pascanu et al. 2013)",
    ),
    "the same, clipped at 1": (
        {"depth": 30, "activation": "relu", "init": "mean_field(sigma_w=2)"},
        {"optimizer": "sgd(lr=0.02, momentum=0.9)", "steps": 300, "clip": 1.0},
        "finite, by clipping",
    ),
}


def trainings() -> str:
    """What the rules, and other tools' rules over time, say of some trainings."""
    x, y = vg.data.digits()
    body: list[tuple[object, ...]] = []
    for name, (fields, how, true) in TRAININGS.items():
        spec = vg.MLP(width=64, in_features=64, out_features=10, **fields)
        run = vg.train(spec, x, y, monitor="full", record=20, validation=0.2, seeds=2, **how)
        d = vg.diagnose(run)
        others = [vg.diagnose(run, rules=preset) for preset in foreign.PRESETS]
        said = [f"{each.verdict} ({len(each.findings)})" for each in others]
        serious = ", ".join(f"`{each.rule}`" for each in d.findings if each.severity != "info") or "nothing"
        body.append((name, true, d.verdict, serious, *said))
    return rows(("training", "what is true", "verdict", "rules that warn", *foreign.PRESETS), body)


def presets() -> str:
    """What the rule sets of other tools hold."""
    body: list[tuple[object, ...]] = []
    for name, preset in foreign.PRESETS.items():
        body.append((f"`{name}`", preset.title, ", ".join(rule.id for rule in preset.rules), preset.left_out))
    return rows(("preset", "tool", "rules", "left out"), body)


def time_presets() -> str:
    """What the rule sets of other tools hold over time."""
    body: list[tuple[object, ...]] = []
    for name, preset in foreign.PRESETS.items():
        listed = ", ".join(f"{rule.id} {rule.sign} {rule.threshold:g}" for rule in preset.over_time)
        body.append((f"`{name}`", listed, preset.unlike))
    return rows(("preset", "rules over time", "what is unlike the tool"), body)


def needs() -> str:
    """What rules need of a trace."""
    return rows(
        ("rule", "needs"),
        [(f"`{rule.id}`", ", ".join(NEEDS[need] for need in rule.needs)) for rule in RULES if not rule.nets],
    )


def broken() -> str:
    """What is concluded of weights that are not finite."""
    body = [(f"`{rule.id}`", rule.why, rule.wrong, rule.remedy) for rule in NONFINITE_RULES]
    return rows(("finding", "why", "when it is wrong", "remedy"), body)


def main() -> None:
    """Fill the template and draw the picture."""
    spec = vg.MLP(depth=30, width=128, activation="relu", init="torch_default")
    d = vg.diagnose(spec, explain=True)
    assert d.probe is not None
    finding = next(f for f in d.findings if f.rule == "correlation_collapse")
    ax = plot.columns(d.probe, finding.picture, layers=finding.layers)
    ax.figure.canvas.print_figure(HERE / "collapse.png", dpi=90, bbox_inches="tight")
    filled = {
        "exam": exam(),
        "sequences": sequences(),
        "rules": rule_list(),
        "trainings": trainings(),
        "run_rules": run_rule_list(),
        "sick": sick(),
        "needs": needs(),
        "broken": broken(),
        "presets": presets(),
        "time_presets": time_presets(),
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
