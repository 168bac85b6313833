"""Working on several photos at once in threads, with the results in order and a limit on how many have begun."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], jobs: int, is_last: Callable[[Result], bool] | None = None
) -> Generator[Result, None, None]:
    """Yield the result of ``work`` for each item, in order, while ``jobs`` threads work ahead.

    At most ``2 * jobs`` items have begun or wait at a time, however many there are. Once ``is_last`` is true of a
    result, no further item begins, but the results of those that have begun still follow. If the caller stops
    iterating, items that have begun are finished, and nothing more is yielded.
    """
    todo, jobs = iter(items), max(jobs, 1)
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(jobs)
    try:
        while True:
            waiting.extend(pool.submit(work, item) for item in islice(todo, 2 * jobs - len(waiting)))
            if not waiting:
                return
            future = waiting.popleft()
            if future.cancelled():
                continue
            result = future.result()
            yield result
            if is_last is not None and is_last(result):
                todo = iter(())
                for other in waiting:
                    other.cancel()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
