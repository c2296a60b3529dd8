"""What is done to whole stores: checked, merged, made smaller."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from vgcore.measure.store import CHECK, DONE, FAILED, PLANNED, Paths, Store

_MERGE = """
INSERT OR IGNORE INTO function SELECT * FROM other.function;
INSERT OR IGNORE INTO data SELECT * FROM other.data;
INSERT OR IGNORE INTO grid (digest, varied, measurement, x, y)
    SELECT digest, varied, measurement, x, y FROM other.grid ORDER BY id;
INSERT OR IGNORE INTO cell (key, grid, place, spec)
    SELECT key, grid.id, place, spec FROM other.cell AS there
    JOIN other.grid AS theirs ON there.grid = theirs.id JOIN grid ON grid.digest = theirs.digest ORDER BY there.id;
CREATE TEMP TABLE taken AS
    SELECT cell.id AS cell, theirs.seconds, theirs.message, theirs.digest, theirs.block,
        (SELECT coalesce(max(id), 0) FROM main.block) AS before
    FROM other.result AS theirs JOIN other.cell AS there ON theirs.cell = there.id
    JOIN main.cell ON cell.key = there.key
    LEFT JOIN main.result AS ours ON ours.cell = cell.id WHERE ours.digest IS NULL;
INSERT INTO main.block SELECT before + id, bytes FROM taken JOIN other.block ON id = taken.block ORDER BY id;
INSERT OR REPLACE INTO main.result SELECT cell, seconds, message, digest, before + block FROM taken;
DROP TABLE taken;
INSERT INTO writer (host, pid, started, ended, vgcore, isa)
    SELECT host, pid, started, coalesce(ended, 'unknown'), vgcore, isa FROM other.writer AS there WHERE NOT EXISTS
    (SELECT 1 FROM writer WHERE (host, pid, started) = (there.host, there.pid, there.started)) ORDER BY id
"""
_COLLECT = """
DELETE FROM result WHERE digest IS NULL;
DELETE FROM cell WHERE id NOT IN (SELECT cell FROM result);
DELETE FROM block WHERE id NOT IN (SELECT block FROM result);
DELETE FROM grid WHERE id NOT IN (SELECT grid FROM cell);
DELETE FROM data WHERE id NOT IN
    (SELECT x FROM grid WHERE x IS NOT NULL UNION SELECT y FROM grid WHERE y IS NOT NULL);
DELETE FROM function WHERE NOT EXISTS (SELECT 1 FROM cell WHERE instr(spec, function.text))
"""


def counts(store: Store) -> dict[str, int]:
    """How many cells are of each status."""
    found = dict(store.query("SELECT status, count(*) FROM state GROUP BY status"))
    return {status: found.get(status, 0) for status in (DONE, FAILED, PLANNED)}


def writers(store: Store) -> list[tuple[str, int, str, str | None, str, str]]:
    """Host, process, beginning and end, version and instruction set of those who wrote, the first one first."""
    return store.query("SELECT host, pid, started, ended, vgcore, isa FROM writer ORDER BY id")


def faults(store: Store) -> list[str]:
    """What is wrong with a file, in sentences: every page, every number and all that says what it is are looked at."""
    said = [f"SQLite: {text}" for (text,) in store.query("PRAGMA integrity_check") if text != "ok"]
    try:
        cells = [(cell, status) for _, _, _, cell, status, _ in store.rows()]
    except ValueError as error:
        return [*said, str(error).removesuffix(CHECK)]
    for cell, status in cells:
        try:
            _ = store.read(cell) if status == DONE else store.spec(cell)
        except ValueError as error:  # noqa: PERF203 (each is told)
            said.append(str(error).removesuffix(CHECK))
    return said


def merge(path: Paths, others: Iterable[Path]) -> dict[str, int]:
    """Add what other stores hold to one, which is made if it is not there; how many cells it then has of each status.

    Raises:
        ValueError: Where two stores hold numbers of one cell, and they differ, or where one is damaged; then nothing is
            written to any.
    """
    target = Path(path)
    # A pattern may fit the target too, and links may lead to it.
    sources = [source for source in others if not (target.exists() and source.exists() and source.samefile(target))]
    if not sources:
        raise ValueError(f"'{target}' cannot be merged into itself; name other stores")
    for each in [*sources, *([target] if target.exists() and target.stat().st_size else [])]:
        with Store(each) as there:
            if found := faults(there):
                raise ValueError(f"{found[0]}; nothing was merged: leave {there} out")
    with Store(path, write=True) as store:
        try:
            for source in sources:
                _take(store, source)
        finally:
            store.discard()
            store.sign_out()
    with Store(path) as store:
        return counts(store)


def _take(store: Store, source: Path) -> None:
    """Add what another store holds."""
    with store.paused():
        store.query("ATTACH ? AS other", f"file:{quote(str(source.absolute()))}?mode=ro")
    different = store.query(
        "SELECT cell.id FROM cell JOIN other.cell AS there USING (key) JOIN result ON result.cell = cell.id "
        "JOIN other.result AS theirs ON theirs.cell = there.id WHERE result.digest != theirs.digest LIMIT 1"
    )
    if not different:
        store.script(_MERGE)
        versions = (store.query(f"PRAGMA {place}.user_version")[0][0] for place in ("main", "other"))
        store.query(f"PRAGMA main.user_version={max(versions)}")
    with store.paused():
        store.query("DETACH other")
    if different:
        spec = store.spec(different[0][0])
        raise ValueError(f"{store} and '{source}' hold other numbers of one cell, {spec!r}")


def collect(path: Paths) -> int:
    """Forget cells without numbers, and data that no cell needs; the bytes that the file is smaller by."""
    before = Path(path).stat().st_size
    with Store(path, write=True) as store:
        store.script(_COLLECT)
        with store.paused():
            store.query("VACUUM")
        store.sign_out()
    return before - Path(path).stat().st_size
