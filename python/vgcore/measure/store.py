"""A file of measured cells: one SQLite database, which one process writes and any number read.

The journal is the rollback journal, not the write-ahead log: that does not work on network disks, and has a bug that
corrupts files up to SQLite 3.51.2. A writer holds SQLite's own lock while it lives, so that one that was killed leaves
none.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import io
import json
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from vgcore import _core
from vgcore.measure import block, table
from vgcore.measure.measurement import Measurement
from vgcore.measure.table import Unkept
from vgcore.model import custom
from vgcore.model.given import array as as_array
from vgcore.model.given import items, printable
from vgcore.model.given import path as as_path
from vgcore.model.kind import Activation, Loss
from vgcore.model.mlp import DEFAULTS, MLP
from vgcore.model.read import read_spec
from vgcore.model.spec import Spec

if TYPE_CHECKING:
    from typing_extensions import Self

#: "vgco", by which `file` and other programs know the format; its version, and that where more than probes are held.
APPLICATION, VERSION, NEWEST = int.from_bytes(b"vgco", "big"), 1, 2
#: Bytes of a page: a cell takes a few, and each is written by a call.
PAGE = 16384
#: Characters of a path that an error shows.
LONG = 240
#: Data up to so many bytes are kept with the cells, which are judged by them.
KEPT = 64 << 20
#: Fields of an MLP that its document does not name where they have this value.
LEFT_OUT = {name: value for name, value in DEFAULTS.items() if name not in {"depth", "width"}}

TABLES = """
CREATE TABLE layout (columns TEXT NOT NULL, stream INTEGER NOT NULL)

CREATE TABLE grid (
    id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, varied TEXT NOT NULL, measurement TEXT NOT NULL,
    x TEXT, y TEXT
)

CREATE TABLE cell (
    id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, grid INTEGER NOT NULL REFERENCES grid, place INTEGER NOT NULL,
    spec TEXT NOT NULL
)

CREATE TABLE result (
    cell INTEGER PRIMARY KEY REFERENCES cell, seconds REAL NOT NULL, message TEXT, digest BLOB, block INTEGER
)

CREATE TABLE block (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL)

CREATE TABLE data (id TEXT PRIMARY KEY, bytes BLOB NOT NULL)

CREATE TABLE function (text TEXT PRIMARY KEY, definition TEXT NOT NULL)

CREATE VIEW state AS
    SELECT cell.id, key, grid, place, result.digest, block, message, CASE
        WHEN result.digest IS NOT NULL THEN 'done' WHEN message IS NOT NULL THEN 'failed' ELSE 'planned' END AS status
    FROM cell LEFT JOIN result ON cell.id = result.cell

CREATE TABLE writer (
    id INTEGER PRIMARY KEY, host TEXT NOT NULL, pid INTEGER NOT NULL, started TEXT NOT NULL, ended TEXT,
    vgcore TEXT NOT NULL, isa TEXT NOT NULL
)

CREATE TABLE held (cells INTEGER NOT NULL, results INTEGER NOT NULL)

INSERT INTO held VALUES (0, 0)

CREATE TRIGGER cell_made AFTER INSERT ON cell BEGIN UPDATE held SET cells = cells + 1; END

CREATE TRIGGER cell_gone AFTER DELETE ON cell BEGIN UPDATE held SET cells = cells - 1; END

CREATE TRIGGER result_made AFTER INSERT ON result BEGIN UPDATE held SET results = results + 1; END

