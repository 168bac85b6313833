"""Fidelity: each solver does what its published formula says, written out here image by image and step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn_cli.noise.alternating import AlternatingSearch
from unlearn_cli.noise.presets import PRESETS
from unlearn_cli.noise.settings import Alternating, ErrorMin, Searched, make_settings
from unlearn_cli.noise.solvers import SOLVERS, margin
from unlearn_cli.training.datasets import ImageSet

CPU = torch.device("cpu")
PLAIN: dict[str, Any] = {**PRESETS["paper-cifar10"], "surrogate": "resnet10-w16", "batch_size": 16}


def small_set() -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (16, 3, 16, 16), generator=generator, dtype=torch.uint8)
    return ImageSet(images, torch.arange(16) % 4, ("a", "b", "c", "d"), "noise", "none")


def trained_search(**changes: Any) -> AlternatingSearch:
    """Return a search whose surrogate has had a few steps, so that its gradients are not those of chance."""
    settings = make_settings({"noise_share": 1.0, "learning_rate": 0.01, **changes}, fitting=PLAIN)
    assert isinstance(settings, Alternating)
    search = AlternatingSearch(small_set(), settings, CPU)
    search.train_surrogate(3)
    return search


def loss_gradient(network: nn.Module, images: Tensor, labels: Tensor, loss: Any = F.cross_entropy) -> Tensor:
    images = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(network(images), labels), images)
    return gradient


def test_the_sample_wise_step_is_equation_3() -> None:
    search = trained_search(form="sample-wise", noise_steps=3)
    search.improve_noise()
    (network,) = search.ensemble.networks.values()
    network.eval()
    data = search.ensemble.data
    for i in range(len(data)):
        x, y = data.images[i : i + 1].float(), data.labels[i : i + 1]
        noisy = x.clone()
        for _ in range(3):
            # x'_{t+1} = Pi_epsilon(x'_t - alpha sign(grad L(f'(x'_t), y)))
            step = noisy - 0.8 * loss_gradient(network, noisy.clamp(0, 255), y).sign()
            noisy = x + (step - x).clamp(-8, 8)
        expected = noisy - x
        # A gradient of about zero may have another sign in another batch size.
        assert torch.isclose(search.form.noise[i : i + 1], expected, atol=1e-4).float().mean() > 0.995


def test_the_class_wise_step_is_equation_3_summed_over_a_class() -> None:
    search = trained_search()
    search.improve_noise()
    (network,) = search.ensemble.networks.values()
    network.eval()
    data = search.ensemble.data
    for label in range(4):
        gradient = torch.zeros((3, 16, 16))
        for i in (data.labels == label).nonzero()[:, 0]:
            x = data.images[i : i + 1].float()
            # A white or black pixel cannot follow the noise both ways, and has no say.
            inside = (x > 0) & (x < 255)
            gradient += (loss_gradient(network, x, data.labels[i : i + 1]) * inside)[0]
        expected = (-0.8 * gradient.sign()).clamp(-8, 8)
        close = torch.isclose(search.form.noise[label], expected, atol=1e-4)
        assert close.float().mean() > 0.995


def test_error_max_goes_up_where_error_min_goes_down() -> None:
    down = trained_search(form="sample-wise", noise_steps=1)
    up = trained_search(form="sample-wise", noise_steps=1, method="error-max")
    down.improve_noise()
    up.improve_noise()
    assert torch.equal(up.form.noise, -down.form.noise)


def test_fgsm_is_one_step_of_epsilon() -> None:
    search = trained_search(form="sample-wise", solver="fgsm")
    search.improve_noise()
    (network,) = search.ensemble.networks.values()
    network.eval()
    expected = -8 * loss_gradient(network, search.ensemble.data.images.float(), search.ensemble.data.labels).sign()
    assert torch.isclose(search.form.noise, expected).float().mean() > 0.995


def quadratic(target: Tensor) -> Any:
    """Return a loss whose minimum is known: the mean over patterns of their squared distance from a target."""

    def gradient(noise: Tensor) -> tuple[Tensor, Tensor]:
        difference = noise - target
        return (difference**2).sum() / len(noise), 2 * difference / len(noise)

    return gradient


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_the_penalty_form_has_its_minimum_where_equation_5_says(solver: str) -> None:
    # Minimise c |d / 255|^2 + sum_i |d_i - t_i|^2: d = t / (1 + c / 255^2), which epsilon then clips.
    generator = torch.Generator().manual_seed(0)
    target = 6 * torch.rand((5, 3, 4, 4), generator=generator) - 3
    target[0] = 100.0
    c = 0.5 * 255**2
    settings = ErrorMin(solver=solver, penalty=c, noise_steps=400)  # type: ignore[arg-type]
    found = SOLVERS[solver](torch.zeros_like(target), quadratic(target), settings)
    assert torch.allclose(found, (target / 1.5).clamp(-8, 8), atol=0.02)


def test_pgd_goes_to_the_corner_of_the_bound() -> None:
    target = torch.tensor([[[[100.0, -100.0]]]])
    found = SOLVERS["pgd"](torch.zeros_like(target), quadratic(target), ErrorMin(noise_steps=30))
    assert torch.equal(found, torch.tensor([[[[8.0, -8.0]]]]))


def test_the_margin_is_carlini_and_wagners() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn((50, 7), generator=generator), torch.arange(50) % 7
    expected = [
        max(max(float(row[k]) for k in range(7) if k != label) - float(row[label]), 0.0)
        for row, label in zip(logits, labels.tolist(), strict=True)
    ]
    assert margin(logits, labels).item() == pytest.approx(np.mean(expected), abs=1e-6)


@pytest.mark.parametrize("solver", ["pgd", "fgsm", "adam", "lbfgs", "cw"])
@pytest.mark.parametrize("form", ["class-wise", "sample-wise"])
def test_every_solver_makes_the_loss_smaller_within_the_bound(solver: str, form: str) -> None:
    changes = {"adam": {"noise_steps": 20}, "lbfgs": {"noise_steps": 5}}.get(solver, {})
    search = trained_search(solver=solver, form=form, epsilon=4, **changes)

    def loss() -> float:
        search.ensemble.networks.eval()
        batch = search.ensemble.batch(torch.arange(16))
        with torch.no_grad():
            noise = search.form.spread(search.form.part(batch), batch)
            (logits,) = search.logits(batch, noise, search.draw(batch))
            return F.cross_entropy(logits, batch.labels).item()

    before = loss()
    search.improve_noise()
    assert loss() < before
    assert search.form.noise.abs().max() <= 4


def test_settings_in_force_are_the_papers() -> None:
    assert ErrorMin().step == pytest.approx(0.8)
    assert (ErrorMin().steps, ErrorMin(form="sample-wise").steps) == (1, 20)
    assert (ErrorMin().goal, ErrorMin(form="sample-wise").goal) == (0.1, 0.01)
    assert ErrorMin(solver="lbfgs").steps == 200
    imagenet = make_settings({}, fitting=PRESETS["paper-imagenet"])
    assert isinstance(imagenet, ErrorMin)
    assert (imagenet.epsilon, imagenet.step, imagenet.surrogate_steps) == (16, 1.6, 100)
    for name, preset in PRESETS.items():
        settings = make_settings({}, fitting=preset)
        assert isinstance(settings, Searched)
        assert (settings.through == "none") == name.startswith("paper-")
