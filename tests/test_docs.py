"""Every block of README.md and docs/ runs, and prints what the page shows below it."""

import importlib.util
import json
import re
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import vgcore as vg
from vgcore.explore.presets import PRESETS

ROOT = Path(__file__).parents[1]


def load(name: str) -> ModuleType:
    """A script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for their annotations
    spec.loader.exec_module(module)
    return module


outputs = load("outputs")
SESSIONS = [session for page in outputs.PAGES for session in outputs.sessions(page)]


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: f"{session.page.relative_to(ROOT)} {session.title}")
def test_a_block_prints_what_its_page_shows(session: Any, tmp_path: Path) -> None:
    if session.missing:
        pytest.skip(f"not installed: {', '.join(session.missing)}")
    for block, printed in zip(session.blocks, session.run(tmp_path), strict=True):
        assert block.holds(printed), f"run make outputs: {block.code}{block.shown}prints\n{printed}"


def test_blocks_and_their_outputs_are_found_as_the_rules_say(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```python\nx = 1\n```\n\n"
        "<!-- not run: it needs a cluster -->\n\n```sh\nsbatch\n```\n\n"
        "<!-- output not shown: it is the time -->\n\n```sh\ndate\n```\n\n"
        "```python\nprint(x, 2)\n```\n\n```text\n1 ...\n```\n",
        encoding="utf-8",
    )
    (session,) = outputs.sessions(page)
    assert [block.code for block in session.blocks] == ["x = 1\n", "date\n", "print(x, 2)\n"]
    printed = session.run(tmp_path)
    assert printed[0] == ""
    assert printed[2] == "1 2\n"
    assert [block.holds(text) for block, text in zip(session.blocks, printed, strict=True)] == [True] * 3
    assert not session.blocks[2].holds("2 2\n")
    assert not session.blocks[0].holds("more\n")


def test_a_page_that_shows_something_else_is_mended(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("Before.\n\n```python\nprint(3)\n```\n\n```text\n2\n```\n\nAfter.\n", encoding="utf-8")
    outputs.write(page)
    assert page.read_text(encoding="utf-8") == ("Before.\n\n```python\nprint(3)\n```\n\n```text\n3\n```\n\nAfter.\n")


def test_a_block_that_fails_says_where(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- each block runs alone -->\n\n```python\n1 / 0\n```\n", encoding="utf-8")
    (session,) = outputs.sessions(page)
    with pytest.raises(RuntimeError, match=r"page.md, block 1:[\s\S]*ZeroDivisionError"):
        session.run(tmp_path)


# Links

#: Every page that a reader of the repository may come by.
READ = sorted({*outputs.PAGES, ROOT / "CONTRIBUTING.md", *ROOT.glob("examples/*.md"), *ROOT.glob("src/**/*.md")})


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


@cache
def anchors(page: Path) -> tuple[list[str], list[str]]:
    """What the headings of a page are called in links, by GitHub and by the site."""
    titles = [
        re.sub(r"[^\w\s-]", "", re.sub(r"\]\([^)]*\)", "", title).lower()).strip()
        for title in re.findall(r"^#+ (.*)$", prose(page), flags=re.MULTILINE)
    ]
    return [title.replace(" ", "-") for title in titles], [re.sub(r"[-\s]+", "-", title) for title in titles]


@pytest.mark.parametrize("page", READ, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_links_is_there_and_so_is_its_heading(page: Path) -> None:
    assert len({*anchors(page)[0]}) == len(anchors(page)[0]), "two headings of one name"
    for link in re.findall(r"\]\(([^)]+)\)", prose(page)):
        name, _, anchor = link.partition("#")
        if "://" not in link:
            to = (page.parent / name).resolve() if name else page
            assert to.exists(), link
            assert not anchor or all(anchor in called for called in anchors(to)), link


def test_the_notebook_is_that_of_the_tutorial() -> None:
    page = ROOT / "docs" / "tutorial.md"
    made = load("notebook").notebook(page.read_text(encoding="utf-8"))
    assert page.with_suffix(".ipynb").read_text(encoding="utf-8") == made, "run make outputs"


def test_a_notebook_has_all_text_and_runs_all_python_of_its_page() -> None:
    page = "# Title\n\n```python\nprint(1)\n```\n\n```text\n1\n```\n\nThen:\n\n```sh\nls\n```\n\n```text\na\n```\n"
    cells = json.loads(load("notebook").notebook(page))["cells"]
    assert [(cell["cell_type"], "".join(cell["source"])) for cell in cells] == [
        ("markdown", "# Title"),
        ("code", "print(1)"),
        ("markdown", "Then:\n\n```sh\nls\n```\n\n```text\na\n```"),
    ]


def test_a_notebook_needs_no_other_file() -> None:
    """Its cells draw the pictures that the page shows, and a kernel may lack the commands of a shell."""
    page = "```python\ndraw()\n```\n\n![What it\ndraws](pictures/x.png)\n\nAfter.\n"
    cells = json.loads(load("notebook").notebook(page))["cells"]
    assert ["".join(cell["source"]) for cell in cells] == ["draw()", "After."]
    text = (ROOT / "docs" / "tutorial.ipynb").read_text(encoding="utf-8")
    assert "![" not in text
    assert "%%bash" not in text


def test_the_page_on_conversion_names_every_way_in() -> None:
    page = (ROOT / "docs" / "convert.md").read_text(encoding="utf-8")
    assert {name for name in vg.__all__ if name.startswith("from_")} <= set(re.findall(r"\bfrom_\w+", page))


# The page of public names

API = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
LISTED = re.findall(r"^::: ([\w.]+)$", API, flags=re.MULTILINE)


def found(path: str) -> object:
    """What a dotted path leads to, through modules first: `vgcore.watch` is the package, not the function."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        module, _, name = path.rpartition(".")
        return getattr(found(module), name)


