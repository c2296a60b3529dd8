"""Call number i of a seed, as Python source: mostly sound, with one odd value or more."""

from __future__ import annotations

import inspect
import random
from dataclasses import dataclass, replace
from functools import lru_cache

import vgcore as vg
from fuzz import sound, surface

DTYPES = (
    *(
        "bool",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "float16",
        "float32",
        "float64",
    ),
    *("longdouble", "complex64", "complex128", "str_", "bytes_", "object_", "datetime64", "timedelta64"),
)
ERRORS = ("Own", "OSError", "KeyboardInterrupt", "MemoryError")
METHODS = (
    *("__array__", "__index__", "__float__", "__int__", "__iter__", "__next__", "__len__", "__getitem__", "__repr__"),
    *("__str__", "__eq__", "__bool__", "__hash__", "__fspath__", "__call__", "__contains__", "keys", "__getattr__"),
    *("__array_interface__", "__format__", "__lt__", "__complex__"),
)
NUMBERS = (
    *("None", "True", "False", "0", "-1", "1", "2", "3.5", "-0.0", "nan", "inf", "-inf", "1e308", "5e-324", "1j"),
    *("10**400", "-10**400", "2**31", "2**63", "2**64", "-2**63", "10**12", "1e30", "1e-30", "2.0", "..."),
    *("Decimal('1.5')", "Decimal('NaN')", "Decimal('sNaN')", "Decimal('1e400')", "Decimal('Infinity')", "Decimal(2)"),
    *("Fraction(1, 3)", "Fraction(10**400)", "Fraction(2)", "np.ma.masked", "np.void(b'ab')", "np.longdouble('1e400')"),
    *("np.uint64(2**64 - 1)", "np.int8(-128)", "np.datetime64('NaT')", "np.float64(nan)", "np.float32(inf)"),
    *(
        "np.float16(2)",
        "np.bool_(False)",
        "np.uint8(200)",
        "np.complex128(1j)",
        "np.str_('relu')",
        "np.bytes_(b'relu')",
    ),
)
TEXTS = (
    *(
        "''",
        "' '",
        "'\\x00'",
        "'relu\\x00'",
        "'\\ud800'",
        "'a' * 100_000",
        "'relu(' * 20_000",
        "'[bold]x[/red]'",
        "'[/]'",
    ),
    *(
        "'日本'",
        "'%s %d'",
        "'{0} {x}'",
        "'\\n\\n'",
        "'1e400'",
        "'0x10'",
        "'１２'",
        "'none'",
        "'None'",
        "'true'",
        "'yes'",
    ),
    *("'relu'", "'RELU'", "'rleu'", "'relu()'", "'leaky_relu(0.1'", "'leaky_relu(0.1,0.2,0.3)'", "'leaky_relu(nan)'"),
    *(
        "'leaky_relu(negative_slope=1e999)'",
        "'normal(0, 0.1, std=1)'",
        "'xavier_normal(gain=\\ud800)'",
        "'mean_field(,)'",
    ),
    *("'batch_norm'", "'train'", "'auto'", "'float16'", "'fp32'", "'cuda'", "'mse_loss'", "'2'", "'nan'", "'1_000'"),
    *("'\\x1b[31mred'", "'layers.0.weight'", "'ﬀ'", "'İ'", "'ß' * 300", "'\\u202e'", "'-'", "b''", "b'relu'"),
    *("bytearray(b'x')", "memoryview(b'relu')", "'1' * 5000", "'9' * 400"),
)
CONTAINERS = (
    *("[]", "()", "{}", "set()", "[None]", "[[]]", "[[1], [2, 3]]", "nested(5)", "nested(2000)", "nested(100_000)"),
    *("circle()", "circular_dict()", "range(3)", "range(10**12)", "iter([1, 2])", "(i for i in [1.0])", "zip()"),
    *("itertools.count()", "itertools.repeat(1.0)", "endless()", "endless('relu')", "[1] * 100_000", "{1: 2}"),
    *(
        "{'a': 1}",
        "{'a': {'b': [1]}}",
        "frozenset({1})",
        "collections.deque([1.0])",
        "types.MappingProxyType({'a': 1})",
    ),
    *("collections.ChainMap({})", "[1, 'a']", "['relu', None]", "[True, False]", "[nan]", "[10**400]", "['']"),
    *("{0.5, 1.5}", "{0.5: 1, 1.5: 2}", "[np.nan, np.ma.masked]", "collections.UserList([1.0])", "[object()] * 3"),
    *("lying(__len__=-1)", "lying(__len__=10**12)", "lying(__len__=3, __getitem__=1.0)", "lying(__index__='a')"),
    *("lying(__float__=None)", "lying(__iter__=3)", "lying(__array__=[1, 2])", "lying(__array__=None)"),
    *("lying(__repr__=None)", "lying(__bool__=2)", "lying(__fspath__=b'x')", "lying(__index__=10**400)"),
    *("lying(shape=(1,))", "lying(__repr__='x' * 10**6)", "lying(__index__=2)", "lying(__float__=1.5)"),
)
ARRAYS = (
    *("np.zeros(0)", "np.zeros((0, 4))", "np.zeros((4, 0))", "np.array(1.0)", "np.array(None)", "np.ones(4)"),
    *(
        "np.ones((5, 4))",
        "np.array('relu')",
        "np.ones((5, 4))[::2]",
        "np.eye(4)[:, ::-1]",
        "np.eye(4).T",
        "np.eye(4, dtype='>f8')",
    ),
    *(
        "np.asfortranarray(np.arange(20.0).reshape(5, 4))",
        "np.broadcast_to(1.0, (10**6, 10**6))",
        "aligned_badly(4, 4)",
    ),
    *("np.broadcast_to(np.float32(1), 10**12)", "np.broadcast_to(1.0, (10**10, 4))", "np.broadcast_to(0, (10**12, 1))"),
    *("np.full((4, 4), nan)", "np.full((4, 4), inf)", "np.full((4, 4), 1e300)", "np.full((4, 4), 5e-324)"),
    *(
        "np.ma.masked_array(np.eye(4), np.eye(4))",
        "np.ma.masked_array([0, 1, 2, 0], [0, 1, 0, 0])",
        "np.ones((1,) * 32)",
    ),
    *("np.array([1, 'a', None], object)", "np.array(['a', 'b'])", "np.array([b'a', b'b'])", "np.eye(4).astype(object)"),
    *(
        "np.array(['2020-01-01'], 'datetime64[D]')",
        "np.array([1], 'timedelta64[s]')",
        "np.zeros(3, 'f8,i4')",
        "np.matrix(np.eye(4))",
    ),
    *("np.rec.array([(1, 2.0)])", "np.eye(4) * 1j", "np.eye(4, dtype=np.float16)", "np.eye(4, dtype=np.longdouble)"),
    *("np.eye(4, dtype=bool)", "np.arange(4, dtype=np.uint64) + np.uint64(2**63)", "np.array([0, 1, 2, 10**6])"),
    *(
        "np.array([0.5, 1, 2, 3])",
        "np.array([-1, 0, 1, 2])",
        "np.array([0, 1, 1, 2], np.int8)",
        "np.frombuffer(bytes(32))",
    ),
    *("np.ones((2, 2, 2, 2))", "np.array([np.eye(2), np.eye(3)], object)", "np.full((4, 4), 10**400, object)"),
    *("np.ma.masked_all((4, 4))", "np.array([circle()], object)", "np.array(['a', 1.5, None], object)"),
)
OTHERS = (
    *(
        "object()",
        "object",
        "len",
        "int",
        "math",
        "vg",
        "vg.MLP",
        "lambda: 0",
        "lambda z: z",
        "lambda *_: 1 / 0",
        "slice(None)",
    ),
    *("NotImplemented", "type('T', (), {})", "lambda z: 'a'", "lambda z: None", "lambda z: z[:1]", "lambda z: nan"),
    *(
        "lambda z: 10**400",
        "lambda z: np.ones(3)",
        "Path('.')",
        "Path('none.csv')",
        "types.SimpleNamespace()",
        "Own",
        "Own('x')",
    ),
    *(
        "open(os.devnull)",
        "itertools.chain([1.0], raising('__next__', OSError))",
        "vg.Activation('relu')",
        "vg.Loss('mse')",
    ),
)
LETTERS = "abz_()=,. 019-+eE\x00'\"[]é\n"


