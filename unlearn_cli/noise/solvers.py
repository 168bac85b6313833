"""Solvers of the inner problem: find noise within epsilon that minimises a loss, while the surrogate is fixed.

Each is a function of the noise, a function for its loss and gradient, and the settings, and returns the new noise.
To maximise a loss, the caller changes its sign. Noise is in pixel levels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn_cli.noise.settings import Alternating, ErrorMin

Gradient = Callable[[Tensor], tuple[Tensor, Tensor]]
"""A function of noise that returns the loss to minimise, a mean over the batch's images, and its gradient."""

Solve = Callable[[Tensor, Gradient, Alternating], Tensor]

LEVELS = 255.0


def pgd(noise: Tensor, gradient: Gradient, settings: Alternating) -> Tensor:
    """Take T signed gradient steps of size alpha, each projected onto the bound (Huang et al., 2021, equation 3)."""
    for _ in range(settings.steps):
        noise = (noise - settings.step * gradient(noise)[1].sign()).clamp(-settings.epsilon, settings.epsilon)
    return noise


def fgsm(noise: Tensor, gradient: Gradient, settings: Alternating) -> Tensor:
    """Take one signed step of size epsilon, unless the settings differ (Goodfellow et al., 2015, section 4).

    From zero, as in the first pass of sample-wise noise, this is the published ``epsilon sign(gradient)``.
    """
    return pgd(noise, gradient, settings)


def adam(noise: Tensor, gradient: Gradient, settings: Alternating) -> Tensor:
    """Take T steps of Adam (Kingma and Ba, 2015) on the penalty form, and project the result onto the bound."""
    moved = noise.clone().requires_grad_()
    optimizer = torch.optim.Adam([moved], lr=settings.step)
    for _ in range(settings.steps):
        moved.grad = _penalised(moved.detach(), gradient, settings)[1]
        optimizer.step()
    return moved.detach().clamp(-settings.epsilon, settings.epsilon)


def lbfgs(noise: Tensor, gradient: Gradient, settings: Alternating) -> Tensor:
    """Take up to T steps of L-BFGS with a line search on the penalty form, and project the result onto the bound."""
    if noise.numel() == 0:
        return noise  # This worker has no image in the batch.
    moved = noise.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([moved], lr=settings.step, max_iter=settings.steps, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        loss, moved.grad = _penalised(moved.detach(), gradient, settings)
        return loss

    optimizer.step(objective)
    return moved.detach().clamp(-settings.epsilon, settings.epsilon)


def _penalised(noise: Tensor, gradient: Gradient, settings: Alternating) -> tuple[Tensor, Tensor]:
    """Return the penalty form and its gradient (Huang et al., 2021, appendix I, equation 5).

    It is c times the squared Euclidean norm of each pattern, in the unit interval, plus the loss of its image, summed
    over the patterns.
    """
    assert isinstance(settings, ErrorMin)  # The other methods have no penalty form.
    loss, slope = gradient(noise)
    unit = noise / LEVELS
    weight = settings.penalty
    return weight * (unit**2).sum() + len(noise) * loss, weight * 2 * unit / LEVELS + len(noise) * slope


SOLVERS: dict[str, Solve] = {"pgd": pgd, "fgsm": fgsm, "adam": adam, "lbfgs": lbfgs, "cw": pgd}
"""The solvers by name; ``cw`` is ``pgd`` on the margin loss."""

FROZEN_DRAWS = ("lbfgs",)
"""Solvers for which the transformations are drawn only once for each batch, because a line search needs a fixed
function."""


def margin(logits: Tensor, labels: Tensor, sign: float = 1.0) -> Tensor:
    """Return the margin loss f_6 of Carlini and Wagner (2017): the largest wrong logit minus the right one, at least 0.

    Because it does not go below 0, an image has no gradient once it is classified correctly. With a ``sign`` of -1 the
    two logits change places, and an image has no gradient once it is misclassified. The loss is a mean over the batch.
    """
    right = logits.gather(1, labels[:, None])[:, 0]
    others = logits.masked_fill(F.one_hot(labels, logits.shape[1]).bool(), -torch.inf)
    return (sign * (others.amax(1) - right)).clamp(min=0).mean()