@cache
def public() -> dict[str, object]:
    """Every public function, class and constant by its name."""
    names = {name: getattr(vg, name) for name in vg.__all__}
    for module in (vg.data, vg.plot, vg.theory):
        names |= {f"{module.__name__.removeprefix('vgcore.')}.{name}": getattr(module, name) for name in module.__all__}
    for module in (vg.export, vg.testing):
        own = {name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__}
        names |= {f"{module.__name__.removeprefix('vgcore.')}.{name}": getattr(module, name) for name in own}
    last = {name: name.rpartition(".")[2] for name in names}
    return {
        name: value
        for name, value in names.items()
        if not isinstance(value, ModuleType) and (not last[name].startswith("_") or last[name] == "__version__")
    }


@pytest.mark.parametrize("name", sorted(public()))
def test_the_page_of_public_names_has_every_one(name: str) -> None:
    value = public()[name]
    if not re.search(rf"`vg\.{name}[`(]", API):
        assert any(found(path) is value for path in LISTED), f"docs/api.md lacks {name}"


@pytest.mark.parametrize("path", LISTED)
def test_what_the_page_of_public_names_lists_is_public(path: str) -> None:
    assert any(found(path) is value for value in [*public().values(), vg.reference])


CLASSES = [
    *(name for name in vg.__all__ if isinstance(getattr(vg, name), type)),
    *(f"theory.{name}" for name in vg.theory.__all__ if isinstance(getattr(vg.theory, name), type)),
]


@pytest.mark.parametrize("name", CLASSES)
def test_every_public_class_has_an_example(name: str) -> None:
    value: object = vg
    for part in name.split("."):
        value = getattr(value, part)
    assert ">>> " in (value.__doc__ or "")


# The site


