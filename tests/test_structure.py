"""The house stays in order: who imports whom, what is public, and that every printed example is true."""

import ast
import doctest
import importlib
import importlib.util
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import vgcore

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "python" / "vgcore"


def dotted(path: Path) -> str:
    """The name of a file as a module within the package; a folder's `__init__` is the folder."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


PYTHON = {dotted(path): path for path in sorted(PACKAGE.rglob("*.py"))}
RUST = sorted((ROOT / "src").rglob("*.rs"))

# The order of the house: a module imports from its own place and from those on its left.
PYTHON_ORDER = [
    *("_core", "model", "convert", "data", "measure", "train", "pretrain", "show", "judge", "watch", "export", "cure"),
    *("theory", "maps", "plot", "report", "explore", "shell"),
]
RUST_ORDER = [
    *({"synonyms"}, {"error"}, {"simd"}, {"kernel", "rng", "signature", "kind", "memory"}),
    {"linalg", "activation", "expectation", "distribution", "gain"},
    *(
        {"init", "norm", "skip", "cell", "loss", "transform", "optimizer", "schedule"},
        {"part"},
        {"spec"},
        {"data", "threads", "plan"},
    ),
    {"weights", "forward", "backward", "stats", "calibrate", "gradients", "jacobian"},
    *({"naive", "gradcheck"}, {"run"}, {"train"}, {"pretrain"}, {"py", "wasm"}, {"lib"}),
]
# Imports within functions, each for a reason: a value that draws its net, a verdict in a table, pictures in a page.
LATE = {
    ("model.kind", "model.network"),
    ("convert.imported", "convert.infer"),  # what a net that is only measured does not need
    ("convert.to_torch", "convert.to_torch_sequences"),  # which is made of pieces of it
    ("model.network", "convert.to_torch"),
    ("model.spec", "convert.to_torch"),
    ("model.mlp", "explore.widget"),  # a net in a notebook
    ("measure.cells", "judge.evidence"),
    ("measure.cells", "judge.verdict"),
    ("model.shown", "show.html"),  # a notebook shows it
    ("model.shown", "report.write"),
    ("show.html.measured", "judge.diagnose"),
    ("show.html.predicted", "plot"),
    ("show.html.predicted", "plot.page"),
    ("measure.cells", "show.sweep"),  # printed
    ("train.many", "show.sweep"),
    ("show.sweep", "judge.verdict"),
    ("measure.explain", "show.lecture"),
    ("plot.axes", "plot.artists"),  # which cannot be imported without matplotlib
    ("train.many", "judge.diagnose"),
    ("reference.activation", "model.custom"),  # the samples of a user's own activation
    ("shell.doctor", "reference.selftest"),  # the core beside the twin, on the machine of a user
}
# Modules beside the folders: the package, its commands, the tests of others.
ABOVE = {"__init__", "__main__", "testing"}
# The twin judges the product, which asks it for nothing: an answer that were the twin's own would agree with it. Only
# the command that shows both side by side asks for the comparison, which therefore knows both.
TWIN = "reference"
COMPARING = {"reference.cases", "reference.selftest"}


def cycle(graph: Mapping[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle, if any."""
    finished: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module not in finished:
            for other in sorted(graph.get(module, set())):
                if found := visit(other, [*path, module]):
                    return found
            finished.add(module)
        return []

    return next((found for module in graph if (found := visit(module, []))), [])


def test_a_circle_of_imports_is_found() -> None:
    assert cycle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert cycle({"a": {"b"}, "b": {"c", "d"}, "d": {"b"}}) == ["b", "d", "b"]


