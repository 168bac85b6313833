"""Face verification: do a victim's features show whether two photos are of one person, whom it never saw (figure 7)?"""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn_cli.errors import UsageError, WorkError
from unlearn_cli.evaluation.defences.defence import Filter
from unlearn_cli.evaluation.metrics import roc
from unlearn_cli.evaluation.result import FacePairs, thinned
from unlearn_cli.files import sha256_of
from unlearn_cli.training.datasets import DatasetSpec, read_photos
from unlearn_cli.training.train import as_input

COLUMNS = ("first", "second", "same")


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
        with path.open(newline="", encoding="utf-8") as file:
            found = [(row["first"], row["second"], row["same"].strip()) for row in csv.DictReader(file)]
            rows = [(str(Path(first)), str(Path(second)), same == "1") for first, second, same in found]
    except (OSError, KeyError, AttributeError, TypeError, ValueError, csv.Error) as error:
        raise WorkError(
            f"The pairs file {path} cannot be read. It must be a CSV file with the columns {', '.join(COLUMNS)}."
        ) from error
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
def embed(model: nn.Module, images: Tensor, batch_size: int = 500) -> Tensor:
    """Return the features of images, ``[N, D]``: the inputs of the last linear layer, in evaluation mode."""
    last = last_layer(model)
    found: list[Tensor] = []
    handle = last.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0].detach()))
    try:
        model.eval()
        for part in images.split(batch_size):
            model(as_input(part))
    finally:
        handle.remove()
    return torch.cat(found)
