"""Training a victim, in epochs that can be interrupted."""

from __future__ import annotations

import io
import time
from collections.abc import Generator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn_cli.errors import WorkError
from unlearn_cli.files import write_atomically
from unlearn_cli.victims.augment import flip_and_shift
from unlearn_cli.victims.datasets import ImageSet
from unlearn_cli.victims.models import build_model


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How a victim is trained. The defaults are those of Huang et al. (2021), section 4.1."""

    model: str = "resnet18"
    epochs: int = 60
    batch_size: int = 128
    learning_rate: float = 0.1
    """At the start; it follows a cosine to zero over all steps."""
    momentum: float = 0.9
    weight_decay: float = 5e-4
    augment: bool = True
    """Random flips and shifts of an eighth of the size."""
    seed: int = 0


@dataclass(frozen=True)
class EpochEnded:
    """One epoch of a training, as it is over."""

    epoch: int
    """Counted from 1."""
    epochs: int
    train_accuracy: float
    """On the training images as the victim saw them, over the epoch."""
    clean_accuracy: float
    """On the clean test set."""
    seconds: float


def train_victim(
    train: ImageSet,
    test: ImageSet,
    settings: TrainingSettings,
    device: torch.device,
    checkpoint: Path | None = None,
) -> Generator[EpochEnded, None, None]:
    """Train a fresh network and test it on clean images after every epoch.

    With a ``checkpoint`` file, every finished epoch is kept there; a training that finds one of
    the same settings first yields its epochs and then goes on. Each epoch draws its own random
    numbers from the seed, so that going on gives what not stopping would have given. Raises
    ``WorkError`` if the checkpoint is of other settings or damaged.
    """
    model = build_model(settings.model, len(train.classes), train.size, settings.seed).to(device)
    train, test = train.to(device), test.to(device)
    optimizer = make_optimizer(model, settings)
    steps = settings.epochs * len(in_batches(torch.arange(len(train)), settings.batch_size))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    state = {"model": model, "optimizer": optimizer, "schedule": schedule}
    history = _restore(checkpoint, settings, state, device)
    yield from history
    for epoch in range(len(history) + 1, settings.epochs + 1):
        start = time.perf_counter()
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + epoch)
        torch.manual_seed(settings.seed * 1_000_003 + epoch)  # For layers that draw for themselves: dropout.
        train_accuracy = _train_epoch(model, train, settings, optimizer, schedule, generator)
        clean_accuracy = accuracy(model, test)
        done = EpochEnded(epoch, settings.epochs, train_accuracy, clean_accuracy, time.perf_counter() - start)
        history.append(done)
        if checkpoint is not None:
            _keep(checkpoint, settings, state, history)
        yield done


def make_optimizer(model: nn.Module, settings: TrainingSettings) -> torch.optim.SGD:
    """SGD with momentum, as for every network of the paper."""
    return torch.optim.SGD(
        model.parameters(),
        settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )


def _train_epoch(
    model: nn.Module,
    train: ImageSet,
    settings: TrainingSettings,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    generator: torch.Generator,
) -> float:
    model.train()
    correct = torch.zeros((), dtype=torch.int64, device=train.images.device)
    order = torch.randperm(len(train), generator=generator).to(train.images.device)
    for batch in in_batches(order, settings.batch_size):
        images, labels = train.images[batch], train.labels[batch]
        if settings.augment:
            images = flip_and_shift(images, generator)
        logits = model(as_input(images))
        loss = F.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        correct += (logits.argmax(1) == labels).sum()
    return correct.item() / len(train)


def in_batches(order: Tensor, size: int) -> list[Tensor]:
    """Split indices into batches; a single one left over joins the last, for batch norm needs two."""
    batches = list(order.split(size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def as_input(levels: Tensor) -> Tensor:
    """Pixel levels of any type as the networks take them: float32, channels last."""
    return levels.to(dtype=torch.float32, memory_format=torch.channels_last)


@torch.no_grad()
def accuracy(model: nn.Module, data: ImageSet, batch_size: int = 1000) -> float:
    """The share of images that the network names rightly, in evaluation mode."""
    model.eval()
    correct = torch.zeros((), dtype=torch.int64, device=data.images.device)
    for images, labels in zip(data.images.split(batch_size), data.labels.split(batch_size), strict=True):
        correct += (model(as_input(images)).argmax(1) == labels).sum()
    return correct.item() / len(data)


def _keep(path: Path, settings: TrainingSettings, state: dict[str, Any], history: list[EpochEnded]) -> None:
    buffer = io.BytesIO()
    parts = {name: part.state_dict() for name, part in state.items()}
    content = {"settings": asdict(settings), "history": [asdict(epoch) for epoch in history], **parts}
    torch.save(content, buffer)
    write_atomically(path, buffer.getvalue())


def _restore(
    path: Path | None, settings: TrainingSettings, state: dict[str, Any], device: torch.device
) -> list[EpochEnded]:
    if path is None or not path.exists():
        return []
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        found = content["settings"]
        history = [EpochEnded(**epoch) for epoch in content["history"]]
        if found == asdict(settings):
            for name, part in state.items():
                part.load_state_dict(content[name])
    except Exception as error:  # torch.load raises many kinds on damage; all mean the same.
        raise WorkError(f"The checkpoint {path} is damaged. Delete it to begin this training again.") from error
    if found != asdict(settings):
        raise WorkError(f"{path} is from a training with other settings. Name another --output, or delete it.")
    return history
