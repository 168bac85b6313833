"""Writing a file so that it is there whole or not at all, and locking one against a second run."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import tempfile
from pathlib import Path
from typing import IO, Any, Literal

TEMPORARY_PREFIX = ".unlearn-"
"""What every temporary file's name begins with; a scan for photos passes over them."""

LOCKED_BYTE = 1 << 40
"""Where Windows locks: far behind the end, so that nobody is kept from reading."""


Kind = Literal["any", "new", "private"]
"""Whether a file may replace another, and whom it is for."""


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

    Whoever looks sees the old file or the new one, even when the process is killed. Missing folders are made.
    ``tag`` is put into the temporary name, so that ``remove_temporary`` can tell whose it is. The file gets the
    permissions of the one that it is ``like``, and its ``times``, before it is seen. One that stands for another
    file gets that one's ``attributes`` too, as far as the system lets: owner, all permissions and extended
    attributes. A ``new`` file replaces none, and is there for good when this returns; a ``private`` one is new, and
    for its owner alone. Raises ``OSError``, with the temporary file removed;
    ``FileExistsError`` where a new one would replace another.
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
        elif kind != "private":  # As it was made, it is its owner's alone.
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
    """Give a new file, which is its maker's alone so far, the owner, extended attributes and permissions of another.

    What the system or the file system does not let is left out, but nobody gets more permissions by that.
    """
    found = os.stat(of)
    mode = stat.S_IMODE(found.st_mode)
    if os.name == "nt":  # Where a read-only file can be neither renamed over nor removed.
        mode |= stat.S_IWUSR
    if not _give_owner(name, found):
        mode &= 0o777
    if not _copy_extended_attributes(of, name):  # The group's permissions are the most that the list gives anybody.
        mode &= ~stat.S_IRWXG
    for bits in (mode, mode & 0o777):  # Behind the owner, since a change of that takes permissions away.
        with contextlib.suppress(OSError):  # Some file systems know fewer.
            os.chmod(name, bits)
            break


def _give_owner(name: str, found: os.stat_result) -> bool:
    """Give a file the owner and group of another; False where only the superuser may."""
    if not hasattr(os, "chown"):
        return True
    for owner in (found.st_uid, -1):  # The group alone can be given by who is in it.
        with contextlib.suppress(OSError):
            os.chown(name, owner, found.st_gid)
            return owner != -1
    return False


ACCESS_LIST = "system.posix_acl_access"
OF_CONTENT = ("security.ima", "security.evm")
"""Signatures of a file's content, which another content would break."""


def _copy_extended_attributes(of: Path, name: str) -> bool:
    """Give a file the extended attributes of another, as far as they can be set; False if its access list cannot."""
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
    if ACCESS_LIST not in attributes:  # It may have got the folder's.
        with contextlib.suppress(OSError):
            os.removexattr(name, ACCESS_LIST)
    return listed


def _rename_exclusively(name: str, path: Path) -> None:
    """Rename a file, but not over another."""
    try:
        os.link(name, path)
    except FileExistsError:
        raise
    except (OSError, NotImplementedError, AttributeError):  # A file system without links, such as a memory card's.
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        os.rename(name, path)
    else:
        os.unlink(name)


def _flush_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where the system can be asked to."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sha256_of(path: Path) -> str | None:
    """The SHA-256 of a file; None if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def remove_temporary(folder: Path, tag: str) -> None:
    """Remove what a killed run with this tag left in a folder. The caller holds that run's lock."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(TEMPORARY_PREFIX + tag):
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)


def lock(file: IO[Any]) -> bool:
    """Lock an open file for this process, until it is closed or the process ends; False if another has it.

    Where the file system cannot lock, nothing is locked and the answer is True.
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


def _lock_on_windows(file: IO[Any]) -> bool:
    import msvcrt

    position = file.tell()
    file.seek(LOCKED_BYTE)
    try:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except OSError:
        return False
    finally:
        file.seek(position)
    return True


_UMASK: list[int] = []


def _umask() -> int:
    """The process's umask, which POSIX only tells by setting it; mkstemp ignores it.

    Asked once: while it is being asked, another thread's new file would get the wrong one.
    """
    if not _UMASK:
        mask = os.umask(0o077)
        os.umask(mask)
        _UMASK.append(mask)
    return _UMASK[0]
