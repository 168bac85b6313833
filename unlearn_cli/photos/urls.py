"""Places in object storage, as users name them: s3://bucket/folder. Nothing here imports a library for them."""

from __future__ import annotations

import re
from pathlib import Path

from unlearn_cli.errors import UsageError

URL = re.compile(r"(?P<protocol>[a-z][a-z0-9+.-]+):/{1,2}(?P<rest>[^/].*)", re.DOTALL)
"""A URL; its protocol has two letters at least, because a single one is a drive of Windows."""

SECRET = re.compile(r"[^/]*:[^/]*@")
"""The beginning of a URL that holds a name and a password."""


def url_of(path: Path | str) -> str | None:
    """Return the URL that a user has named; None for a path on this machine.

    A ``Path`` makes one slash of the two in ``s3://bucket``, and this gives the other back. Raises ``UsageError`` for a
    URL with a password, which the message does not repeat: other users of the machine could read it.
    """
    match = URL.fullmatch(Path(path).as_posix() if isinstance(path, Path) else path)
    if match is None:
        return None
    if SECRET.match(match["rest"]):
        raise UsageError(
            "A URL must not contain a name and a password, which other users of this machine could read. "
            "Give them as the storage's own tools expect them, such as in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    return f"{match['protocol']}://{match['rest'].rstrip('/')}"


def shown(path: Path) -> str:
    """Return a path, or the URL that it stands for, as text for people."""
    match = URL.fullmatch(path.as_posix())
    return f"{match['protocol']}://{match['rest']}" if match is not None else str(path)


def refuse_url(paths: dict[str, Path | None]) -> None:
    """Raise ``UsageError`` if one of these paths is a URL; the keys say what each is, such as "The backup"."""
    for what, path in paths.items():
        if path is not None and url_of(path) is not None:
            raise UsageError(f"{what} cannot be a URL: {shown(path)}. Copy it to this machine, and name that folder.")
