"""Solvers of the inner problem: noise within a bound that makes a loss small (or large), the surrogate held still.

Each is a function of the noise, its gradient and the settings; all share one signature and are
listed in ``SOLVERS``. Noise is in pixel levels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn_cli.noise.settings import NoiseSettings

Gradient = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Of noise: the loss, a mean over the batch's images, and its gradient, to be made small."""

Solve = Callable[[Tensor, Gradient, NoiseSettings], Tensor]

LEVELS = 255.0


def pgd(noise: Tensor, gradient: Gradient, settings: NoiseSettings) -> Tensor:
    """T signed steps of size alpha, each projected onto the bound (Huang et al., 2021, equation 3)."""
    for _ in range(settings.steps):
        noise = (noise - settings.step * gradient(noise)[1].sign()).clamp(-settings.epsilon, settings.epsilon)
    return noise


def fgsm(noise: Tensor, gradient: Gradient, settings: NoiseSettings) -> Tensor:
    """One signed step as long as the bound (Goodfellow et al., 2015, section 4), from where the noise is.

    From zero, as in sample-wise noise's first pass, that is the published ``epsilon sign(gradient)``.
    """
    return pgd(noise, gradient, settings)


def adam(noise: Tensor, gradient: Gradient, settings: NoiseSettings) -> Tensor:
    """T steps of Adam (Kingma and Ba, 2015) on the penalty form; the result is projected onto the bound."""
    moved = noise.clone().requires_grad_()
    optimizer = torch.optim.Adam([moved], lr=settings.step)
    for _ in range(settings.steps):
        moved.grad = _penalised(moved.detach(), gradient, settings)[1]
        optimizer.step()
    return moved.detach().clamp(-settings.epsilon, settings.epsilon)


def lbfgs(noise: Tensor, gradient: Gradient, settings: NoiseSettings) -> Tensor:
    """At most T steps of L-BFGS with a line search on the penalty form; the result is projected onto the bound."""
    if noise.numel() == 0:
        return noise  # A worker without an image in this batch.
    moved = noise.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([moved], lr=settings.step, max_iter=settings.steps, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        loss, moved.grad = _penalised(moved.detach(), gradient, settings)
        return loss

    optimizer.step(objective)
    return moved.detach().clamp(-settings.epsilon, settings.epsilon)


def _penalised(noise: Tensor, gradient: Gradient, settings: NoiseSettings) -> tuple[Tensor, Tensor]:
    """The penalty form (Huang et al., 2021, appendix I, equation 5; after Szegedy et al., 2014, section 4.1).

    The squared Euclidean length of each pattern, in the unit interval, and c times the loss of its
    image, summed over the patterns.
    """
    loss, slope = gradient(noise)
    unit = noise / LEVELS
    scale = settings.penalty * len(noise)
    return (unit**2).sum() + scale * loss, 2 * unit / LEVELS + scale * slope


SOLVERS: dict[str, Solve] = {"pgd": pgd, "fgsm": fgsm, "adam": adam, "lbfgs": lbfgs, "cw": pgd}
"""``cw`` is ``pgd`` on the margin loss."""

FROZEN_DRAWS = ("lbfgs",)
"""A line search compares values of one function: the transformations are drawn once for each batch."""


def margin(logits: Tensor, labels: Tensor, sign: float = 1.0) -> Tensor:
    """The margin loss of Carlini and Wagner (2017), f_6: the best wrong logit less the right one, at least 0.

    Made small it does not go below 0: an image is left alone once it is named rightly. With a
    ``sign`` of -1 the two change places, and it is left alone once it is named wrongly. A mean over
    the batch.
    """
    right = logits.gather(1, labels[:, None])[:, 0]
    others = logits.masked_fill(F.one_hot(labels, logits.shape[1]).bool(), -torch.inf)
    return (sign * (others.amax(1) - right)).clamp(min=0).mean()
