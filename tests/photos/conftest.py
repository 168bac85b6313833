"""Fixtures of the tests of photos."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.photos.judges import Browser, open_browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Yield a browser that shows photos."""
    yield from open_browser()
