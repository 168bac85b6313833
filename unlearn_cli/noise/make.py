"""The entry point for making noise with any method and form, as a generator of events."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from unlearn_cli.errors import UsageError
from unlearn_cli.noise.alternating import AlternatingSearch
from unlearn_cli.noise.baselines import BASELINES
from unlearn_cli.noise.events import Estimated, Event, Finished, Iterated, Stop, SurrogateEpoch
from unlearn_cli.noise.joint import JointSearch
from unlearn_cli.noise.resume import Checkpoint, Progress
from unlearn_cli.noise.settings import Alternating, Baseline, ErrorMax, ErrorMin, Joint, NoiseSettings, Searched
from unlearn_cli.noise.timing import likely_iterations, measure_speed
from unlearn_cli.training.datasets import ImageSet
from unlearn_cli.training.workers import ALONE, Workers

IMAGES_OF_A_WORKER = 8
"""The smallest average number of a batch's images on each worker. It varies by chance, and batch norm needs two."""


def make_noise(
    data: ImageSet,
    settings: NoiseSettings,
    device: torch.device,
    *,
    workers: Workers = ALONE,
    checkpoint: Path | None = None,
) -> Iterator[Event]:
    """Make noise for the classes or the images of ``data``, and yield events, of which the last is ``Finished``.

    On a CPU, the same seed gives the same bits with the same number of threads and workers and
    the same library versions, also when the search was interrupted and continues from its
    ``checkpoint`` folder. Raises ``UsageError`` as ``Ensemble`` does, and for settings that do not fit
    the images; ``WorkError`` if the search diverges, or if the checkpoint is damaged or belongs to
    another search.
    """
    if isinstance(settings, Baseline):
        yield _baseline(data, settings, checkpoint)
        return
    if len(data.labels.unique()) < len(data.classes):
        raise UsageError("Some classes have no images among those that were chosen. Use a larger --train-size.")
    if workers.count > 1:
        _check_workers(data, settings, workers)
    kept = Checkpoint(checkpoint, data, settings, device, workers)
    if isinstance(settings, Joint):
        yield from _joint(JointSearch(data, settings, device), kept)
        return
    search = AlternatingSearch(data, settings, device, workers)
    speed, likely = measure_speed(data, settings, device, workers), likely_iterations(settings)
    estimates = (speed.seconds(len(data), settings, count) for count in (_most_iterations(settings), likely))
    yield Estimated(*estimates)
    if isinstance(settings, ErrorMin):
        yield from _error_min(search, settings, kept)
    else:
        yield from _error_max(search, settings, kept)


def _baseline(data: ImageSet, settings: Baseline, checkpoint: Path | None) -> Finished:
    """Make noise without a search. Raises ``UsageError`` if there is a checkpoint."""
    start = time.perf_counter()
    if checkpoint is not None:
        raise UsageError(f"--method {settings.method} works without a search: leave out --checkpoint.")
    noise = BASELINES[settings.method](data, settings)
    return Finished(noise, 0, math.nan, "nothing to search", time.perf_counter() - start, None)


def _error_min(search: AlternatingSearch, settings: ErrorMin, kept: Checkpoint) -> Iterator[Event]:
    """Run Algorithm 1: repeat M steps of the surrogate and one pass over the noise until the error is below lambda.

    The search also ends after ``max_iterations``, or when ``patience`` iterations brought no better error.
    """
    at = kept.begin(search)
    start = time.perf_counter() - at.seconds
    yield from kept.resumed(at)
    while not _is_over(at, settings):
        search.train_surrogate(settings.surrogate_steps)
        error = yield from search.improving(at.iteration + 1, settings.max_iterations)
        at = at.next(error, time.perf_counter() - start)
        kept.keep(search, at, last=_is_over(at, settings))
        yield Iterated(at.iteration, settings.max_iterations, at.error, at.seconds)
    yield _finished(search, at)


def _joint(search: JointSearch, kept: Checkpoint) -> Iterator[Event]:
    """Optimise noise and surrogate together for ``max_iterations`` epochs, in rounds of fresh surrogates."""
    most, at = search.settings.max_iterations, kept.begin(search)
    start = time.perf_counter() - at.seconds
    yield from kept.resumed(at)
    while at.iteration < most:
        error, seen = search.epoch()
        at = at.next(error, time.perf_counter() - start)
        kept.keep(search, at, last=at.iteration >= most)
        yield Iterated(at.iteration, most, at.error, at.seconds, seen)
    yield Finished(search.levels(), at.iteration, at.error, "max_iterations reached", at.seconds, None)


def _error_max(search: AlternatingSearch, settings: ErrorMax, kept: Checkpoint) -> Iterator[Event]:
    """Train a surrogate on clean images, then make noise that maximises its loss.

    Sample-wise, this is the attack of Madry et al. (2018), in one pass. Class-wise, it is a universal perturbation for
    each class, in passes until the error is above lambda (or ``max_iterations`` or ``patience`` ends them).
    """
    at = kept.begin(search)
    start = time.perf_counter() - at.seconds
    yield from kept.resumed(at)
    while at.epoch < settings.surrogate_epochs:
        error = search.train_clean_epoch(at.epoch, settings.surrogate_epochs)
        at = replace(at, epoch=at.epoch + 1, seconds=time.perf_counter() - start)
        kept.keep(search, at)
        yield SurrogateEpoch(at.epoch, settings.surrogate_epochs, error, at.seconds)
    while not _is_over(at, settings):
        error = yield from search.improving(at.iteration + 1, _most_iterations(settings))
        at = at.next(error, time.perf_counter() - start, upwards=True)
        kept.keep(search, at, last=_is_over(at, settings))
        yield Iterated(at.iteration, _most_iterations(settings), at.error, at.seconds)
    yield _finished(search, at)


def _most_iterations(settings: Alternating) -> int:
    """Return after how many iterations a search ends in any case."""
    one_pass = isinstance(settings, ErrorMax) and settings.form == "sample-wise"
    return 1 if one_pass else settings.max_iterations


def _is_over(at: Progress, settings: Alternating) -> bool:
    if at.iteration == 0:
        return False
    return _reached(at, settings) or at.iteration >= settings.max_iterations or at.since_best >= settings.patience


def _reached(at: Progress, settings: Alternating) -> bool:
    if isinstance(settings, ErrorMax):
        return settings.form == "sample-wise" or at.error > settings.goal
    return at.error < settings.goal


def _finished(search: AlternatingSearch, at: Progress) -> Finished:
    stop: Stop = "stalled" if at.iteration < search.settings.max_iterations else "max_iterations reached"
    if _reached(at, search.settings):
        stop = "goal reached"
    return Finished(search.levels(), at.iteration, at.error, stop, at.seconds, search.ensemble.networks)


def _check_workers(data: ImageSet, settings: Searched, workers: Workers) -> None:
    if isinstance(settings, Joint):
        raise UsageError("A joint search cannot be shared among processes. Start it without torchrun.")
    least = IMAGES_OF_A_WORKER * workers.count
    if min(settings.batch_size, len(data)) < least:
        raise UsageError(
            f"With {workers.count} processes, the batch size and the number of images must be at least {least}. "
            "Start fewer processes, or use larger values."
        )
    if settings.compile:
        raise UsageError(
            "The setting compile works only with one process, because with several the batches change their size. "
            "Leave it out, or start without torchrun."
        )