def nav() -> set[str]:
    """The pages that mkdocs.yml lists."""
    return set(re.findall(r": ([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), flags=re.MULTILINE))


def test_the_site_and_the_index_list_every_page() -> None:
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert nav() == pages
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert pages - {"index.md"} == set(re.findall(r"\]\(([\w/]+\.md)\)", index))


@pytest.mark.parametrize("page", outputs.PAGES[1:], ids=lambda page: page.name)
def test_what_a_page_links_or_shows_is_part_of_the_site(page: Path) -> None:
    targets = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", prose(page)) if "://" not in link]
    docs = ROOT / "docs"
    assert [link for link in targets if not (page.parent / link).resolve().is_relative_to(docs)] == []


def test_an_asset_from_elsewhere_is_found(tmp_path: Path) -> None:
    assets = load("assets")
    (tmp_path / "here.css").write_text("", encoding="utf-8")
    (tmp_path / "index.html").write_text(
        '<a href="https://example.org">a link</a><link rel="stylesheet" href="here.css"><img src="gone.png">'
        '<script src="https://example.org/x.js"></script><link rel="canonical" href="https://example.org/">',
        encoding="utf-8",
    )
    assert list(assets.strangers(tmp_path)) == [
        "index.html loads gone.png",
        "index.html loads https://example.org/x.js",
    ]


def test_a_style_from_elsewhere_and_the_source_of_a_formula_are_found(tmp_path: Path) -> None:
    assets = load("assets")
    (tmp_path / "site.css").write_text(
        "a {background: url(data:image/png;base64,AA)} b {background: url('//example.org/x.png')}", encoding="utf-8"
    )
    (tmp_path / "index.html").write_text(
        "<p>It is $\\sqrt{2}$ or \\(x\\).</p><pre>cost $1 and $2</pre><p>$3</p>", encoding="utf-8"
    )
    assert list(assets.strangers(tmp_path)) == ["site.css loads //example.org/x.png"]
    assert list(assets.formulas(tmp_path)) == [
        r"index.html shows the source of a formula: $\sqrt{2}$",
        r"index.html shows the source of a formula: \(x\)",
    ]


def test_a_public_name_that_the_site_lacks_is_found(tmp_path: Path) -> None:
    assets = load("assets")
    stub = '__all__ = ["LOSSES", "build_info", "jacobian", "probe", "theory", "train"]\n'
    listing = "::: vgcore.probe\n\n::: vgcore.train.fit.train\n\n::: vgcore.theory.predict\n"
    (tmp_path / "api.html").write_text(
        '<h3 id="vgcore.probe"></h3><h3 id="vgcore.train.fit.train"></h3><h3 id="vgcore.theory.chi"></h3>'
        "<p><code>vg.LOSSES</code> and <code>vg.build_info()</code>; jacobian and <code>vg.jacobian(net)</code></p>",
        encoding="utf-8",
    )
    assert list(assets.lacking(tmp_path, stub, listing)) == [
        "api.html lacks vgcore.theory.predict",
        "api.html lacks vg.jacobian",
    ]


def test_the_page_of_presets_says_what_the_explorer_says_and_links_each() -> None:
    page = (ROOT / "docs" / "presets.md").read_text(encoding="utf-8")
    sections = [part.splitlines() for part in page.split("\n## ")[1:]]
    assert [(lines[0], " ".join(lines[2:-2]), lines[-1]) for lines in sections] == [
        (each.title, each.text, f'<a href="explore.html#preset={each.id}">Open this net in the explorer</a>')
        for each in PRESETS
    ]


def test_a_site_without_an_engine_for_pages_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> str:
        raise ValueError("no engine & no page")

    made = load("explorer")
    monkeypatch.setattr(made, "saved", refused)
    assert "is not part of this site: no engine &amp; no page." in made.explorer()


# Citation


def test_the_citation_is_of_this_version_and_has_what_the_format_requires() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    fields = dict(re.findall(r"^([\w-]+): *(.*)$", text, flags=re.MULTILINE))
    assert fields["version"] == vg.__version__
    assert fields["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "license", "type"} <= {*fields}
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (author,) = re.findall(r'^authors = \[\{ name = "(.*)" \}\]$', project, flags=re.MULTILINE)
    assert f"authors:\n  - name: {author}\n" in text
