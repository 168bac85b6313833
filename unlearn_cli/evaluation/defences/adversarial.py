"""Adversarial training (Madry et al., ICLR 2018), which breaks error-minimizing noise: Huang et al., 2021, figure 6."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn_cli.evaluation.defences.defence import Defence

STEPS = 10


def adversarial(epsilon: int) -> Defence:
    """Return a defence that trains on PGD-10 adversarial examples within ``epsilon`` levels of 255.

    The attack starts at random and takes steps of epsilon / 4.
    """

    def harden(model: nn.Module, images: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
        # The attack runs in evaluation mode, so that its ten passes do not change the statistics of batch norm.
        model.eval()
        start = (2 * torch.rand(images.shape, generator=generator) - 1) * epsilon
        noise = start.to(images.device)
        for _ in range(STEPS):
            noise.requires_grad_()
            loss = F.cross_entropy(model((images + noise).clamp(0, 255)), targets)
            (gradient,) = torch.autograd.grad(loss, noise)
            noise = (noise.detach() + epsilon / 4 * gradient.sign()).clamp(-epsilon, epsilon)
        model.train()
        return (images + noise).clamp(0, 255)

    return Defence(name=f"adversarial:{epsilon}", harden=harden)
