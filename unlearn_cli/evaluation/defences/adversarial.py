"""Adversarial training (Madry et al., ICLR 2018), which breaks such noise (Huang et al., 2021, figure 6)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn_cli.evaluation.defences.defence import Defence

STEPS = 10


def adversarial(epsilon: int) -> Defence:
    """Train on PGD-10 examples within ``epsilon`` levels, of steps of epsilon / 4, from a random start."""

    def harden(model: nn.Module, images: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
        # In evaluation mode, so that the attack's ten passes do not enter batch norm's statistics.
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