@dataclass(frozen=True)
class Call:
    """A call as source: `callee` with {s} for its subject, and its arguments, `name=value` or a value alone."""

    name: str
    callee: str
    subject: str | None
    arguments: tuple[tuple[str | None, str], ...] | None
    way: str = ""

    def source(self) -> str:
        """The call as a reader would type it."""
        made = self.callee.replace("{s}", self.subject or "")
        if self.arguments is None:
            return made
        if "{odd}" in made:
            return made.replace("{odd}", f"({self.arguments[0][1]})")
        return f"{made}({', '.join(text if name is None else f'{name}={text}' for name, text in self.arguments)})"


@lru_cache(1)
def _surface() -> tuple[list[surface.Entry], list[float]]:
    entries, total = surface.entries(), 0.0
    return entries, [total := total + entry.weight for entry in entries]


def call(seed: int, index: int) -> Call:
    """Call number `index` of a seed; nothing else decides it."""
    rng = random.Random(f"{seed}:{index}")
    entries, weights = _surface()
    entry = rng.choices(entries, cum_weights=weights)[0]
    way = rng.choices(("", "threads", "fork"), (988, 10, 2))[0]
    return replace(_call(rng, entry), way=way)


def _call(rng: random.Random, entry: surface.Entry) -> Call:
    subject = rng.choice(entry.subjects) if entry.subjects else None
    if entry.name == "shell":
        return Call(entry.name, "shell", None, tuple((None, word) for word in _words(rng)))
    if entry.callee == "rebuilt":
        field = rng.choice(_fields(entry))
        return Call(
            entry.name, "rebuilt", None, ((None, subject or "None"), (None, repr(field)), (None, odd(rng, entry)))
        )
    if entry.parameters is None:
        operand = ((None, odd(rng, entry)),) if "{odd}" in entry.callee else None
        return Call(entry.name, entry.callee, subject, operand)
    return Call(entry.name, entry.callee, subject, tuple(_arguments(rng, entry)))