# Python


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def names(node: ast.AST) -> Iterator[str]:
    """The modules that a statement or call imports, in full."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            base = "vgcore." + base if base else "vgcore"
        # From a package one imports its modules or its names; from a module, its names.
        inside = {f"{base}.{alias.name}" for alias in node.names}
        modules = {name for name in inside if name.removeprefix("vgcore.") in {*PYTHON, "_core"}}
        yield from modules
        if inside - modules:
            yield base
    elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in {"optional", "import_module"}:
        yield from (arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant) and isinstance(arg.value, str))


def imports(module: str, *, functions: bool, types: bool) -> set[str]:
    """What a module imports, with or without what only its functions or only its annotations need."""
    found: set[str] = set()

    def walk(node: ast.AST) -> None:
        found.update(names(node))
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not functions:
                continue
            if is_type_checking(child) and not types:
                continue
            walk(child)

    walk(ast.parse(PYTHON[module].read_text(encoding="utf-8")))
    return found


def ours(found: set[str]) -> set[str]:
    """The modules of this package among them."""
    return {name.removeprefix("vgcore.") for name in found} & {*PYTHON, "_core"}


def folder(module: str) -> str:
    """The folder of a module."""
    return module.partition(".")[0]


def test_every_python_module_has_a_place() -> None:
    assert {folder(module) for module in PYTHON} == {*PYTHON_ORDER, *ABOVE, TWIN} - {"_core"}
    assert {"model.mlp", "model.network", "measure.probe", "measure.sweep", "judge.diagnose", "plot"} <= {*PYTHON}


@pytest.mark.parametrize("module", sorted({*PYTHON} - ABOVE))
def test_python_imports_run_one_way(module: str) -> None:
    if module in COMPARING:
        allowed = {TWIN, *PYTHON_ORDER} - {"shell"}
    else:
        allowed = {TWIN} if folder(module) == TWIN else {*PYTHON_ORDER[: PYTHON_ORDER.index(folder(module)) + 1]}
    early = ours(imports(module, functions=False, types=False)) - {module}
    late = ours(imports(module, functions=True, types=False)) - early - {module}
    assert {name for name in early if folder(name) not in allowed} == set()
    # The shell stands at the right end, where a late import is no way around the order: its commands import what they
    # need when they are called, or help would wait for it. What help loads is held by a test of its own below.
    if folder(module) == "shell":
        assert {(module, name) for name in late if folder(name) not in allowed} <= LATE
    else:
        assert {(module, name) for name in late} <= LATE


def test_help_waits_for_nothing_that_commands_need() -> None:
    code = (
        "import sys; from vgcore.shell.commands import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    loaded = {name.removeprefix("vgcore.") for name in done.stderr.split() if name.startswith("vgcore.")}
    assert "shell.commands" in loaded
    slow = {"convert", "cure", "data", "plot", "reference", "theory"}
    assert {name for name in loaded if folder(name) in slow} == set()
    assert (
        loaded
        & {"measure.result", "judge.diagnose", "train.run", "shell.tables", "shell.bench", "show.text", "show.html"}
        == set()
    )


def test_no_python_modules_import_each_other_in_a_circle() -> None:
    graph = {module: ours(imports(module, functions=False, types=False)) for module in PYTHON}
    assert graph["measure.sweep"] >= {"measure.measurement", "model.sorts"}
    # A package loads its modules, which may load it first.
    graph = {module: {name for name in found if not module.startswith(f"{name}.")} for module, found in graph.items()}
    assert cycle(graph) == []


def test_every_exception_is_there() -> None:
    found = {(module, name) for module in PYTHON for name in ours(imports(module, functions=True, types=False))}
    assert {*LATE} <= found


def test_the_twin_itself_asks_for_no_comparison() -> None:
    twin = {module for module in PYTHON if folder(module) == TWIN} - COMPARING
    assert not any(ours(imports(module, functions=True, types=True)) & COMPARING for module in twin)


def test_nobody_imports_the_shell_but_the_command() -> None:
    users = {
        module
        for module in PYTHON
        for name in ours(imports(module, functions=True, types=True))
        if folder(name) == "shell"
    }
    assert {folder(module) for module in users} == {"shell", "__main__"}


@pytest.mark.parametrize("module", ["model.given", "model.versioned", "measure.files", "measure.progress"])
def test_some_modules_stand_alone(module: str) -> None:
    assert ours(imports(module, functions=True, types=False)) == set()


# Who may need a library other than NumPy, be it in a function or for annotations.
LIBRARIES = {
    "matplotlib": {
        f"plot.{name}"
        for name in ("artists", "axes", "maps", "measured", "page", "sweeps", "theory", "titles", "training")
    },
    "pandas": {"measure.table", "measure.result", "measure.cells", "pretrain.pretrained", "train.run", "train.many"},
    "polars": {"measure.table", "measure.result", "measure.cells", "pretrain.pretrained", "train.run", "train.many"},
    "pyarrow": {"measure.saved", "measure.table"},
    "anywidget": {"explore.widget"},
    "traitlets": {"explore.widget"},
    "starlette": {"explore.server"},
    "uvicorn": {"explore.server"},
    "equinox": {"convert.jax"},
    "jinja2": {"explore.page", "report.write"},
    "flax": {"convert.jax"},
    "google": {"convert.onnx"},  # the errors of protobuf, in which ONNX models are written
    "jax": {"convert.jax", "convert.jaxpr", "convert.keras_sequences", "convert.primitives", "shell.rivals"},
    "keras": {"convert.keras", "convert.keras_sequences"},
    "lazy_loader": {"__init__"},
    "onnx": {"convert.onnx"},
    "safetensors": {"convert.arrays"},
    "torch": {
        *("convert.keras", "convert.record", "convert.to_torch", "convert.torch"),
        *("convert.keras_sequences", "convert.to_torch_sequences", "convert.torch_sequences"),
        *("shell.bench", "shell.rivals"),
        *("watch.layers", "watch.measured", "watch.record", "watch.sizes", "watch.watch"),
    },
    "rich": {
        "measure.progress",
        "shell.benchmark",
        "shell.doctor",
        "shell.streams",
        "shell.tables",
        "shell.timings",
        "show.columns",
        "show.page",
    },
    "typer": {
        "shell.benchmark",
        "shell.commands",
        "shell.doctor",
        "shell.estimate",
        "shell.explorer",
        "shell.kinds",
        "shell.nets",
        "shell.options",
        "shell.outputs",
        "shell.reports",
        "shell.stores",
    },
}
#: What nets are brought from, watched in, or written for.
FRAMEWORKS = {"equinox", "flax", "jax", "keras", "lightning", "onnx", "safetensors", "sklearn", "torch", "transformers"}


@pytest.mark.parametrize("module", PYTHON)
def test_a_library_is_imported_only_where_it_has_its_place(module: str) -> None:
    runtime, all_ = (imports(module, functions=True, types=types) for types in (False, True))
    found = {name.partition(".")[0] for name in runtime | (all_ - {"typing_extensions"})}
    foreign = found - {"vgcore", "numpy"} - sys.stdlib_module_names
    assert foreign <= {*LIBRARIES}
    assert foreign == {library for library, users in LIBRARIES.items() if module in users}


def test_the_plots_are_where_matplotlib_is_imported() -> None:
    found = {name.partition(".")[0] for name in imports("plot.axes", functions=True, types=False)}
    assert "matplotlib" in found


def test_importing_the_package_imports_nothing_that_is_slow() -> None:
    code = "import sys, vgcore; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "vgcore" in loaded
    assert loaded & {*LIBRARIES, *FRAMEWORKS, "numpy", "scipy"} == {"lazy_loader"}


def test_measuring_and_judging_import_no_library_that_nets_are_brought_from() -> None:
    code = """
        import sys
        import vgcore as vg
        net = vg.MLP(depth=3, width=8, out_features=2)
        assert vg.probe(net, seeds=1).spec == net
        assert vg.diagnose(net, seeds=1).verdict
        print(*sorted({name.partition(".")[0] for name in sys.modules}))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"vgcore", "numpy"} <= loaded
    assert loaded & FRAMEWORKS == set()


