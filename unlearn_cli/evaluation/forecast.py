"""The time that an evaluation still needs, corrected while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Part = Literal["noise", "training"]

PARTS: tuple[Part, ...] = ("noise", "training")


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The seconds that a run is expected to take from its beginning; all of them are 0 where its result is there."""

    noise: float = 0.0
    """Making its noise, unless another run before it does so."""
    iterations: int = 0
    """How many iterations of the search that is."""
    training: float = 0.0
    """All the rest."""
    noise_done: float = 0.0
    """The share of the noise that an earlier process has made, which need not be made again."""
    training_done: float = 0.0
    """The share of the rest that an earlier process has done."""

    @property
    def seconds(self) -> float:
        """Return the seconds that are left of the whole run."""
        return self.left_of("noise") + self.left_of("training")

    def of(self, part: Part) -> float:
        """Return the seconds of one part from its beginning."""
        return self.noise if part == "noise" else self.training

    def left_of(self, part: Part) -> float:
        """Return the seconds that are left of one part."""
        return self.of(part) * (1 - (self.noise_done if part == "noise" else self.training_done))


def left_of_several(each: Sequence[float], ended: Sequence[bool], passed: float, at_once: int) -> float:
    """Return the seconds that are left for runs of which several go on at once, in order.

    ``each`` are the seconds expected of each, and ``passed`` are those since the first began. Once a run has ended, the
    expectation is corrected; those under way count as half done, as they are on average.
    """
    done = sum(seconds for seconds, over in zip(each, ended, strict=True) if over)
    rest = [seconds for seconds, over in zip(each, ended, strict=True) if not over]
    worked = done + sum(rest[:at_once]) / 2
    slower = passed * at_once / worked if done and worked else 1.0
    return max(0.0, slower * (done + sum(rest)) / at_once - passed) if rest else 0.0


class Forecast:
    """The time that is left while runs are done, corrected by how long those before took."""

    def __init__(self, each: Sequence[Expected], clock: Callable[[], float] = time.perf_counter) -> None:
        self.each, self.clock = each, clock
        self.spent, self.expected = dict.fromkeys(PARTS, 0.0), dict.fromkeys(PARTS, 0.0)
        self.index = 0
        self.rest: float | None = None
        self._enter("noise")

    def began(self, index: int) -> None:
        """Note that a run begins; its noise is made first, if it has to be."""
        self.index = index
        self._enter("noise" if self.each[index].noise else "training")

    def resumed_noise(self, iteration: int) -> None:
        """Note that a search goes on after this iteration of an earlier process."""
        self.skipped = iteration

    def is_making_noise(self, iteration: int) -> None:
        """Note that this iteration of a search is over."""
        likely = max(self.each[self.index].iterations, iteration + 1)
        each = (self.clock() - self.since) / max(1, iteration - self.skipped)
        self.rest, self.told = each * (likely - iteration), self.clock()

    def is_training(self, epoch: int, epochs: int, seconds: float) -> None:
        """Note that this epoch of a training is over, which took so many seconds, perhaps in an earlier process."""
        if self.part == "noise":
            # Nothing says when the noise was ready: the epoch began then.
            self._leave(seconds)
            self._enter("training", seconds)
        self.trained += seconds
        self.rest, self.told = self.trained / epoch * (epochs - epoch), self.clock()

    def ended(self) -> None:
        """Note that the current run is over."""
        self._leave()
        self.index += 1
        self._enter("noise")

    @property
    def left(self) -> float:
        """Return the seconds that are left for the current run and all after it."""
        if self.index >= len(self.each):
            return 0.0
        later = sum(self._factor(part) * one.left_of(part) for one in self.each[self.index + 1 :] for part in PARTS)
        now = self.each[self.index]
        rest = self._factor("training") * now.left_of("training") if self.part == "noise" else 0.0
        return later + rest + self._left_of_part(now.left_of(self.part))

    def _left_of_part(self, expected: float) -> float:
        if self.rest is not None:
            return max(0.0, self.rest - (self.clock() - self.told))
        return max(0.0, self._factor(self.part) * expected - (self.clock() - self.since))

    def _factor(self, part: Part) -> float:
        return self.spent[part] / self.expected[part] if self.expected[part] and self.spent[part] else 1.0

    def _enter(self, part: Part, ago: float = 0.0) -> None:
        self.part, self.since, self.rest = part, self.clock() - ago, None
        self.told = self.trained = 0.0
        self.skipped = 0

    def _leave(self, ago: float = 0.0) -> None:
        """Count the time that the current part took until so many seconds ago, if it was expected to take any."""
        if self.index >= len(self.each) or not (expected := self.each[self.index].of(self.part)):
            return
        # Epochs of an earlier process are expected too, and took time then. Of a search, nobody knows how much.
        iterations = self.each[self.index].iterations
        share = 1 - self.skipped / max(iterations, self.skipped, 1) if self.part == "noise" else 1.0
        self.spent[self.part] += max(self.clock() - ago - self.since, self.trained)
        self.expected[self.part] += expected * share
