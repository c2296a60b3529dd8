"""What became of each row of the table: a JSON file a step in target/dist, and all of them in TABLE.md."""

import json
from pathlib import Path

from targets import ROWS, row_of

DIST = Path(__file__).resolve().parents[1] / "target" / "dist"
STEPS = ("built", "checked", "run")


def recorded(step: str, folder: Path = DIST) -> dict[str, str]:
    """What a step said of each row or file, by name."""
    path = folder / f"{step}.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def record(step: str, said: dict[str, str], folder: Path = DIST) -> None:
    """Keep what a step says of rows (their names) or other files (theirs), over what it said of them before."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(recorded(step, folder) | said, indent=1)
    (folder / f"{step}.json").write_text(text + "\n", encoding="utf-8")


def table(folder: Path = DIST) -> str:
    """All rows, and files beside them, as Markdown."""
    steps = [recorded(step, folder) for step in STEPS]
    files = {(row.name if (row := row_of(path)) else path.name): path for path in sorted(folder.glob("vgcore-*"))}
    names = [*(row.name for row in ROWS), *sorted(set(files) - {row.name for row in ROWS})]
    lines = ["| wheel | MB |" + "".join(f" {step} |" for step in STEPS), "|---|---|" + "---|" * len(STEPS)]
    for name in names:
        size = f"{files[name].stat().st_size / 1e6:.2f}" if name in files else ""
        lines.append(f"| {name} | {size} |" + "".join(f" {step.get(name, '')} |" for step in steps))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    text = table()
    (DIST / "TABLE.md").write_text(text, encoding="utf-8")
    print(text, end="")
