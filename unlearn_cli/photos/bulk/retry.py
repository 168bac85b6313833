"""Trying again what an object store refuses for a moment."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

TRIES = 8
FIRST_PAUSE = 0.25
"""The longest pause before the second try, in seconds; it doubles each time."""

FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)
"""Errors that another try would only meet again."""

LIBRARIES = ("botocore", "aiobotocore", "aiohttp", "google", "gcsfs", "azure", "requests", "urllib3")
"""The libraries whose errors are no ``OSError`` although they are the network's or the store's."""

OF_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "DefaultCredentialsError")


def again(call: Callable[[], Result]) -> Result:
    """Return what a call returns, after up to ``TRIES`` tries with growing random pauses.

    Raises ``OSError`` with the last error; errors of the program are raised as they are.
    """
    for attempt in range(TRIES):
        try:
            return call()
        except Exception as error:
            if isinstance(error, FINAL) or not is_of_store(error):
                raise
            if is_of_credentials(error) or attempt == TRIES - 1:
                raise OSError(str(error) or type(error).__name__) from error
        # Random pauses keep a thousand workers that were refused together from coming back together.
        time.sleep(random.uniform(0.5, 1) * FIRST_PAUSE * 2**attempt)
    raise AssertionError


def is_of_store(error: Exception) -> bool:
    """Return whether an error is the store's or the network's, and not the program's."""
    return isinstance(error, OSError | TimeoutError) or type(error).__module__.split(".")[0] in LIBRARIES


def is_of_credentials(error: BaseException) -> bool:
    """Return whether an error says that there are no credentials."""
    return type(error).__name__ in OF_CREDENTIALS