def public_names() -> list[str]:
    """What the stub of the package imports: re-exported names and modules."""
    tree = ast.parse(PYTHON["__init__"].with_suffix(".pyi").read_text(encoding="utf-8"))
    return [
        alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    ]


def in_order(name: str) -> tuple[int, str]:
    """CONSTANTS, then Classes, then the rest, as linters sort."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def test_all_is_exactly_the_sorted_public_names() -> None:
    assert vgcore.__all__ == sorted(public_names())
    stub = PYTHON["__init__"].with_suffix(".pyi").read_text(encoding="utf-8")
    listed = next(node.value for node in ast.parse(stub).body if isinstance(node, ast.Assign))
    assert ast.literal_eval(listed) == sorted(public_names(), key=in_order)
    for name in vgcore.__all__:
        assert getattr(vgcore, name) is not None
    # What else a user sees in the package are its folders.
    rest = {name for name in vars(vgcore) if not name.startswith("_")} - set(vgcore.__all__)
    assert rest <= {*PYTHON}


def test_functions_named_as_rooms_are_functions_whatever_was_imported_first() -> None:
    code = """
        import vgcore.measure.probe, vgcore.train.fit, vgcore.watch.watch, vgcore.theory.maps, vgcore.pretrain.greedy
        import vgcore as vg
        from vgcore import measure, pretrain, train, watch
        for name in ("measure", "pretrain", "train", "watch"):
            assert callable(getattr(vg, name)), name
        assert (measure, pretrain, train, watch) == (vg.measure, vg.pretrain, vg.train, vg.watch)
        assert vg.theory.predict and not hasattr(vg, "nosuch")
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_the_contract_of_names_is_kept() -> None:
    assert set(vgcore.__all__) >= {
        *("MLP", "Activation", "Init", "Network", "Gradients", "Probe", "Factor", "Sweep"),
        *("probe", "sweep", "gradcheck", "build_info", "data", "plot"),
        *("ACTIVATIONS", "INITS", "NORMS", "SKIPS", "LOSSES"),
    }


