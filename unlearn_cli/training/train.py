"""The training of a victim, which can be interrupted and continued after every epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from unlearn_cli.errors import WorkError
from unlearn_cli.training.augmentations import augmentation, flip_and_shift
from unlearn_cli.training.checkpoint import open_checkpoint, peek, save_checkpoint
from unlearn_cli.training.datasets import ImageSet
from unlearn_cli.training.fast import fit_to_images
from unlearn_cli.training.models import build_model
from unlearn_cli.training.workers import ALONE, Workers

Harden = Callable[[nn.Module, Tensor, Tensor, torch.Generator], Tensor]
"""A defence in the training step: a function of the network, the augmented images, their targets and a generator that
returns the images to train on."""


DIVERGED = "The training diverged: its weights are no longer finite numbers. Use a smaller learning-rate."


Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """The settings of a victim's training.

    The defaults are those of the official code of Huang et al. (2021) for CIFAR-10, without its gradient clip.
    """

    model: str = "resnet18"
    epochs: int = 60
    batch_size: int = 128
    learning_rate: float = 0.1
    """The largest learning rate."""
    schedule: Literal["cosine", "triangle"] = "cosine"
    """How the learning rate goes on: along a cosine to zero, or up from a fifth and then down (``_triangle``)."""
    momentum: float = 0.9
    nesterov: bool = False
    """Whether the momentum is Nesterov's."""
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    """The share of each target that is spread over all classes."""
    augment: str = "standard"
    """A key of ``augmentations.AUGMENTATIONS``, or ``fast-autoaugment:FILE``."""
    alternate_flips: bool = False
    """Whether ``standard`` flips half of the images in each epoch and the other half in the next, and not at random."""
    weight_average: float = 0.0
    """The share that a moving average of the weights keeps in each step; it is what is tested. 0 means none."""
    gradient_clip: float | None = None
    """The largest Euclidean norm of a step's gradient; None means no limit."""
    precision: Precision = "fp32"
    """The numbers that the network computes with in training and in its test; its weights are kept in fp32."""
    compile: bool = False
    seed: int = 0


@dataclass(frozen=True)
class EpochEnded:
    """The results of one finished epoch of a training."""

    epoch: int
    """The number of the epoch, counted from 1."""
    epochs: int
    train_accuracy: float
    """The mean accuracy during the epoch on the training images, as they were augmented."""
    clean_accuracy: float
    """The accuracy on the clean test set."""
    by_class: tuple[float | None, ...]
    """The clean accuracy on each class; None for a class without test images."""
    seconds: float


@dataclass(frozen=True, eq=False)
class Trained:
    """The training is over: the last event of ``train_network``."""

    network: nn.Module
    """The one that was trained, or with ``weight_average`` another one with the average of its weights."""
    epochs: tuple[EpochEnded, ...]


def train_victim(
    train: ImageSet,
    test: ImageSet,
    settings: TrainingSettings,
    device: torch.device,
    checkpoint: Path | None = None,
    *,
    harden: Harden | None = None,
    workers: Workers = ALONE,
) -> Generator[EpochEnded | Trained, None, None]:
    """Train a new network as ``train_network`` does."""
    model = build_model(settings.model, len(train.classes), train.size, settings.seed).to(device)
    yield from train_network(model, train, test, settings, checkpoint, harden=harden, workers=workers)


