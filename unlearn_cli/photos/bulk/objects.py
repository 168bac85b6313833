"""A folder in object storage, through fsspec: S3 and all stores that write an object as a whole or not at all."""

from __future__ import annotations

import mimetypes
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

from unlearn_cli.errors import PhotoError, UsageError, WorkError
from unlearn_cli.photos.bulk.retry import again, is_of_store
from unlearn_cli.photos.bulk.store import Stored
from unlearn_cli.photos.decode import LARGEST_FILE

S3 = ("s3", "s3a")
WHOLE = (*S3, "gs", "gcs", "az", "abfs", "abfss", "oss", "oci", "r2", "memory")
"""The protocols of stores in which an object appears as a whole or not at all."""

ONE_PUT = 1 << 30
"""Up to this size in bytes an S3 object is put by one request; a copy is never larger."""

INSTALL = "URLs need the extra 'cloud'. In unlearn's source folder, run: pip install '.[cloud]'"
_opening = threading.Lock()


class ObjectStore:
    """A folder at a URL. Only the URL is pickled: each process opens the store with credentials of its own."""

    def __init__(self, url: str) -> None:
        """Check the URL. Raises ``UsageError`` for a protocol that is not supported or not installed."""
        self.url = url
        self.protocol = url.partition("://")[0]
        if self.protocol not in WHOLE:
            raise UsageError(
                f"Photos cannot be at {self.protocol}://, where a file may be seen half-written. "
                "Use an object store, such as s3://, gs:// or az://, or mount it as a folder."
            )
        self._fs: Any = None
        self._root = ""

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url, "protocol": self.protocol, "_fs": None, "_root": ""}

    @property
    def place(self) -> str:
        """Return the folder's URL."""
        return self.url

    @property
    def fs(self) -> Any:
        """Return the opened file system of fsspec, which keeps no listing in memory."""
        with _opening:
            if self._fs is None:
                try:
                    import fsspec

                    # Where s3fs may read an object in parts, it first asks for its size, which is a request more.
                    more = {"max_concurrency": 1} if self.protocol in S3 else {}
                    self._fs, self._root = fsspec.url_to_fs(self.url, use_listings_cache=False, **more)
                    if more:
                        self._fs.retries = 1  # Its tries would multiply ours: a dead store would be asked 150 times.
                except ImportError as error:
                    raise UsageError(INSTALL if self.protocol in S3 else f"{INSTALL} ({error})") from error
                except ValueError as error:
                    raise UsageError(f"The URL {self.url} cannot be used ({error}).") from error
            return self._fs

    def path(self, name: str) -> str:
        """Return the path of a file as the file system of fsspec names it."""
        _ = self.fs
        return f"{self._root}/{name}" if name else self._root

    def listing(self) -> Iterator[Stored]:
        """Yield all objects below the folder, a page at a time. Raises ``WorkError`` if it cannot be listed."""
        try:
            yield from self._pages() if self.protocol in S3 else self._walk()
        except FileNotFoundError as error:
            raise WorkError(f"There is no {self.url}. Check its spelling.") from error
        except OSError as error:
            raise WorkError(
                f"{self.url} cannot be listed ({told(error)}). Check the URL and the credentials."
            ) from error

    def _pages(self) -> Iterator[Stored]:
        bucket, _, below = self.path("").partition("/")
        prefix = f"{below}/" if below else ""
        more: dict[str, str] = {}
        while True:
            page = again(lambda: self._fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, **more))  # noqa: B023
            for found in page.get("Contents", ()):
                if not found["Key"].endswith("/"):  # a marker of an empty folder
                    yield Stored(found["Key"][len(prefix) :], found["Size"], found.get("ETag", "").strip('"'))
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _walk(self) -> Iterator[Stored]:
        start = len(self.path("").lstrip("/")) + 1
        for _, _, files in self.fs.walk(self.path(""), detail=True):
            for path, found in sorted((info["name"], info) for info in files.values()):
                yield _stored(path.lstrip("/")[start:], found)

    def read(self, file: Stored) -> bytes:
        """Return an object's bytes, complete. Raises ``PhotoError`` if it cannot be read or is too large."""
        if file.size > LARGEST_FILE:
            raise PhotoError(f"it is larger than {LARGEST_FILE >> 30} GiB, too large for a photo", "too-large")
        return self._read(lambda: self._whole(file))

    def _read(self, call: Callable[[], bytes]) -> bytes:
        try:
            return again(call)
        except MemoryError as error:
            raise PhotoError("there is not enough memory to read it", "out-of-memory") from error
        except Exception as error:
            if is_of_store(error):
                raise PhotoError(f"it cannot be read ({told(error)})", "unreadable") from error
            raise

    def _whole(self, file: Stored) -> bytes:
        data: bytes = self.fs.cat_file(self.path(file.name))
        if len(data) != file.size and len(data) != self.fs.info(self.path(file.name))["size"]:
            raise ConnectionError(f"only {len(data)} of {file.size} bytes arrived")
        return data

    def start(self, file: Stored, count: int) -> bytes:
        """Return an object's first bytes; fewer if it has fewer. Raises ``PhotoError`` if it cannot be read."""
        return self._read(lambda: self._first(file, min(count, file.size)))

    def _first(self, file: Stored, count: int) -> bytes:
        data: bytes = self.fs.cat_file(self.path(file.name), start=0, end=count) if count else b""
        if len(data) < count:  # The rest of a photo whose name says nothing would be taken for no photo.
            raise ConnectionError(f"only {len(data)} of {count} bytes arrived")
        return data

    def stat(self, name: str) -> os.stat_result | None:  # noqa: ARG002
        """Return None: objects have neither permissions nor times that a copy could keep."""
        return None

    def find(self, name: str) -> Stored | None:
        """Return an object as the listing shows it; None if there is none. Raises ``OSError``."""
        try:
            return _stored(name, again(lambda: self._info(self.path(name))))
        except FileNotFoundError:
            return None

    def _info(self, path: str) -> dict[str, Any]:
        if self.protocol not in S3:
            found: dict[str, Any] = self.fs.info(path)
            return found
        # For an object that is not there, s3fs would also ask whether it is a folder, by a listing that costs what a
        # put costs.
        bucket, _, key = path.partition("/")
        said = self.fs.call_s3("head_object", Bucket=bucket, Key=key)
        return {"size": said["ContentLength"], "ETag": said.get("ETag", "")}

    def write(self, name: str, data: bytes, like: os.stat_result | None, *, times: bool) -> Stored:  # noqa: ARG002
        """Put an object, which appears as a whole or not at all. Raises ``OSError`` if that fails."""
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        more = {"ContentType": kind, "chunksize": ONE_PUT} if self.protocol in S3 else {}
        put = again(lambda: self.fs.pipe_file(self.path(name), data, **more))
        return Stored(name, len(data), put.get("ETag", "").strip('"') if isinstance(put, dict) else "")


def _stored(name: str, found: dict[str, Any]) -> Stored:
    version = next((str(found[key]) for key in ("ETag", "etag", "md5Hash", "crc32c", "mtime") if found.get(key)), "")
    return Stored(name, int(found.get("size") or 0), version.strip('"'))


def told(error: BaseException) -> str:
    """Return what a store's error says, in one line of bounded length."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())[:200]
