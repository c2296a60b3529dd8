"""What would break code written for the last release: `python packaging/api.py`.

What is public is what docs/api.md lists and what `vgcore.__all__` names, as docs/versions.md says: a module stands for
its own `__all__`, and one that is listed as a whole (`vgcore.reference`) is there to be read. A name that is gone, or a
parameter that is gone, moved, new and required, or has another default, breaks code. That is allowed where CHANGELOG.md
tells it under Changed or Removed, above the section of that release, with the name as code.
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
from pathlib import Path

import griffe

ROOT = Path(__file__).parents[1]
PACKAGE, SOURCE, LISTING = "vgcore", "python", "docs/api.md"


def git(root: Path, *words: str) -> str | None:
    """What git says; None where it has no answer."""
    try:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, encoding="utf-8", check=False)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def public(package: griffe.Object | griffe.Alias, listing: str) -> griffe.Module:
    """The public names of a package by their dotted paths, as members of a module of their own."""
    listed = [path.removeprefix(f"{PACKAGE}.") for path in re.findall(r"^::: ([\w.]+)$", listing, flags=re.MULTILINE)]
    api = griffe.Module(PACKAGE)
    for path in {*map(str, package.exports or ()), *listed}:
        try:
            found = package[path]
        except KeyError:
            continue  # listed, and not there: docs/api.md is held to what is there by a test
        if not found.is_module:
            api.members[path] = found
        elif path not in listed:
            api.members |= {f"{path}.{name}": found[name] for name in map(str, found.exports or ())}
    return api


def named(breakage: griffe.Breakage) -> str:
    """The last name of what breaks; a class where it is its construction."""
    return breakage.obj.path.removesuffix(".__init__").rpartition(".")[2]


def is_spelling(breakage: griffe.Breakage) -> bool:
    """Whether a default is all that differs, and is no plain value: another expression may mean the same."""
    if breakage.kind is not griffe.BreakageKind.PARAMETER_CHANGED_DEFAULT:
        return False
    try:
        for parameter in (breakage.old_value, breakage.new_value):
            ast.literal_eval(str(parameter.default))
    except (SyntaxError, ValueError):
        return True
    return False


def told(changelog: str, tag: str) -> set[str]:
    """All words that are code in what the changelog says was changed or removed since a tag."""
    newer = changelog.partition(f"\n## [{tag.removeprefix('v')}]")[0]
    parts = re.findall(r"^### (?:Changed|Removed)\n(.*?)(?=^##|\Z)", newer, flags=re.MULTILINE | re.DOTALL)
    return {word for part in parts for code in re.findall(r"`([^`\n]+)`", part) for word in re.findall(r"\w+", code)}


def breaks(root: Path, ref: str) -> list[griffe.Breakage]:
    """What of the public names at a commit breaks in the tree."""
    old = griffe.load_git(PACKAGE, ref=ref, repo=root, search_paths=[SOURCE], allow_inspection=False)
    new = griffe.load(PACKAGE, search_paths=[root / SOURCE], allow_inspection=False)
    before, after = git(root, "show", f"{ref}:{LISTING}"), (root / LISTING).read_text(encoding="utf-8")
    found = griffe.find_breaking_changes(public(old, before or ""), public(new, after))
    return [each for each in found if not is_spelling(each)]


def main() -> None:
    """Print what breaks, and fail if the changelog does not tell it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("against", nargs="?", help="a commit; the last tag before this one, if not said")
    parser.add_argument("--root", type=Path, default=ROOT, help="the tree; this one, if not said")
    given = parser.parse_args()
    ref = given.against or (git(given.root, "describe", "--tags", "--abbrev=0", "--match=v[0-9]*") or "").strip()
    if not ref:
        print("api: no tag is reached from here: nothing is released yet, so nothing can break")
        return
    changes = told((given.root / "CHANGELOG.md").read_text(encoding="utf-8"), ref)
    found = {each.explain(griffe.ExplanationStyle.MARKDOWN): named(each) in changes for each in breaks(given.root, ref)}
    for line, allowed in sorted(found.items()):
        print(f"{line}, {'which the changelog tells' if allowed else 'of which the changelog says nothing'}")
    if not all(found.values()):
        sys.exit(f"this breaks code written for {ref}: mend it, or tell it in CHANGELOG.md under Changed or Removed")
    print(f"api: breaks since {ref}: {len(found)}, each of them told in CHANGELOG.md")


if __name__ == "__main__":
    main()
