"""What became of each row of the table: a JSON file a step in target/dist, and all of them in TABLE.md."""

import json
from pathlib import Path

from targets import ROWS, row_of

DIST = Path(__file__).resolve().parents[1] / "target" / "dist"


def recorded(step: str, folder: Path = DIST) -> dict[str, str]:
    """What a step said of each row or file, by name."""
    path = folder / f"{step}.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def runs(folder: Path = DIST) -> dict[str, str]:
    """What `run.py` tells of each file: with which interpreters and in which ways it ran, or why it did not."""
    path = folder / "run.json"
    told: dict[str, list[str]] = {}
    for run in json.loads(path.read_text(encoding="utf-8")) if path.exists() else []:
        words = " ".join(word for word in (run["interpreter"], run["way"]) if word)
        reason = f": {run['why']}" if run["outcome"] != "passed" else ""
        told.setdefault(named(Path(run["file"])), []).append(f"{words} {run['outcome']}{reason}".strip())
    return {name: "; ".join(lines) for name, lines in told.items() if name}


def named(path: Path) -> str:
    """The name of a file's row; its own if it has none."""
    return row.name if (row := row_of(path)) else path.name


def record(step: str, said: dict[str, str], folder: Path = DIST) -> None:
    """Keep what a step says of rows (their names) or other files (theirs), over what it said of them before."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(recorded(step, folder) | said, indent=1)
    (folder / f"{step}.json").write_text(text + "\n", encoding="utf-8")


def table(folder: Path = DIST) -> str:
    """All rows, and files beside them, as Markdown."""
    steps = (recorded("built", folder), recorded("checked", folder), runs(folder))
    sizes = {named(path): f"{path.stat().st_size / 1e6:.2f}" for path in sorted(folder.glob("vgcore-*"))}
    lines = ["| file | MB | built | checked | run |", "|---|---|---|---|---|"]
    for name in dict.fromkeys([*(row.name for row in ROWS), *sizes]):
        told = (words.get(name, "").replace("|", "/") for words in steps)
        lines.append(f"| {' | '.join((name, sizes.get(name, ''), *told))} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    text = table()
    (DIST / "TABLE.md").write_text(text, encoding="utf-8")
    print(text, end="")