def train_network(
    model: nn.Module,
    train: ImageSet,
    test: ImageSet,
    settings: TrainingSettings,
    checkpoint: Path | None = None,
    *,
    harden: Harden | None = None,
    workers: Workers = ALONE,
) -> Generator[EpochEnded | Trained, None, None]:
    """Train a network; yield its results on clean test images after every epoch, and at the end ``Trained``.

    With a ``checkpoint`` file, the state is saved there after every epoch. A training that finds a checkpoint of the
    same settings first yields the epochs in it and then continues. Each epoch seeds its own random numbers, so that a
    continued training gives the same result as an uninterrupted one. With several workers, each trains on its part of
    every batch, with batch norm over that part only. Raises ``WorkError`` if the training diverges, and if the
    checkpoint is damaged or belongs to other settings.
    """
    device = next(model.parameters()).device
    train, test = train.to(device), test.to(device)
    fit_to_images(model, train.images)
    optimizer = make_optimizer(model, settings)
    steps = settings.epochs * len(_batches(torch.arange(len(train)), settings, workers))
    schedule = _schedule(optimizer, settings, steps)
    training = _Training(model, train, settings, optimizer, schedule, harden, workers)
    state = {"model": model, "optimizer": optimizer, "schedule": schedule}
    if training.average is not None:
        state["average"] = training.average
    history = _restore(checkpoint, settings, state, device)
    yield from history
    for epoch in range(len(history) + 1, settings.epochs + 1):
        start = time.perf_counter()
        train_accuracy = training.epoch(epoch)
        if not all(bool(torch.isfinite(weights).all()) for weights in model.parameters()):
            raise WorkError(DIVERGED)
        workers.average((*model.buffers(), *training.result.buffers()))
        right, count = right_by_class(training.result, test, settings.precision, workers)
        done = EpochEnded(
            epoch,
            settings.epochs,
            train_accuracy,
            sum(right) / sum(count),
            tuple(of / among if among else None for of, among in zip(right, count, strict=True)),
            time.perf_counter() - start,
        )
        history.append(done)
        if checkpoint is not None and workers.rank == 0:
            _keep(checkpoint, settings, state, history)
        yield done
    yield Trained(training.result, tuple(history))


def make_optimizer(model: nn.Module, settings: TrainingSettings) -> torch.optim.SGD:
    """Return SGD with momentum, which the paper uses for every network."""
    return torch.optim.SGD(
        model.parameters(),
        settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=settings.nesterov,
    )


def _schedule(
    optimizer: torch.optim.Optimizer, settings: TrainingSettings, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    if settings.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _triangle(step / steps))


TRIANGLE = ((0.0, 0.2), (0.23, 1.0), (1.0, 0.07))
"""The corners of the triangular schedule: shares of the training, and of the largest learning rate."""


def _triangle(done: float) -> float:
    """Return the share of the largest learning rate when so much of the training is done."""
    (begin, first), (peak, most), (end, last) = TRIANGLE
    if done < peak:
        return first + (most - first) * (done - begin) / (peak - begin)
    return most + (last - most) * (done - peak) / (end - peak)


def clip_gradient(model: nn.Module, most: float | None) -> None:
    """Scale the gradient of all weights down to this Euclidean norm, if it is longer; None means no limit."""
    if most is not None:
        nn.utils.clip_grad_norm_(model.parameters(), most)


