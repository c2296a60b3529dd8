"""Odd values, as Python source: each is wrong in most places where it is put."""

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
    *("itertools.count()", "itertools.repeat(1.0)", "endless()", "endless('relu')", "[1] * 20_000", "{1: 2}"),
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

#: Names of arguments where any may be given.
KEYWORDS = (
    *("depth", "activation", "width", "dept", "gain", "alpha", "x", "seeds", "block", "skip", "negative_slope", "init"),
    *("bias", "norm", "inputs", "tied", "branch_scale", "reduction", "std", "ｗidth"),
)
#: What stands in the JSON of a spec, and what may come in its place.
JSON_OLD = (
    '"vgcore_format": 1',
    '"depth": 2',
    '"width": 4',
    '"relu"',
    "null",
    "false",
    "1.0",
    '"block": 1',
    '"tables": {',
    "{",
    "}",
)
JSON_NEW = (
    *('"depth": 2, "depth": 3', "NaN", "1e400", "-1", '"a"', "null", "[]", "{}", "true", "9" * 400, "2.0", '"\\ud800"'),
    *(
        '"depth": null',
        '"wdith": 4',
        '"tables": []',
        '"vgcore_format": 99, "depth": 2',
        '"depth": [2]',
        "[" * 50,
        '"vgcore_format": "a"',
    ),
)
NO_JSON = ("'[' * 100_000", "'{\"a\":' * 100_000", "''", "'null'", "'[]'", "'{}'", "'1'", "'\\ufeff{}'", "b'{}'")
#: Contents of files that are no tables, or nearly none.
TABLES = (
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
    *("'1' * 200_000 + ',2\\n'", "'1,2\\n,\\n'", "'１,2\\n3,4\\n'", "'1_0,2\\n'", "','.join('1' * 5000) + '\\n'"),
    *("'\\ud800,1\\n'", "'a,b\\n[/red],1\\n'", "'9' * 400 + ',2\\n'", "'\"a\\nb\",1\\n2,3\\n'"),
    "'x' * 200_000 + ',1\\n2,3\\n'",
)
#: Options of the shell, and words that may follow them.
OPTIONS = (
    *("--depth", "--width", "--activation", "--init", "--skip", "--norm", "--bias", "--loss", "--data", "--target"),
    *(
        "--seeds",
        "--seed",
        "--batch",
        "--dtype",
        "--threads",
        "--out",
        "--block",
        "--branch-scale",
        "--rules",
        "--store",
    ),
    *("--threshold", "--fail-on", "--keep", "--inputs", "--norm-position", "--weight-transform", "--nope", "--shard"),
)
WORDS = (
    *(text for text in TEXTS if not text.startswith(("b", "m"))),
    *("'1:9:0'", "'1:10000000000:1'", "'-1'", "'1,2,,3'", "'4:2'", "'relu,[/x]'", "'residual(order=[/b])'", "'(((('"),
    *(
        "'=,='",
        "'a=b=c'",
        "'none,none'",
        "'/dev/null/x.csv'",
        "'.'",
        "'x.csv'",
        "'digits'",
        "'1e3'",
        "'[/].csv'",
        "'3/0'",
    ),
)
FLAGS = ("--json", "--explain", "--tied", "--help", "-x", "extra")