def _fields(entry: surface.Entry) -> list[str]:
    cls = entry.name.partition(":")[0].rpartition(".")[2]
    held = getattr(vg, cls, None) or getattr(vg.theory, cls)
    return [*getattr(held, "__dataclass_fields__", ["text"]), "format", "version"]


def _arguments(rng: random.Random, entry: surface.Entry) -> list[tuple[str | None, str]]:
    """Sound arguments, of which some are replaced by odd ones."""
    assert entry.parameters is not None
    given: list[tuple[inspect.Parameter, str]] = []
    for parameter in entry.parameters:
        texts = sound.of(entry.name, parameter.name)
        many = parameter.kind in {parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL}
        required = parameter.default is parameter.empty and not many
        if texts and (required or rng.random() < 0.35):
            given.append((parameter, rng.choice(texts)))
        elif required:
            given.append((parameter, odd(rng, entry)))
    changed = rng.choices((0, 1, 2, 3), (8, 65, 20, 7))[0]
    chosen = rng.sample(entry.parameters, min(changed, len(entry.parameters)))
    found = dict.fromkeys(parameter.name for parameter in entry.parameters)
    found |= {parameter.name: text for parameter, text in given}
    for parameter in chosen:
        if parameter.kind is parameter.VAR_KEYWORD:
            found[parameter.name] = f"{_keyword(rng)}={odd(rng, entry)}"
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            before = found[parameter.name] or next(iter(sound.of(entry.name, parameter.name)), None)
            found[parameter.name] = _spoiled(rng, entry, parameter.name, before)
    made: list[tuple[str | None, str]] = []
    named = False
    for parameter in entry.parameters:
        text = found[parameter.name]
        if text is None:
            named = True
        elif parameter.kind is parameter.VAR_KEYWORD:
            made.append((None, text))
        elif parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD} and not named:
            named = parameter.kind is not parameter.POSITIONAL_ONLY and rng.random() < 0.3
            made.append((parameter.name if named else None, text))
        else:
            made.append((parameter.name, text))
    return made