class _Training:
    """The training of one victim, epoch by epoch."""

    def __init__(
        self,
        model: nn.Module,
        train: ImageSet,
        settings: TrainingSettings,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        harden: Harden | None,
        workers: Workers,
    ) -> None:
        self.model, self.train, self.settings, self.workers = model, train, settings, workers
        self.optimizer, self.schedule, self.harden = optimizer, schedule, harden
        self.augment = augmentation(settings.augment)
        self.device = train.images.device
        self.flipped: Tensor | None = None
        """Which images this epoch flips; None where that is drawn for each batch."""
        self.run: Callable[[Tensor], Tensor] = torch.compile(model, dynamic=False) if settings.compile else model
        if workers.count > 1:
            self.run = nn.parallel.DistributedDataParallel(model)
        self.average: AveragedModel | None = None
        if settings.weight_average:
            kept = get_ema_multi_avg_fn(settings.weight_average)
            self.average = AveragedModel(model, multi_avg_fn=kept, use_buffers=True)

    @property
    def result(self) -> nn.Module:
        """Return the network that is tested: the one that is trained, or the average of its weights."""
        if self.average is None:
            return self.model
        averaged: nn.Module = self.average.module
        return averaged

    def epoch(self, epoch: int) -> float:
        """Train one epoch; return the accuracy on its augmented images, counted while training.

        With several workers, a last batch that is too small for them is left out.
        """
        seed = self.settings.seed * 1_000_003 + epoch
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)  # Dropout and AutoAugment draw from PyTorch's global generator.
        order = torch.randperm(len(self.train), generator=generator).to(self.device)
        if self.workers.count > 1:
            generator.manual_seed(seed * self.workers.count + self.workers.rank)
        if self.settings.alternate_flips and self.settings.augment == "standard":
            drawn = torch.rand(len(self.train), generator=torch.Generator().manual_seed(self.settings.seed))
            self.flipped = (drawn < 0.5) ^ (epoch % 2 == 0)
        self.model.train()
        right, seen = torch.zeros((), device=self.device), 0
        for batch in _batches(order, self.settings, self.workers):
            right += self._step(batch[self.workers.rank :: self.workers.count], generator)
            seen += len(batch)
        return self.workers.sum(right).item() / seen

    def _step(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Take one step of SGD; return how many images were classified correctly, as a tensor."""
        images, labels = self.train.images[batch], self.train.labels[batch]
        if self.flipped is None:
            images, targets = self.augment(images, labels, len(self.train.classes), generator)
        else:
            images, targets = flip_and_shift(images, generator, self.flipped[batch.cpu()]), labels
        images = as_input(images)
        if self.harden is not None:
            images = self.harden(self.model, images, targets, generator)
        with _computing_in(self.settings.precision, self.device):
            logits = self.run(images)
        loss = F.cross_entropy(logits.float(), targets, label_smoothing=self.settings.label_smoothing)
        self.optimizer.zero_grad()
        loss.backward()
        clip_gradient(self.model, self.settings.gradient_clip)
        self.optimizer.step()
        self.schedule.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        return (logits.detach().argmax(1) == labels).sum()


def _batches(order: Tensor, settings: TrainingSettings, workers: Workers) -> list[Tensor]:
    """Return the batches of an epoch, without those that are too small to give each of several workers two images.

    Batch norm needs two images.
    """
    batches = in_batches(order, settings.batch_size)
    return [batch for batch in batches if len(batch) >= 2 * workers.count] if workers.count > 1 else batches


def in_batches(order: Tensor, size: int) -> list[Tensor]:
    """Split indices into batches; a single one left over joins the last batch, because batch norm needs two."""
    batches = list(order.split(size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def as_input(levels: Tensor) -> Tensor:
    """Return pixel values of any dtype as the networks take them: float32, channels last, still 0..255."""
    return levels.to(dtype=torch.float32, memory_format=torch.channels_last)


PIXELS_TESTED_AT_ONCE = 1 << 22
"""A thousand images of 64 pixels, of which ResNet-18's first stage needs 1 GB."""


def _computing_in(precision: Precision, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


@torch.no_grad()
def predict(model: nn.Module, images: Tensor, precision: Precision = "fp32") -> Tensor:
    """Return the class that the network predicts for each image ``[N, 3, H, W]``, in evaluation mode: int64 ``[N]``."""
    model.eval()
    with _computing_in(precision, images.device):
        return torch.cat([model(as_input(part)).argmax(1) for part in images.split(at_once(images))])


def at_once(images: Tensor, most: int = 1000) -> int:
    """Return how many images a network sees at once without gradients; fewer of large ones, which need much memory."""
    return max(1, min(most, PIXELS_TESTED_AT_ONCE // (images.shape[2] * images.shape[3])))


def right_by_class(
    model: nn.Module, data: ImageSet, precision: Precision = "fp32", workers: Workers = ALONE
) -> tuple[list[int], list[int]]:
    """Return how many images of each class the network classifies correctly, and how many there are.

    Both are counted over all workers.
    """
    mine = data.at(slice(workers.rank, None, workers.count))
    right = predict(model, mine.images, precision) == mine.labels
    counts = [torch.bincount(labels, minlength=len(data.classes)) for labels in (mine.labels[right], mine.labels)]
    of, among = (workers.sum(count).tolist() for count in counts)
    return of, among


def _keep(path: Path, settings: TrainingSettings, state: dict[str, Any], history: list[EpochEnded]) -> None:
    parts = {name: part.state_dict() for name, part in state.items()}
    save_checkpoint(path, {"settings": asdict(settings), "history": [asdict(epoch) for epoch in history], **parts})


def epochs_in(checkpoint: Path) -> int:
    """Return how many epochs of a training are saved in a checkpoint; 0 if nothing readable is there."""
    content = peek(checkpoint)
    return len(content["history"]) if content is not None else 0


def _restore(
    path: Path | None, settings: TrainingSettings, state: dict[str, Any], device: torch.device
) -> list[EpochEnded]:
    if path is None or not path.exists():
        return []
    with open_checkpoint(path, device, "this training") as content:
        # A checkpoint of an earlier version lacks the settings that did not exist then.
        if {**asdict(TrainingSettings()), **content["settings"]} != asdict(settings):
            raise WorkError(
                f"The checkpoint {path} is from a training with other settings. "
                "Name another --output, or delete the file."
            )
        for name, part in state.items():
            part.load_state_dict(content[name])
        return [EpochEnded(**{**epoch, "by_class": tuple(epoch["by_class"])}) for epoch in content["history"]]
