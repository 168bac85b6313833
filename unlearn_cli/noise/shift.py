"""Noise that moves what face recognisers see: away from the person's own features, and towards a decoy.

Error-minimizing noise works on networks that are trained on the photos. A recogniser was trained on other people
before, and compares the features of two photos. This search moves a protected photo's features: its loss is the cosine
to the person's own mean feature, plus that to the photo's own feature, minus that to a decoy, a random direction that
the key draws (the idea of Fawkes, Shan et al., 2020, with a random target). It looks through what happens between the
file and the recogniser: JPEG, blur, and an alignment that is not ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from unlearn_cli.banks.provenance import EDGE
from unlearn_cli.noise.aligned import DRAWS, aligned
from unlearn_cli.noise.diffjpeg import jpeg
from unlearn_cli.noise.visibility import visibility
from unlearn_cli.pixels import fade

OWN, ITSELF, DECOY = 1.0, 0.5, 0.3
"""The weights of the cosines to the person's mean feature, to the photo's own, and (subtracted) to the decoy."""
BETAS = (0.9, 0.99)
QUALITIES = (60, 95)
"""The JPEG qualities that the search looks through."""
RESIZED, SMALLEST = 0.7, 0.6
"""With this probability, a view is reduced to a random share of its size from ``SMALLEST`` on, and enlarged again (the
input diversity of Xie et al., CVPR 2019): noise that depends less on one network moves others further."""


@dataclass(frozen=True, kw_only=True)
class ShiftSettings:
    """The settings of a feature-shift search."""

    epsilon: int = 8
    """The L-infinity bound of the noise, in pixel levels."""
    steps: int = 50
    rate: float = 0.15
    """Adam's learning rate for theta, the noise before tanh."""
    seen: float = 0.0
    """The weight of the noise's visibility in the loss."""
    seed: int = 0


@dataclass(frozen=True)
class Features:
    """The features of the same photos by several recognisers; each tensor is ``[N, D]``, with rows of length 1."""

    of: tuple[Tensor, ...]

    @classmethod
    def seen(cls, recognisers: Sequence[nn.Module], faces: Tensor) -> Features:
        """Return the features of aligned faces ``[N, 3, 112, 112]`` with pixel values 0..255."""
        found: list[Tensor] = []
        for recogniser in recognisers:
            features = recogniser(faces)
            found += [features] if isinstance(features, Tensor) else features
        return cls(tuple(F.normalize(features, dim=1) for features in found))

    def means(self, people: Tensor) -> Features:
        """Return for each photo the mean feature of its person, whose number ``people`` ``[N]`` gives."""
        count = int(people.max()) + 1
        sums = (torch.zeros((count, one.shape[1])).to(one).index_add_(0, people, one) for one in self.of)
        return Features(tuple(F.normalize(total, dim=1)[people] for total in sums))

    def cosines(self, other: Features) -> Tensor:
        """Return the cosine of each photo's feature to that of ``other``, the mean over the recognisers: ``[N]``."""
        return torch.stack([(one * two).sum(1) for one, two in zip(self.of, other.of, strict=True)]).mean(0)


def shift_loss(seen: Features, clean: Features, own: Features, decoy: Features) -> Tensor:
    """Return the loss of each photo, ``[N]``: low where its features left their person and went towards the decoy."""
    return OWN * seen.cosines(own) + ITSELF * seen.cosines(clean) - DECOY * seen.cosines(decoy)


