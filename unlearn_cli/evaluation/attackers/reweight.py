"""Deep feature reweighting: the last layer of a trained victim is fitted again, on few clean photos.

A network that learned a shortcut may still have features of what is in the image; its last layer then only weights them
wrongly. Kirichenko et al., "Last layer re-training is sufficient for robustness to spurious correlations", ICLR 2023;
against unlearnable examples: Sandoval-Segura et al., "What can we learn from unlearnable datasets?", NeurIPS 2023.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from unlearn_cli.errors import UsageError
from unlearn_cli.evaluation.attackers.linear import named_by_ridge, of_length_one
from unlearn_cli.evaluation.face_pairs import embed, last_layer
from unlearn_cli.evaluation.metrics import confusion
from unlearn_cli.evaluation.result import Refit, RunResult, epoch_of
from unlearn_cli.evaluation.scenario import Scenario

REWEIGHT = "reweight"
"""The attacker's name, among attackers and among defences."""
SHARES = (0.01, 0.05, 0.1)
"""The shares of the training photos of each class that the scraper also has in a clean version."""


def refit(network: nn.Module, scenario: Scenario, views: int, seed: int) -> tuple[Refit, ...] | None:
    """Return what a trained victim reaches on the test images after each refit of its last layer.

    The clean photos are clean versions of photos that it was trained on: a random share of each class, of which a
    larger one contains the smaller one, and at least one photo. Return None for a network without a linear last layer.
    """
    try:
        last_layer(network)
    except UsageError:
        return None
    device = next(network.parameters()).device
    clean, test = scenario.original, scenario.test
    order = _order(clean.labels, views, seed)
    most = clean.at(order[SHARES[-1]])
    images = scenario.filter(most.images) if scenario.filter is not None else most.images
    known, asked = (
        of_length_one(embed(network, part.to(device)).float().cpu().numpy()) for part in (images, test.images)
    )
    right, found = test.labels.cpu().numpy(), []
    for share in SHARES:
        mine = torch.isin(order[SHARES[-1]], order[share]).numpy()
        labels = most.labels.cpu().numpy()[mine]
        counts = confusion(named_by_ridge(known[mine], labels, asked), right, len(test.classes))
        table = tuple(map(tuple, counts.tolist()))
        itself = float((named_by_ridge(known[mine], labels, known[mine]) == labels).mean())
        found.append(Refit(share=share, images=int(mine.sum()), epoch=epoch_of(counts, itself), confusion=table))
    return tuple(found)


def _order(labels: Tensor, views: int, seed: int) -> dict[float, Tensor]:
    """Return for each share the indices of its images, in order."""
    photos = len(labels) // views
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(photos, generator=generator)
    chosen: dict[float, list[Tensor]] = {share: [] for share in SHARES}
    for label in labels.unique():
        mine = shuffled[labels[shuffled] == label]
        for share in SHARES:
            chosen[share].append(mine[: max(1, round(share * len(mine)))])
    turns = torch.arange(views)[:, None] * photos
    return {share: (torch.cat(parts) + turns).flatten().sort().values for share, parts in chosen.items()}


def with_refit(result: RunResult, share: float) -> RunResult:
    """Return the result of a victim as it is after the refit on this share of clean photos."""
    found = next(refit for refit in result.refits or () if refit.share == share)
    return replace(
        result, cell={**result.cell, "refit": share}, epochs=(found.epoch,), confusion=found.confusion, refits=None
    )
