"""How well a linear classifier tells the classes of noise apart: a diagnostic of noise, not an attacker.

Yu et al., "Availability attacks create shortcuts", KDD 2022, found that noise which makes images unlearnable is almost
linearly separable, so that a network learns it before anything else.
"""

from __future__ import annotations

import numpy as np
import torch

from unlearn_cli.evaluation.attackers.linear import named_by_ridge, of_length_one
from unlearn_cli.evaluation.result import Separability
from unlearn_cli.evaluation.scenario import Scenario

MOST_IMAGES = 2000
"""So many images are drawn of more, because the cost grows with the square of their number."""
HELD_OUT = 5
"""Every fifth photo of a class is held out, from its second on."""


def separability(scenario: Scenario, views: int, seed: int) -> Separability | None:
    """Return how often ridge regression names the class of the noise in a photo, on its training photos and on others.

    The noise is the difference of protected and clean training images, as the victim would see them without a defence;
    all views of a photo are on one side. Return None where fewer than two classes carry noise.
    """
    mine = scenario.protected.nonzero()[:, 0]
    photos = len(scenario.protected) // views
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randperm(photos, generator=generator)
    place = torch.empty(photos, dtype=torch.long)
    labels = scenario.original.labels.cpu()
    for label in labels[mine].unique():
        of = drawn[(labels[drawn] == label) & scenario.protected[drawn]]
        place[of] = torch.arange(len(of))
    if len(mine) > MOST_IMAGES:
        mine = mine[torch.randperm(len(mine), generator=generator)[:MOST_IMAGES]]
    held = (place[mine % photos] % HELD_OUT == 1).numpy()
    named = labels[mine].numpy()
    if len(np.unique(named[~held])) < 2 or not held.any():
        return None
    noise = scenario.noisy.images[mine].float() - scenario.original.images[mine].float()
    features = of_length_one(noise.flatten(1).cpu().numpy())
    right = [(named_by_ridge(features[~held], named[~held], features[of]) == named[of]).mean() for of in (~held, held)]
    return Separability(train=round(float(right[0]), 4), held_out=round(float(right[1]), 4), images=len(mine))