# Rust


def module_of(path: Path) -> str:
    """The module of a file; a folder is one module."""
    return path.relative_to(ROOT / "src").parts[0].removesuffix(".rs")


def code_of(path: Path) -> str:
    """A Rust file without comments and without its unit tests, which stand at its end."""
    text = path.read_text(encoding="utf-8").split("#[cfg(test)]")[0]
    return re.sub(r"//[^\n]*", "", text)


def uses(path: Path) -> set[str]:
    """The modules of the crate that a file names."""
    code = code_of(path)
    found = set(re.findall(r"\bcrate::(\w+)", code))
    for group in re.findall(r"\bcrate::\{(.*?)\};", code, flags=re.DOTALL):
        found.update(re.findall(r"(?:^|,)\s*(\w+)", re.sub(r"\{[^{}]*\}", "", group)))
    return found - {module_of(path)}


RUST_GRAPH: dict[str, set[str]] = {}
for _path in RUST:
    RUST_GRAPH.setdefault(module_of(_path), set()).update(uses(_path))


def test_every_rust_module_has_a_place() -> None:
    assert {*RUST_GRAPH} == set().union(*RUST_ORDER)
    assert {"py", "run", "forward", "backward", "kernel", "simd", "rng", "spec", "naive"} <= {*RUST_GRAPH}


@pytest.mark.parametrize("module", RUST_GRAPH)
def test_rust_imports_run_one_way(module: str) -> None:
    row = next(i for i, row in enumerate(RUST_ORDER) if module in row)
    assert RUST_GRAPH[module] <= set().union(*RUST_ORDER[: row + 1])


def test_no_rust_modules_import_each_other_in_a_circle() -> None:
    assert RUST_GRAPH["run"] >= {"forward", "backward", "plan"}
    assert cycle(RUST_GRAPH) == []


def files_with(pattern: str) -> set[str]:
    return {path.relative_to(ROOT / "src").as_posix() for path in RUST if re.search(pattern, code_of(path))}


def test_only_the_boundary_knows_python() -> None:
    found = {module_of(ROOT / "src" / name) for name in files_with(r"\b(pyo3|numpy|Py[A-Z]\w*)\b")}
    assert found == {"py"}


def test_threads_start_in_one_place() -> None:
    found = {module_of(ROOT / "src" / name) for name in files_with(r"\bthread::(Builder|spawn|scope)\b")}
    assert found == {"threads"}


def test_unsafe_code_stays_in_the_kernels() -> None:
    found = {module_of(ROOT / "src" / name) for name in files_with(r"\bunsafe\b|allow\(unsafe_code\)")}
    assert found <= {"simd", "kernel", "wasm"}
    assert "simd" in found
    # What a page finds by name is unsafe to name, no more.
    assert not any(re.search(r"\bunsafe\s*(\{|fn|impl)", code_of(path)) for path in (ROOT / "src/wasm").glob("*.rs"))


def test_the_oracle_shares_nothing_with_what_it_judges() -> None:
    # The list of parts is what both are to compute; how, each says for itself.
    assert RUST_GRAPH["naive"] & {"kernel", "simd", "forward", "backward", "stats", "run", "weights"} == set()


# Examples


@pytest.mark.parametrize("module", sorted({*PYTHON} - {"__main__"}))
def test_docstring_examples_are_true(module: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    loaded = importlib.import_module("vgcore" if module == "__init__" else f"vgcore.{module}")
    runner = doctest.DocTestRunner()
    found = doctest.DocTestFinder().find(loaded)
    for test in found:
        if not missing("\n".join(example.source for example in test.examples)):
            runner.run(test)
    assert runner.failures == 0
    assert any(test.examples for test in found) or ">>>" not in PYTHON[module].read_text(encoding="utf-8")


def missing(code: str) -> bool:
    """Whether code imports what is not installed, as torch is not in CI."""
    names = re.findall(r"^(?:from|import) (\w+)", code, flags=re.MULTILINE)
    return any(importlib.util.find_spec(name) is None for name in names)
