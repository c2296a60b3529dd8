"""Files that are whole or not there: every file that vgcore writes is written here."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the path of a temporary file, which takes the place of `path` when the block ends.

    The temporary lies beside `path`, so that one rename puts it there. Whatever stops the block, an interrupt too,
    leaves at `path` what was there before, and nothing beside it. The permissions of an existing file are kept, a
    new file has those of the umask, and of a link the file that it points to is written. What can only be written as
    it stands, such as a pipe or `/dev/stdout`, is yielded itself.

    Raises:
        OSError: With the number and the class of what the system said, and the path in the message.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "numbers.txt")
    ...     with replacing(path) as temporary:
    ...         _ = temporary.write_text("1 2 3", encoding="utf-8")
    ...     path.read_text(encoding="utf-8"), os.listdir(folder)
    ('1 2 3', ['numbers.txt'])
    """
    with naming(path):
        before = _status(path)
        if before is not None and _only_direct(before):
            yield Path(path)
            return
        target = Path(os.path.realpath(path))
        _allowed(target, before)
        temporary = _temporary(target.parent)
        try:
            _create(temporary)
            yield temporary
            _synchronize(temporary, os.O_RDWR)
            if before is not None:
                temporary.chmod(stat.S_IMODE(before.st_mode))
            temporary.replace(target)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
        with contextlib.suppress(OSError):  # Not every system opens a folder, and the file is there.
            _synchronize(target.parent, os.O_RDONLY)


def save_text(text: str, path: str | os.PathLike[str]) -> None:
    """Write text, as UTF-8."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def save_picture(figure: Any, path: str | os.PathLike[str], **options: Any) -> None:
    """Write a figure of matplotlib; the file's ending chooses the format, options are those of `Figure.savefig`."""
    form = Path(path).suffix[1:] or "png"
    with replacing(path) as temporary:
        figure.savefig(temporary, format=form, **options)


def place(temporary: Path, path: Path) -> None:
    """Give a file its name, if there is none of that name yet that would be lost: asked and done in one step.

    Raises:
        FileExistsError: Where there is one.
    """
    target = Path(os.path.realpath(path))
    if not would_replace(target):
        with contextlib.suppress(OSError):  # An empty file is filled; and not every system has links.
            os.link(temporary, target)
            temporary.unlink()
            return
        if not would_replace(target):
            if target.exists():
                temporary.chmod(stat.S_IMODE(target.stat().st_mode))
            temporary.replace(target)
            return
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(path))


def check(path: str | os.PathLike[str]) -> None:
    """Refuse, before any work, a path that `replacing` could not write after it; folders that lack may be made.

    Raises:
        OSError: As `replacing` does.
    """
    with naming(path):
        before = _status(path)
        if before is None or not _only_direct(before):
            target = Path(os.path.realpath(path))
            _allowed(target, before)
            _try(target.parent)


def check_folder(path: str | os.PathLike[str]) -> None:
    """Refuse, before any work, a folder that cannot be made, or that no file can be put into.

    Raises:
        OSError: As `replacing` does.
    """
    with naming(path):
        folder = Path(os.path.realpath(path))
        _allowed_in(folder)
        _try(folder)


def would_replace(path: str | os.PathLike[str]) -> bool:
    """Whether `replacing` would take away what is there: a file that is not empty."""
    before = _status(path)
    return before is not None and not _only_direct(before) and not (stat.S_ISREG(before.st_mode) and not before.st_size)


def is_ordinary(path: str | os.PathLike[str]) -> bool:
    """Whether a path is that of a file, or of none yet, and not of a device, a pipe or what this process prints to."""
    before = _status(path)
    return before is None or not _only_direct(before)


@contextlib.contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Say of an error of the system which file it is about."""
    try:
        yield
    except OSError as error:
        # An error made of its number has the class that belongs to it.
        kind = type(error) if error.errno is None else type(OSError(error.errno, ""))
        reason = str(error) if error.errno is None else os.strerror(error.errno)
        named = kind(f"cannot write '{os.fspath(path)}': {reason}")
        named.errno = error.errno
        raise named from error


def _status(path: str | os.PathLike[str]) -> os.stat_result | None:
    """What the system knows of a file, of a link's target; None where there is none yet."""
    try:
        return os.stat(path)  # noqa: PTH116 (any path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _only_direct(status: os.stat_result) -> bool:
    """Whether a file must be written as it stands: a device, a pipe, or where this process prints."""
    if not stat.S_ISREG(status.st_mode):
        return not stat.S_ISDIR(status.st_mode)
    for printed in (1, 2):
        with contextlib.suppress(OSError):  # It may be closed.
            if os.path.samestat(status, os.fstat(printed)):
                return True
    return False


def _allowed(target: Path, before: os.stat_result | None) -> None:
    """Refuse a folder, a file that is protected, though a rename would pass it by, and a place that takes no file."""
    if before is not None and stat.S_ISDIR(before.st_mode):
        raise IsADirectoryError(errno.EISDIR, "")
    if before is not None and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "")
    _allowed_in(target.parent)


def _allowed_in(folder: Path) -> None:
    """Refuse a folder that takes no new entries, or that lies in one that does not."""
    while (status := _status(folder)) is None:
        folder = folder.parent
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "")


def _temporary(folder: Path) -> Path:
    """A free name; short, since that of the target may be as long as the system allows."""
    return folder / f".vgcore-{os.getpid()}-{secrets.token_hex(8)}.tmp"


def _create(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))


def _try(folder: Path) -> None:
    """Make a file and take it away: that a folder may be written does not say that it takes files, as /proc does not.

    Of a folder that is not there yet, the next one above it that is.
    """
    while not folder.exists():
        folder = folder.parent
    _create(temporary := _temporary(folder))
    temporary.unlink()


def _synchronize(path: Path, flags: int) -> None:
    """Wait until the disk has a file, or the entries of a folder."""
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