def _keyword(rng: random.Random) -> str:
    return rng.choice(
        [
            *("depth", "activation", "width", "dept", "gain", "alpha", "x", "seeds", "block", "skip", "negative_slope"),
            "init",
            "bias",
            "norm",
            "inputs",
            "tied",
            "branch_scale",
            "reduction",
            "std",
            "ｗidth",
        ]
    )


def _spoiled(rng: random.Random, entry: surface.Entry, name: str, before: str | None) -> str:
    """An odd value in the place of a sound one, or within it."""
    if name == "text" and before is not None and rng.random() < 0.9:
        return _json(rng, before)
    if name == "path" and before is not None and before.startswith(("file", "npz")) and rng.random() < 0.8:
        return _file(rng, before)
    if name == "state" and before is not None and rng.random() < 0.8:
        key = rng.choice(["layers__0__weight", "layers__1__bias", "layers__9__weight", "readout__weight", "x"])
        return f"{before[:-1]}, {key}={rng.choice([odd(rng, entry), '...', 'np.ones((4, 4), np.float32)'])})"
    if before is not None and before.startswith("'") and rng.random() < 0.4:
        return repr(mutated(rng, before.strip("'")))
    way = rng.random()
    value = odd(rng, entry)
    if before is not None and way < 0.08:
        return f"[{before}, {value}]"
    if way < 0.16:
        return f"[{value}]"
    if way < 0.19:
        return f"({value},)"
    if way < 0.22:
        return f"{{'layers.0.weight': {value}}}"
    return value


def odd(rng: random.Random, entry: surface.Entry) -> str:
    """Any value, most of them wrong anywhere."""
    way = rng.random()
    if way < 0.2:
        return rng.choice(NUMBERS)
    if way < 0.35:
        return rng.choice(TEXTS)
    if way < 0.5:
        return rng.choice(CONTAINERS)
    if way < 0.66:
        return rng.choice(ARRAYS)
    if way < 0.71:
        return rng.choice(OTHERS)
    if way < 0.75:
        return f"np.{rng.choice(DTYPES)}({rng.choice(['1', '0', '2'])})" if rng.random() < 0.7 else _cast(rng)
    if way < 0.9:
        return raiser(rng)
    # What suits another parameter.
    return rng.choice(
        sound.VALUES[rng.choice([key for key in sound.VALUES if key not in {"changes", "grid", "options"}])]
    )


def _cast(rng: random.Random) -> str:
    shape = rng.choice(["4", "(4, 4)", "(5, 4)", "()", "(4, 1)"])
    return f"np.ones({shape}).astype(np.{rng.choice(DTYPES[:-2])})"


def raiser(rng: random.Random) -> str:
    """An object of which a method raises."""
    base = rng.choice(
        ["", "", "", "", ", str, 'relu'", ", int, 2", ", float, 1.5", ", list, [1.0, 2.0]", ", dict, {'a': 1.0}"]
    )
    method = rng.choice(METHODS) if rng.random() < 0.4 else rng.choice(("*", "*", "__array__", "__index__", "__next__"))
    return f"raising({method!r}, {rng.choice(ERRORS)}{base})"


def mutated(rng: random.Random, text: str) -> str:
    """A text with one to three of its characters changed, left out, doubled or put in."""
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(text) + 1)
        rest = text[at + rng.randint(0, 1) :]
        text = text[:at] + rng.choice(["", rng.choice(LETTERS), text[at : at + 1] * 2]) + rest
    return text


def _json(rng: random.Random, before: str) -> str:
    way = rng.random()
    if way < 0.5:
        old = rng.choice(
            ['"depth": 2', '"width": 4', '"relu"', "null", "false", "1.0", '"block": 1', '"tables": {', "{", "}"]
        )
        new = rng.choice(
            [
                '"depth": 2, "depth": 3',
                "NaN",
                "1e400",
                "-1",
                '"a"',
                "null",
                "[]",
                "{}",
                "true",
                "9" * 400,
                "2.0",
                '"\\ud800"',
                '"depth": null',
                '"wdith": 4',
                '"tables": []',
                '"version": 99, "depth": 2',
                '"depth": [2]',
                "[" * 50,
                '"format": 99',
            ]
        )
        if not old.startswith('"') or rng.random() < 0.5:
            return f"{before}.replace({old!r}, {new!r})"
        return f"{before}.replace({old!r}, {old.partition(':')[0] + ': ' + new if ':' in old else new!r})"
    if way < 0.65:
        return rng.choice(
            ["'[' * 100_000", "'{\"a\":' * 100_000", "''", "'null'", "'[]'", "'{}'", "'1'", "'\\ufeff{}'", "b'{}'"]
        )
    at = rng.randint(0, 200)
    return f"(lambda t: t[:{at}] + {rng.choice(['', *LETTERS])!r} + t[{at + rng.randint(0, 2)}:])({before})"