CREATE TRIGGER result_gone AFTER DELETE ON result BEGIN UPDATE held SET results = results - 1; END
"""
#: What to do about damage, where it is met by chance.
CHECK = "; try: vgcore store check"
Paths: TypeAlias = str | os.PathLike[str]
PLANNED, DONE, FAILED = "planned", "done", "failed"


class Given(Protocol):
    """How cells are measured, as far as a store keeps it."""

    @property
    def x(self) -> Any:
        """The samples."""

    @property
    def y(self) -> Any:
        """The targets."""


class Grid(NamedTuple):
    """Cells that were asked for in one call, and are measured in one way.

    Attributes:
        varied: The fields that differ between them.
        cells: What is measured: specs, or more.
        specs: Their specs.
        places: Where they stand among all that were asked for.
        keys: What they are, and how they are measured, as 32 bytes.
        layers: What each is worth: layers, or as many as take its time.
        how: How they are measured.
        facts: What that says of their numbers.
    """

    varied: tuple[str, ...]
    cells: Sequence[Any]
    specs: Sequence[Spec]
    places: Sequence[int]
    keys: Sequence[bytes]
    layers: Sequence[int]
    how: Given
    facts: dict[str, Any]


def planned(specs: Sequence[Spec], varied: tuple[str, ...], how: Measurement, shard: tuple[int, int]) -> Grid:
    """The cells of a grid that are of a shard."""
    how.columns([], lambda *_: None)  # The core says what is wrong with it.
    layers = [spec.rows for spec in specs]
    return grid_of(varied, (specs, specs, range(len(specs)), layers), how, _facts(how), shard)


def grid_of(
    varied: tuple[str, ...],
    columns: tuple[Sequence[Any], Sequence[Spec], Sequence[int], Sequence[int]],
    how: Given,
    facts: dict[str, Any],
    shard: tuple[int, int],
) -> Grid:
    """The cells of a grid that are of a shard, each with a key: what it is and how it is measured.

    A cell is of shard i of n where its key, as a number, leaves i when divided by n.

    Args:
        varied: The fields that differ.
        columns: Cells, specs, places and layers.
        how: How they are measured.
        facts: What that says of their numbers.
        shard: i and n.
    """
    salt = _salt(json.dumps(facts))
    keys = [_key(salt, spec) for spec in columns[1]]
    index, count = shard
    ours = [i for i, key in enumerate(keys) if int.from_bytes(key, "big") % count == index]
    some: list[list[Any]] = [[column[i] for i in ours] for column in columns]
    cells, specs, places, layers = some
    return Grid(varied, cells, specs, places, [keys[i] for i in ours], layers, how, facts)


@lru_cache(maxsize=64)
def _salt(measurement: str) -> bytes:
    """What the keys of a grid have in common: its measurement, what is kept of a cell, and the random stream."""
    return json.dumps([json.loads(measurement), list(block.LAYOUT), _core.build_info()["stream_version"]]).encode()


def _key(salt: bytes, spec: Spec) -> bytes:
    return hashlib.sha256(salt + spec.id.encode()).digest()


def _facts(how: Measurement) -> dict[str, Any]:
    """What a measurement says of the numbers of a cell, so not its threads."""
    x = None if how.x is None else as_array("x", how.x)
    batch = how.batch if x is None or how.batch is None else min(how.batch, len(x))
    return {
        "x": None if x is None else table.data_id(x, None),
        "y": None if how.y is None else table.data_id(None, how.y),
        "loss": None if how.loss is None else str(Loss(str(how.loss))),
        "batch": (_core.BATCH if x is None else len(x)) if batch is None else int(batch),
        "seeds": int(how.seeds),
        "seed": int(how.seed),
        "dtype": np.dtype(how.dtype).name,
    }


class Store:
    """An open store.

    Args:
        path: Where it lies.
        write: Whether cells are to be added, by this process alone; a file that is not there is made.

    Raises:
        FileNotFoundError: There is no such file.
        BlockingIOError: Another process writes it.
        OSError: The system does not let it be read, or written.
        ValueError: It is no store, is damaged, or is one of another version.
    """

    def __init__(self, path: Paths, *, write: bool = False) -> None:
        self.path: Path = as_path("a store", path)
        self._lock = threading.Lock()
        self._data: dict[str, NDArray[Any] | Unkept] = {}
        self._new = self._is_new(write=write)
        with self.told():
            # Transactions are begun by name: what the library does by itself differs between versions of Python.
            self._db = sqlite3.connect(
                f"file:{quote(os.fsencode(self.path.absolute()))}?mode={'rwc' if self._new else 'rw'}",
                uri=True,
                timeout=1.0,
                isolation_level=None,
                check_same_thread=False,
            )
        try:
            with self.told():
                self._db.execute("PRAGMA synchronous=FULL")
                self._db.execute("PRAGMA recursive_triggers=ON")  # What is replaced counts as gone.
                self._db.execute(f"PRAGMA page_size={PAGE}")  # of a new file
                if not self._new:
                    self._check()
                if write:
                    self._hold()
                self._functions = self._known_functions()
        except BaseException:
            self._db.close()
            raise

    def __str__(self) -> str:
        return f"'{printable(str(self.path), LONG)}'"

    def close(self) -> None:
        """Give the file back."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Opening

    def _is_new(self, *, write: bool) -> bool:
        """Refuse what cannot be a store before SQLite, which takes an empty file for a new database, sees it."""
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            if not write:
                raise refusal(errno.ENOENT, f"there is no store {self}") from None
            if not self.path.absolute().parent.is_dir():
                folder = self.path.absolute().parent
                raise refusal(
                    errno.ENOENT, f"{self} cannot be made: there is no folder '{printable(str(folder), LONG)}'"
                ) from None
            return True
        except OSError as error:  # a name that is too long, a folder that may not be read
            raise refusal(error.errno or errno.EIO, f"{self} cannot be opened: {error.strerror}") from None
        if self.path.is_dir():
            raise refusal(errno.EISDIR, f"a store is a file, and {self} is a folder")
        if size == 0 and not write:
            raise ValueError(f"{self} is empty: it is no store")
        return size == 0

    def _hold(self) -> None:
        """Take the lock, which is held from now on, and sign in."""
        self._begin()
        if not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            self._db.execute(f"PRAGMA application_id={APPLICATION}")
            self._db.execute(f"PRAGMA user_version={VERSION}")
            for statement in TABLES.split("\n\n"):
                self._db.execute(statement)
            self._db.execute(
                "INSERT INTO layout VALUES (?, ?)",
                (json.dumps(block.LAYOUT), _core.build_info()["stream_version"]),
            )
        # A writer lets go of the lock for a moment at each commit. Twice in a row nobody meets that moment.
        if self._db.execute("SELECT 1 FROM writer WHERE ended IS NULL").fetchone():
            self._db.execute("ROLLBACK")
            time.sleep(0.1)
            self._begin()
        self._db.execute("UPDATE writer SET ended = 'unknown' WHERE ended IS NULL")
        info = _core.build_info()
        signed = (socket.gethostname(), os.getpid(), _now(), info["version"], info["isa"])
        row = self._db.execute("INSERT INTO writer (host, pid, started, vgcore, isa) VALUES (?, ?, ?, ?, ?)", signed)
        self._writer = row.lastrowid
        self.commit()

    def _begin(self) -> None:
        """Begin to write; where another process does, say who."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            who = "another process"
            with suppress(sqlite3.Error):
                query = "SELECT host, pid, started FROM writer WHERE ended IS NULL ORDER BY id DESC"
                if found := self._db.execute(query).fetchone():
                    who = "host {}, process {}, since {}".format(*found)
            said = f"{self} is in use by {who}; wait for it, or write a store of your own and open both"
            raise refusal(errno.EAGAIN, said) from None

    def _check(self) -> None:
        """Refuse what is no store, what is torn, and what another version wrote."""
        (application,), (version,) = (
            self._db.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
        )
        if application != APPLICATION:
            raise ValueError(f"{self} is a database of another program, not a store of vgcore")
        if version > NEWEST:
            raise ValueError(
                f"{self} has format {version}, and this vgcore reads up to {NEWEST}; it needs a newer vgcore"
            )
        pages, size = (self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
        if (found := self.path.stat().st_size) < pages * size:
            raise ValueError(f"{self} is torn: {found} bytes of {pages * size} are there")
        with self._sound("its layout"):
            columns, stream = self._db.execute("SELECT columns, stream FROM layout").fetchone()
            theirs, ours = [str(name) for name in json.loads(columns)], list(block.LAYOUT)
        if theirs != ours:
            lacks, has = sorted({*ours} - {*theirs}), sorted({*theirs} - {*ours})
            raise ValueError(
                f"{self} holds the columns of another vgcore (it lacks {', '.join(lacks) or 'none'}, "
                f"and has {', '.join(has) or 'none'} beside); begin a new store"
            )
        if stream != (mine := _core.build_info()["stream_version"]):
            raise ValueError(
                f"{self} holds random numbers of version {stream}, and this vgcore draws version {mine}; "
                "begin a new store"
            )

    def _known_functions(self) -> list[Activation]:
        """Activations of a user's own, known to this process while the store is."""
        known = []
        for name, definition in self._db.execute("SELECT text, definition FROM function").fetchall():
            with self._sound("an activation"):
                # Its name has a hash of its samples.
                if (restored := custom.restore(json.loads(definition))) != name:
                    raise ValueError(f"{name} is another one")
                known.append(Activation(restored))
        return known

    @contextmanager
    def _sound(self, what: str) -> Iterator[None]:
        """Say of what cannot be read that the file is damaged."""
        try:
            yield
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise ValueError(f"{self} is damaged: {what} cannot be read: {printable(str(error))}") from error

    @contextmanager
    def told(self) -> Iterator[None]:
        """What SQLite says, as an error that names the file and is of the kind of its cause."""
        try:
            yield
        except sqlite3.Error as error:
            with suppress(sqlite3.Error, AttributeError):  # Readers would wait for what is half written.
                self._db.execute("ROLLBACK")
            raise _translated(str(self), error) from error

    # Reading

    def query(self, statement: str, *values: Any) -> list[Any]:
        """All rows that SQLite finds."""
        with self._lock, self.told():
            return self._db.execute(statement, values).fetchall()

    def rows(self) -> list[tuple[bytes, bytes, int, int, str, bytes | None]]:
        """Key, digest of its grid, place there, number, status and digest of every cell; no digest if not measured."""
        found = self.query(
            "SELECT key, grid.digest, place, state.id, status, state.digest FROM state JOIN grid ON grid = grid.id"
        )
        ((cells, results),) = self.query("SELECT cells, results FROM held") or [(0, 0)]
        if (len(found), sum(row[4] != PLANNED for row in found)) != (cells, results):
            raise ValueError(f"{self} is damaged: it has {len(found)} of {cells} cells{CHECK}")
        return found

    def numbers(self, keys: Sequence[bytes]) -> dict[bytes, tuple[int, str]]:
        """Number and status of the cells that have these keys."""
        several = 500  # SQLite takes some hundreds of values in one statement.
        found: dict[bytes, tuple[int, str]] = {}
        for first in range(0, len(keys), several):
            some = keys[first : first + several]
            marks = ", ".join("?" * len(some))
            rows = self.query(f"SELECT key, id, status FROM state WHERE key IN ({marks})", *some)  # noqa: S608 (marks)
            found |= {key: (cell, status) for key, cell, status in rows}
        return found

    def spec(self, cell: int) -> Spec:
        """What a cell is of."""
        text = "SELECT spec, key, measurement FROM cell JOIN grid ON grid = grid.id WHERE cell.id = ?"
        return self._spec(cell, *self._one(text, cell))

    def _spec(self, cell: int, document: str, key: bytes, measurement: str) -> Spec:
        """The spec of a document, which is the one whose measurement has this key."""
        with self._sound(f"cell {cell}"):
            spec = read_spec(document)
            if _key(_salt(measurement), spec) != key:
                raise ValueError("it is another net, or was measured otherwise")
            return spec

    def _one(self, text: str, cell: int) -> Any:
        """The only row there is of a cell."""
        for row in self.query(text, cell):
            return row
        raise ValueError(f"{self} is damaged: it has lost cell {cell}{CHECK}")

    def message(self, cell: int) -> str:
        """What went wrong with a cell that failed."""
        return str(self._one("SELECT message FROM result WHERE cell = ?", cell)[0])

    def read(self, cell: int, known: Callable[[bytes], Any] | None = None) -> Any:
        """A measured cell, as this makes it of its bytes, or with the spec, x and y that the store has kept."""
        document, key, measurement, digest, packed, x, y = self._one(
            "SELECT spec, key, measurement, result.digest, bytes, x, y FROM cell JOIN grid ON cell.grid = grid.id "
            "JOIN result ON cell.id = result.cell JOIN block ON block.id = result.block WHERE cell.id = ?",
            cell,
        )
        if block.digest(packed) != digest:
            raise ValueError(f"{self} is damaged: the numbers of cell {cell} are not those that were written")
        if known is not None:
            return known(packed)
        spec, facts = self._spec(cell, document, key, measurement), json.loads(measurement)
        with self._sound(f"cell {cell}"):
            read = block.SORTS[block.sort_of(facts)].read
        return read(packed, spec, facts, self._array("x", x), self._array("y", y))

    def facts(self, cell: int) -> dict[str, Any]:
        """How a cell is measured."""
        (measurement,) = self._one("SELECT measurement FROM cell JOIN grid ON grid = grid.id WHERE cell.id = ?", cell)
        with self._sound(f"cell {cell}"):
            return dict(json.loads(measurement))

    def _array(self, name: str, data: str | None) -> Any:
        """Data of an id, if the store has kept them; what tells that it has not, otherwise."""
        if data is not None and data not in self._data:
            self._data[data] = Unkept(name, data, f"a store keeps up to {KEPT >> 20} MB of data, and these are larger")
            for (saved,) in self.query("SELECT bytes FROM data WHERE id = ?", data):
                with self._sound(name):
                    array = np.load(io.BytesIO(saved), allow_pickle=False)
                    if table.data_id(*((array, None) if name == "x" else (None, array))) != data:
                        raise ValueError("it is not what was written")
                    self._data[data] = array
        return None if data is None else self._data[data]

    def grids(self, sort: str) -> list[tuple[bytes, tuple[str, ...], dict[str, Any]]]:
        """Digest, varied fields and facts of every grid whose results are of a sort."""
        rows = self.query("SELECT digest, varied, measurement FROM grid ORDER BY id")
        with self._sound("a grid"):
            found = [(digest, tuple(map(str, json.loads(varied))), json.loads(facts)) for digest, varied, facts in rows]
            return [row for row in found if block.sort_of(row[2]) == sort]

    # Writing, all of it by one thread at a time

    def plan(self, grid: Grid) -> None:
        """Write down cells that are to be measured; those that are there stay as they are.

        It is the first cell that is put, or the end of the work, that makes sure of it.
        """
        facts = json.dumps(grid.facts)
        digest = hashlib.blake2b(json.dumps([grid.varied, facts]).encode(), digest_size=16).digest()
        x, y = grid.facts["x"], grid.facts["y"]
        newer = block.sort_of(grid.facts) != block.PROBES
        rows: list[tuple[bytes, int, str]] = []
        functions: dict[str, Any] = {}
        for key, place, spec in zip(grid.keys, grid.places, grid.specs, strict=True):
            fields = spec.to_dict()
            functions |= fields.pop("tables", {})  # once a store, not once a cell
            if isinstance(spec, MLP):
                # What is at its default is left out: of a field that does nothing in this net, no key would tell a
                # change.
                fields = {name: v for name, v in fields.items() if name not in LEFT_OUT or v != LEFT_OUT[name]}
            rows.append((key, place, json.dumps(fields, separators=(",", ":"))))
        with self._lock, self.told():
            if newer:
                self._db.execute(f"PRAGMA user_version={NEWEST}")
            self._db.execute(
                "INSERT OR IGNORE INTO grid (digest, varied, measurement, x, y) VALUES (?, ?, ?, ?, ?)",
                (digest, json.dumps(grid.varied), facts, x, y),
            )
            (number,) = self._db.execute("SELECT id FROM grid WHERE digest = ?", (digest,)).fetchone()
            for name, given in ((x, grid.how.x), (y, grid.how.y)):
                if name is not None and (packed := _saved(given)) is not None:
                    self._db.execute("INSERT OR IGNORE INTO data VALUES (?, ?)", (name, packed))
            self._db.executemany(
                "INSERT OR IGNORE INTO function VALUES (?, ?)",
                [(name, json.dumps(definition)) for name, definition in functions.items()],
            )
            self._db.executemany(
                "INSERT OR IGNORE INTO cell (key, grid, place, spec) VALUES (?, ?, ?, ?)",
                [(key, number, place, document) for key, place, document in rows],
            )

    def put(self, rows: Sequence[tuple[int, Any, float]]) -> None:
        """Write cells by their numbers, each with what came of it, a result or words, and its seconds; and commit."""
        with self._lock, self.told():
            results: list[tuple[int, float, str | None, bytes | None, int | None]] = []
            for cell, found, seconds in rows:
                if isinstance(found, str):
                    results.append((cell, seconds, found, None, None))
                    continue
                packed = block.packed_of(found)
                # Blocks go to the end of the file, where no page is there that the journal would have to keep.
                number = self._db.execute("INSERT INTO block (bytes) VALUES (?)", (packed,)).lastrowid
                results.append((cell, seconds, None, block.digest(packed), number))
            self._db.executemany("INSERT OR REPLACE INTO result VALUES (?, ?, ?, ?, ?)", results)
            self.commit()

    def commit(self) -> None:
        """Make sure of what was written, and go on holding the lock."""
        self._db.execute("COMMIT")
        self._begin()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Commit, and do without a transaction what cannot be done in one."""
        with self._lock, self.told():
            self._db.execute("COMMIT")
        try:
            yield
        finally:
            with self._lock, self.told():
                self._begin()

    def script(self, statements: str) -> None:
        """Run statements that stand between semicolons."""
        for statement in statements.split(";"):
            self.query(statement)

    def discard(self) -> None:
        """Remove the file, if this process has made it and no cell has come of it."""
        if self._new and not self.query("SELECT 1 FROM result LIMIT 1"):
            self.close()  # which takes back what is not committed
            self.path.unlink()

    def sign_out(self) -> None:
        """Say that this process writes no longer."""
        with self._lock, self.told():
            self._db.execute("UPDATE writer SET ended = ? WHERE id = ?", (_now(), self._writer))
            self._db.execute("COMMIT")


def stores(paths: Paths | Iterable[Paths]) -> list[Path]:
    """The files that paths and patterns name, each once.

    Raises:
        FileNotFoundError: A pattern fits no file.
    """
    files: dict[Path, None] = {}
    several = [paths] if isinstance(paths, str | os.PathLike) else items("paths", paths, "a file, a pattern or a list")
    for path in several:
        one = str(as_path("a store", path))
        found = sorted(glob.glob(one)) if glob.has_magic(one) and not os.path.exists(one) else [one]  # noqa: PTH110, PTH207
        if not found:
            raise refusal(errno.ENOENT, f"no file fits '{printable(one, LONG)}'")
        files |= dict.fromkeys(map(Path, found))
    return list(files)


def refusal(code: int, message: str) -> OSError:
    """An error of the system, of the class that belongs to its number, in our words."""
    error = type(OSError(code, ""))(message)
    error.errno = code
    return error


def _translated(shown: str, error: sqlite3.Error) -> Exception:
    """What SQLite's words mean for a file."""
    sqlite = str(error)
    for words, code, said in _CAUSES:
        if words in sqlite:
            return refusal(code, f"{shown}: {said}")
    if "not a database" in sqlite:
        return ValueError(f"{shown} is not a store of vgcore: it is no SQLite database")
    if "malformed" in sqlite:
        return ValueError(f"{shown} is damaged: {sqlite}{CHECK}")
    return ValueError(f"{shown} cannot be used as a store: {sqlite}")


_CAUSES = (
    ("disk is full", errno.ENOSPC, "no space is left on the disk"),
    ("readonly", errno.EROFS, "the file, or its folder, cannot be written"),
    ("unable to open", errno.EACCES, "the file, or the journal beside it, cannot be opened"),
    ("disk I/O error", errno.EIO, "the disk does not read or write"),
    ("locked", errno.EAGAIN, "another process keeps the file to itself"),
)


def _saved(given: Any) -> bytes | None:
    """An array as the bytes of a `.npy` file, unless it is too large to be kept or holds objects."""
    array = np.asarray(given)
    if array.dtype.kind == "O":
        array = np.asarray([str(value) for value in array.ravel().tolist()]).reshape(array.shape)
    if array.nbytes > KEPT:
        return None
    np.save(file := io.BytesIO(), array, allow_pickle=False)
    return file.getvalue()


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %z")
