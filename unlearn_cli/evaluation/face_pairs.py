"""Face verification: do a victim's features show whether two photos are of one person, whom it never saw (figure 7)?"""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from unlearn_cli.errors import UsageError, WorkError
from unlearn_cli.evaluation.defences.defence import Filter
from unlearn_cli.evaluation.metrics import roc
from unlearn_cli.evaluation.result import FacePairs, GroupPairs, thinned
from unlearn_cli.files import sha256_of
from unlearn_cli.training.datasets import DatasetSpec, ImageSet, read_photos
from unlearn_cli.training.train import as_input, at_once

COLUMNS = ("first", "second", "same")
MOST_PAIRS = 3000
"""How many pairs of each kind the paper draws (section 4.5)."""


def verify_people(
    model: nn.Module, pairs: Path, spec: DatasetSpec, size: int, device: torch.device, filter_: Filter | None = None
) -> FacePairs:
    """Return the ROC of the cosine similarity of two photos' features, over the pairs in a CSV file.

    Its columns are ``first`` and ``second`` (paths of photos, relative to its folder) and ``same`` (1 or 0).
    Raises ``WorkError`` if the file or a photo cannot be read.
    """
    rows = read_pairs(pairs)
    names = sorted({name for first, second, _ in rows for name in (first, second)})
    images = torch.from_numpy(read_photos([(pairs.parent / name, name) for name in names], spec, size))
    if filter_ is not None:
        images = filter_(images)
    features = F.normalize(embed(model, images.to(device)).float(), dim=1).cpu()
    at = {name: row for row, name in enumerate(names)}
    first, second = [at[row[0]] for row in rows], [at[row[1]] for row in rows]
    scores = (features[first] * features[second]).sum(1).double().numpy()
    curve = roc(scores, np.array([same for *_, same in rows]))
    return thinned(curve, len(rows))


def verify_groups(
    model: nn.Module, test: ImageSet, protected: tuple[int, ...], device: torch.device, seed: int
) -> GroupPairs | None:
    """Return the ROC over pairs of clean test photos, apart for pairs that begin with a protected person's photo.

    Half of the pairs show one person (figures 4 and 7). Return None if one of the groups has no person with two photos.
    """
    features = F.normalize(embed(model, test.images.to(device)).float(), dim=1).cpu()
    mask = torch.isin(test.labels, torch.tensor(protected))
    draw = np.random.default_rng(seed)
    found = [_within(features, test.labels.numpy(), group.numpy(), draw) for group in (mask, ~mask)]
    return GroupPairs(protected=found[0], others=found[1]) if found[0] and found[1] else None


def _within(
    features: Tensor, labels: NDArray[np.int64], group: NDArray[np.bool_], draw: np.random.Generator
) -> FacePairs | None:
    """Return the ROC over pairs that begin with a photo of a group, half of them of one person; None without any."""
    members = np.flatnonzero(group)
    of_one = [np.flatnonzero(labels == label) for label in np.unique(labels[members])]
    same = np.concatenate([mine[np.stack(np.triu_indices(len(mine), 1), 1)] for mine in of_one]) if of_one else members
    if len(same) == 0 or len(np.unique(labels)) < 2:
        return None
    same = same[draw.permutation(len(same))[:MOST_PAIRS]]
    first, second = draw.choice(members, len(same)), draw.integers(0, len(labels), len(same))
    while (again := labels[first] == labels[second]).any():
        second[again] = draw.integers(0, len(labels), int(again.sum()))
    pairs = np.concatenate([same, np.stack([first, second], 1)])
    scores = (features[pairs[:, 0]] * features[pairs[:, 1]]).sum(1).double().numpy()
    return thinned(roc(scores, np.arange(len(pairs)) < len(same)), len(pairs))


def pairs_digest(path: Path) -> str:
    """Return the SHA-256 of the pairs and their photos.

    Raises ``WorkError`` as ``read_pairs`` does, and for a photo that cannot be read.
    """
    rows = read_pairs(path)
    sha256 = hashlib.sha256(path.read_bytes())
    for name in sorted({name for first, second, _ in rows for name in (first, second)}):
        photo = sha256_of(path.parent / name)
        if photo is None:
            raise WorkError(f"The pairs file {path} names {name}, which cannot be read in the same folder.")
        sha256.update(photo.encode())
    return sha256.hexdigest()


def read_pairs(path: Path) -> list[tuple[str, str, bool]]:
    """Return the pairs of a CSV file: both photos, and whether they show one person.

    Raises ``WorkError`` if it cannot be read, or does not have pairs of both kinds.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            found = [(row["first"], row["second"], row["same"].strip()) for row in csv.DictReader(file)]
            rows = [(str(Path(first)), str(Path(second)), same == "1") for first, second, same in found]
    except (OSError, KeyError, AttributeError, TypeError, ValueError, csv.Error) as error:
        raise WorkError(
            f"The pairs file {path} cannot be read. It must be a CSV file with the columns {', '.join(COLUMNS)}."
        ) from error
    if odd := {same for *_, same in found} - {"0", "1"}:
        raise WorkError(f"{path} has the value '{min(odd)}' in the column same. Write 1 for one person and 0 for two.")
    if len({same for *_, same in rows}) < 2:
        raise WorkError(f"{path} needs pairs of photos of one person (same is 1) and of two people (same is 0).")
    return rows


def last_layer(model: nn.Module) -> nn.Linear:
    """Return the last linear layer of a network. Raises ``UsageError`` if it has none."""
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise UsageError("This needs a network that ends in a linear layer, such as resnet18.")
    return layers[-1]


@torch.no_grad()
def embed(model: nn.Module, images: Tensor, most: int = 500) -> Tensor:
    """Return the features of images, ``[N, D]``: the inputs of the last linear layer, in evaluation mode."""
    last = last_layer(model)
    found: list[Tensor] = []
    handle = last.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0].detach()))
    try:
        model.eval()
        for part in images.split(at_once(images, most)):
            model(as_input(part))
    finally:
        handle.remove()
    return torch.cat(found)