def _file(rng: random.Random, before: str) -> str:
    if rng.random() < 0.5:
        return f"spoiled({before}, {round(rng.random(), 3)}, {rng.randrange(256)})"
    if before.startswith("npz"):
        x = rng.choice([*ARRAYS, *CONTAINERS[:6], "np.eye(3)", "np.eye(3).astype('U3')"])
        y = rng.choice([*ARRAYS, "np.arange(3)", "np.array(['a', 'b', 'c'])"])
        return f"npz('t.npz', x={x}, y={y})" if "10**" not in x + y else "npz('t.npz', y=np.arange(3))"
    content = rng.choice(
        [
            *(
                "''",
                "'\\n'",
                "'a\\n'",
                "'a,b'",
                "'a,b\\n'",
                "'1,2\\n3\\n'",
                "'1,2\\n3,x\\n'",
                "'a,a\\n1,2\\n'",
                "'\\x00,1\\n2,3\\n'",
            ),
            *(
                "b'\\xff,1\\n'",
                "'\"1,2\\n'",
                "'1,2\\r3,4'",
                "'nan,1\\n'",
                "'1e400,1\\n2,3\\n'",
                "'1;2,5\\n'",
                "'a,b\\n' * 1000",
            ),
            *(
                "'1' * 200_000 + ',2\\n'",
                "'1,2\\n,\\n'",
                "'１,2\\n3,4\\n'",
                "'1_0,2\\n'",
                "','.join('1' * 5000) + '\\n'",
            ),
            *(
                "'\\ud800,1\\n'",
                "'a,b\\n[/red],1\\n'",
                "'9' * 400 + ',2\\n'",
                "'\"a\\nb\",1\\n2,3\\n'",
                "'x' * 200_000 + ',1\\n2,3\\n'",
            ),
        ]
    )
    return f"file('t.{rng.choice(['csv', 'tsv', 'npz', 'txt', 'CSV'])}', {content})"


def _words(rng: random.Random) -> list[str]:
    """The words of a command line."""
    command = rng.choice(["probe", "sweep", "diagnose", "advise", "theory"])
    words = [repr(command), "'--depth'", "'4'", "'--width'", "'4'"]
    if command != "theory":
        words += ["'--seeds'", "'2'", "'--batch'", "'8'"]
    if command == "advise":
        words += ["'--budget'", "'2'"]
    options = (
        *("--depth", "--width", "--activation", "--init", "--skip", "--norm", "--bias", "--loss", "--data", "--target"),
        *("--seeds", "--seed", "--batch", "--dtype", "--threads", "--out", "--block", "--branch-scale", "--rules"),
        *(
            "--threshold",
            "--fail-on",
            "--keep",
            "--inputs",
            "--norm-position",
            "--weight-transform",
            "--nope",
            "--store",
        ),
    )
    for _ in range(rng.randint(1, 2)):
        value = rng.choice(
            [
                *TEXTS[:45],
                "'1:9:0'",
                "'1:10000000000:1'",
                "'-1'",
                "'1,2,,3'",
                "'4:2'",
                "'relu,[/x]'",
                "'residual(order=[/b])'",
                "'(((('",
                "'=,='",
                "'a=b=c'",
                "'none,none'",
                "'/dev/null/x.csv'",
                "'.'",
                "'x.csv'",
                "'digits'",
                "'1e3'",
                "'[/].csv'",
            ]
        )
        words += [repr(rng.choice(options)), value if not value.startswith("b'") else "'x'"]
    if rng.random() < 0.2:
        words.append(rng.choice(["'--json'", "'--explain'", "'--tied'", "'extra'", "'--help'", "'-x'"]))
    return words
