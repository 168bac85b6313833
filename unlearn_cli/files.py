"""Writing files completely or not at all, and locking a file against a second run."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal

from platformdirs import user_cache_path

TEMPORARY_PREFIX = ".unlearn-"
"""The beginning of every temporary file's name; a search for photos ignores such files."""

SECONDS_BETWEEN_TRIES = 0.05
LOCKED_BYTE = 1 << 40
"""The byte that Windows locks: far behind the end of the file, so that the lock keeps nobody from reading."""


Kind = Literal["any", "new", "private"]
"""Whether a file may replace another one, and who may read it; see ``write_atomically``."""


def write_atomically(
    path: Path,
    data: bytes,
    *,
    tag: str = "",
    like: os.stat_result | None = None,
    times: bool = True,
    attributes: Path | None = None,
    kind: Kind = "any",
) -> None:
    """Write ``data`` to ``path`` through a temporary file beside it, flushed before the rename.

    Other programs see the old file or the new one, even if the process is killed. Missing folders are made. ``tag``
    becomes a part of the temporary name, by which ``remove_temporary`` recognises its files. Before the file appears it
    gets the permissions of ``like`` and, with ``times``, its times. A file that replaces another one can also get that
    one's ``attributes``, as far as the system permits: owner, all permissions and extended attributes. A ``new`` file
    replaces no other, and survives a power cut once this returns; a ``private`` file is new, and can be read by its
    owner alone. Raises ``OSError`` after removing the temporary file; it is ``FileExistsError`` if a new file would
    replace another.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f"{TEMPORARY_PREFIX}{tag}", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if attributes is not None:
            _copy_attributes(attributes, name)
        elif kind != "private":  # The temporary file was made readable by its owner alone.
            os.chmod(
                name, (stat.S_IMODE(like.st_mode) & 0o777) | stat.S_IWUSR if like is not None else 0o666 & ~_umask()
            )
        if like is not None and times:
            os.utime(name, ns=(like.st_atime_ns, like.st_mtime_ns))
        if kind != "any":
            _rename_exclusively(name, path)
            _flush_folder(path.parent)
        else:
            os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _copy_attributes(of: Path, name: str) -> None:
    """Copy another file's owner, extended attributes and permissions to a new file, which only its owner can read yet.

    Whatever the system or the file system does not allow is left out, but never so that anybody gets more permissions.
    """
    found = os.stat(of)
    mode = stat.S_IMODE(found.st_mode)
    if os.name == "nt":  # There a read-only file can be neither renamed over nor removed.
        mode |= stat.S_IWUSR
    if not _give_owner(name, found):
        mode &= 0o777
    if not _copy_extended_attributes(of, name):  # The group's permissions limit what the list grants to anybody.
        mode &= ~stat.S_IRWXG
    for bits in (mode, mode & 0o777):  # This follows the change of owner, which removes permissions.
        with contextlib.suppress(OSError):  # Some file systems support fewer permissions.
            os.chmod(name, bits)
            break


def _give_owner(name: str, found: os.stat_result) -> bool:
    """Give a file the owner and group of another; return False if only the superuser may do that."""
    if not hasattr(os, "chown"):
        return True
    for owner in (found.st_uid, -1):  # A member of the group may change the group alone.
        with contextlib.suppress(OSError):
            os.chown(name, owner, found.st_gid)
            return owner != -1
    return False


ACCESS_LIST = "system.posix_acl_access"
OF_CONTENT = ("security.ima", "security.evm")
"""Signatures of a file's content, which would not match another content."""


def _copy_extended_attributes(of: Path, name: str) -> bool:
    """Give a file the extended attributes of another that can be set; return False if its access list cannot be."""
    if not hasattr(os, "listxattr"):
        return True
    attributes: list[str] = []
    with contextlib.suppress(OSError):
        attributes = os.listxattr(of)
    listed = True
    for attribute in attributes:
        if attribute in OF_CONTENT:
            continue
        try:
            os.setxattr(name, attribute, os.getxattr(of, attribute))
        except OSError:
            listed = listed and attribute != ACCESS_LIST
    if ACCESS_LIST not in attributes:  # The file may have got the folder's list.
        with contextlib.suppress(OSError):
            os.removexattr(name, ACCESS_LIST)
    return listed


def _rename_exclusively(name: str, path: Path) -> None:
    """Rename a file, but never over another one. Raises ``FileExistsError`` if the new name exists."""
    try:
        os.link(name, path)
    except FileExistsError:
        raise
    except (OSError, NotImplementedError, AttributeError):  # The file system has no links, such as a memory card's.
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        os.rename(name, path)
    else:
        os.unlink(name)


def _flush_folder(folder: Path) -> None:
    """Make a rename survive a power cut, if the system supports that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sha256_of(path: Path) -> str | None:
    """Return the SHA-256 of a file; None if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def remove_temporary(folder: Path, tag: str) -> None:
    """Remove temporary files that a killed run with this tag left in a folder. The caller must hold the run's lock."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(TEMPORARY_PREFIX + tag):
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)


def lock(file: IO[Any]) -> bool:
    """Lock an open file until it is closed or the process ends; return False if another process has locked it.

    If the file system cannot lock, nothing is locked and the answer is True.
    """
    try:
        import fcntl
    except ModuleNotFoundError:
        return _lock_on_windows(file)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Wait until no other process of this user holds the lock of this name, and hold it.

    Where the user's cache folder cannot be written, nothing is locked.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            folder = user_cache_path("unlearn", ensure_exists=True) / "locks"
            folder.mkdir(exist_ok=True)
            file = stack.enter_context((folder / hashlib.sha256(name.encode()).hexdigest()[:16]).open("a"))
            while not lock(file):
                time.sleep(SECONDS_BETWEEN_TRIES)
        yield


def _lock_on_windows(file: IO[Any]) -> bool:
    import msvcrt

    position = file.tell()
    file.seek(LOCKED_BYTE)
    try:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EDEADLK)  # Any other says that this file system cannot lock.
    finally:
        file.seek(position)
    return True


_UMASK: list[int] = []


def _umask() -> int:
    """Return the process's umask, which mkstemp ignores and which POSIX only reports when setting it.

    It is read only once, because another thread's new file would get the wrong one in the meantime.
    """
    if not _UMASK:
        mask = os.umask(0o077)
        os.umask(mask)
        _UMASK.append(mask)
    return _UMASK[0]
