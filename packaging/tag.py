"""The release notes of a tag, where the tree is what the tag says: `python packaging/tag.py v0.2.0`.

They are the changelog's section of that version, which tells people what is new and how to go on.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: Who says the version, and how. Cargo.toml is the first to be changed; the others follow it.
VERSIONS = {
    "Cargo.toml": r'^version = "(.+)"$',
    "Cargo.lock": r'^name = "vgcore"\nversion = "(.+)"$',
    "fuzz/Cargo.lock": r'^name = "vgcore"\nversion = "(.+)"$',
    "CITATION.cff": r"^version: (.+)$",
}
HEADING = re.compile(r"^## \[(?P<name>[^\]]+)\](?P<rest>.*)$", flags=re.MULTILINE)
DATED = re.compile(r" - (\d{4}-\d\d-\d\d)")


def said(pattern: str, path: Path) -> str:
    """What a file says on the line of a pattern; nothing if it has none."""
    found = re.search(pattern, path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return found[1] if found else "nothing"


def sections(changelog: str) -> dict[str, tuple[str, str]]:
    """What follows the name of each section on its line, and its text, the newest first."""
    found = list(HEADING.finditer(changelog))
    ends = [match.start() for match in found[1:]] + [len(changelog)]
    texts = (changelog[match.end() : end].strip() for match, end in zip(found, ends, strict=True))
    return {match["name"]: (match["rest"], text) for match, text in zip(found, texts, strict=True)}


def faults(tag: str, root: Path) -> list[str]:
    """What must be mended before a tree is tagged so, a sentence each."""
    if not re.fullmatch(r"v\d+\.\d+\.\d+", tag):
        return [f"a tag is vX.Y.Z, as in v0.2.0, got {tag!r}"]
    version = tag[1:]
    found = [
        f"{name} says {there}, and the tag {version}"
        for name, pattern in VERSIONS.items()
        if (there := said(pattern, root / name)) != version
    ]
    changes = sections((root / "CHANGELOG.md").read_text(encoding="utf-8"))
    if changes.pop("Unreleased", ("", ""))[1]:
        found.append(f"CHANGELOG.md has lines under [Unreleased]; they belong to [{version}] or to a later tag")
    if version not in changes:
        return [*found, f"CHANGELOG.md has no section [{version}]"]
    rest, text = changes[version]
    if (newest := next(iter(changes))) != version:
        found.append(f"the newest section of CHANGELOG.md is [{newest}]")
    if not text:
        found.append(f"the section [{version}] of CHANGELOG.md is empty")
    if not (dated := DATED.fullmatch(rest)):
        found.append(f"the section [{version}] of CHANGELOG.md has no date, as in ## [{version}] - 2026-12-01")
    elif (there := said(r"^date-released: (.+)$", root / "CITATION.cff")) != dated[1]:
        found.append(f"CITATION.cff was released on {there}, and CHANGELOG.md says {dated[1]}")
    elif date.fromisoformat(dated[1]) > datetime.now(timezone.utc).date() + timedelta(days=1):  # somewhere it is later
        found.append(f"the section [{version}] of CHANGELOG.md is of {dated[1]}, which is to come")
    minor, _, patch = version.rpartition(".")
    if patch == "0" and f" to {minor}" not in (root / "docs" / "upgrading.md").read_text(encoding="utf-8"):
        found.append(f"docs/upgrading.md has no section on how to get to {minor}")
    return found + moved(tag, root)


def moved(tag: str, root: Path) -> list[str]:
    """What of a checkout would not be in the tag, or is in another one of its name; nothing where there is no git."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False).stdout.strip()

    if not (root / ".git").exists():
        return []
    found = []
    if changed := git("diff", "--name-only", "HEAD").splitlines():
        found.append(f"what is changed and not committed is in no tag: {', '.join(changed)}")
    there, here = (git("rev-parse", "--quiet", "--verify", name) for name in (f"refs/tags/{tag}^{{commit}}", "HEAD"))
    if there and there != here:
        found.append(f"the tag {tag} is on another commit, {there[:7]}, and a tag is never moved")
    return found


def main() -> None:
    """Print the notes, or what is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("tag", help="as in v0.2.0")
    parser.add_argument("--root", type=Path, default=ROOT, help="the tree; this one, if not said")
    given = parser.parse_args()
    if found := faults(given.tag, given.root):
        sys.exit("\n".join(found))
    print(sections((given.root / "CHANGELOG.md").read_text(encoding="utf-8"))[given.tag[1:]][1])


if __name__ == "__main__":
    main()