class ShiftSearch:
    """One search for patterns on the squares of faces; its noise is ``epsilon * tanh(theta)``, within the bound."""

    def __init__(
        self,
        squares: Tensor,
        people: Tensor,
        patterns: Tensor,
        start: Tensor,
        recognisers: Sequence[nn.Module],
        decoy: Features,
        settings: ShiftSettings,
    ) -> None:
        """Begin with the noise ``start``.

        ``squares`` are the faces ``[N, 3, S, S]`` with pixel values 0..255; ``people`` and ``patterns`` ``[N]`` say who
        each is and which pattern it gets; ``start`` is ``[P, 3, S, S]`` in pixel levels; ``decoy`` has a feature for
        each face. Each step draws the same views for all faces, so that one face's noise does not depend on the others.
        """
        self.squares, self.patterns, self.settings = squares, patterns, settings
        self.recognisers, self.decoy = recognisers, decoy
        # The pattern fades in from the sides of its square, as where ``protect`` applies it.
        ramp = torch.from_numpy(fade(squares.shape[-1], EDGE))
        self.share = torch.outer(ramp, ramp).to(squares)
        self.generator = torch.Generator().manual_seed(settings.seed)
        inside = (start.float() / settings.epsilon).clamp(-0.9, 0.9)
        self.theta = torch.atanh(inside).to(squares.device).requires_grad_()
        self.optimizer = torch.optim.Adam([self.theta], lr=settings.rate, betas=BETAS)
        with torch.no_grad():
            self.clean = self.features(squares)
        self.own = self.clean.means(people)
        self.steps_done = 0
        self.last_cosine = 1.0
        """The mean cosine to the clean features in the last step."""

    def step(self, batch: Tensor | None = None) -> float:
        """Improve the noise once, on all faces or on those with the numbers in ``batch``, and return the mean loss."""
        chosen = torch.arange(len(self.squares)) if batch is None else batch
        squares = self.squares[chosen]
        noisy = (squares + self._noise()[self.patterns[chosen]] * self.share).clamp(0, 255)
        crops = self._aligned(self._published(noisy), torch.rand((DRAWS, 1), generator=self.generator))
        seen = Features.seen(self.recognisers, self._resized(crops))
        clean, own, decoy = (Features(tuple(one[chosen] for one in of.of)) for of in (self.clean, self.own, self.decoy))
        self.last_cosine = float(seen.cosines(clean).mean().detach())
        loss = shift_loss(seen, clean, own, decoy).sum()
        if self.settings.seen:
            loss = loss + self.settings.seen * visibility(squares, noisy).sum()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.steps_done += 1
        return float(loss.detach()) / len(squares)

    def levels(self) -> NDArray[np.int8]:
        """Return the noise in whole pixel levels: int8 ``[P, 3, S, S]``."""
        return self._noise().detach().round().to(torch.int8).cpu().numpy()

    def _noise(self) -> Tensor:
        return self.settings.epsilon * torch.tanh(self.theta)

    def features(self, squares: Tensor) -> Features:
        """Return what the recognisers see in squares ``[B, 3, S, S]``, exactly aligned."""
        return Features.seen(self.recognisers, self._aligned(squares, torch.full((DRAWS, 1), 0.5)))

    def _aligned(self, squares: Tensor, draws: Tensor) -> Tensor:
        return aligned(squares, draws.expand(DRAWS, len(squares)).to(squares))

    def _resized(self, crops: Tensor) -> Tensor:
        chance, share = torch.rand(2, generator=self.generator).tolist()
        if chance > RESIZED:
            return crops
        side = crops.shape[-1]
        small = round(side * (SMALLEST + (1 - SMALLEST) * share))
        reduced = F.interpolate(crops, (small, small), mode="bilinear", antialias=True)
        return F.interpolate(reduced, (side, side), mode="bilinear")

    def _published(self, squares: Tensor) -> Tensor:
        """Return the squares as a platform publishes them: in turns unchanged, blurred a little, and as JPEG."""
        kind = self.steps_done % 3
        if kind == 1:
            return F.avg_pool2d(F.pad(squares, (1, 1, 1, 1), mode="reflect"), 3, 1)
        if kind == 2:
            low, high = QUALITIES
            quality = low + (high - low) * torch.rand(1, generator=self.generator)
            return jpeg(squares, quality.expand(len(squares)).to(squares))
        return squares
