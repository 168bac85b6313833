"""Protecting a training set with the same integer arithmetic that protects a user's photos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unlearn_cli.banks.bank import Bank
from unlearn_cli.banks.provenance import Form
from unlearn_cli.errors import UsageError
from unlearn_cli.noise.surrogate import PhotoNoise, load_surrogate
from unlearn_cli.photos.apply import Pattern, add_noise
from unlearn_cli.training.datasets import ImageSet, digest

Noise = NDArray[np.int8]

AT_ONCE = 256
"""How many images are processed at once, which bounds the memory."""


def protect_set(
    data: ImageSet,
    bank: Bank,
    form: Form | None = None,
    device: torch.device | None = None,
    seed: int = 0,
    only: Tensor | None = None,
    patterns: NDArray[np.int64] | None = None,
) -> ImageSet:
    """Return a copy of the images with noise applied to all, or to those of the mask ``only`` (bool ``[N]``).

    ``patterns`` names the index of each class's pattern. Without it, a class gets the bank's pattern of
    its name. If the bank is a family, whose patterns are interchangeable, and lacks one of the names, the
    k-th class gets the k-th pattern, and none is used twice. The place of a patch, the choice from a
    mixture and uniform noise are drawn for each image, from ``seed``.

    A sample-wise bank has noise only for exactly the images that it was made on. With ``form`` sample-wise,
    noise is made for each image with a class-wise bank's surrogate, as ``protect`` does.

    Raises ``UsageError`` where there is no pattern, where a sample-wise bank was made on other images or
    is used with the other form, and for a bank whose noise goes on faces. Raises ``BankError`` for a bank
    that cannot be applied to whole images for other reasons.
    """
    of = bank.provenance
    if of.form == "sample-wise" and form == "class-wise":
        raise UsageError(f"The noise of the bank '{bank.name}' is already sample-wise: leave out --form.")
    chosen = torch.arange(len(data)) if only is None else only.nonzero()[:, 0]
    if len(chosen) == 0:
        return data
    part, draw = data.at(chosen), np.random.default_rng(seed)
    if of.form == "sample-wise":
        noise = _own_noise(data, bank, draw)[chosen.numpy()]
    elif form == "sample-wise":
        noise = _made_noise(part, bank, device or torch.device("cpu"))
    else:
        _check_class_wise(bank)
        noise = _class_noise(part, bank, assign(part, bank) if patterns is None else patterns, draw)
    pixels = part.images.numpy().copy()
    add_noise(pixels, np.ascontiguousarray(noise))
    images = data.images.clone()
    images[chosen] = torch.from_numpy(pixels)
    return replace(data, images=images)


def check_bank(data: ImageSet, bank: Bank, only: Tensor, *, fitted: bool = False) -> None:
    """Raise what ``protect_set`` would raise, without applying any noise."""
    of = bank.provenance
    if of.form == "sample-wise":
        _check_own(data, bank)
        return
    _check_class_wise(bank, fitted=fitted)
    if fitted:
        load_surrogate(bank, torch.device("cpu"))
    assign(data.at(only.nonzero()[:, 0]), bank)


def renamed(bank: Bank, classes: Mapping[str, str]) -> Bank:
    """Return a bank of only the patterns of these classes, for the classes that they are mapped to.

    Raises ``UsageError`` if the bank has no pattern of one of them.
    """
    if missing := [name for name in classes if name not in bank.classes]:
        raise UsageError(f"The bank '{bank.name}' has no pattern for {', '.join(missing[:5])}.")
    rows = [bank.classes.index(name) for name in classes]
    provenance = replace(bank.provenance, classes=tuple(classes.values()))
    return replace(bank, noise=np.ascontiguousarray(bank.noise[rows]), provenance=provenance)


def for_images(bank: Bank, made_on: ImageSet, data: ImageSet, only: Tensor) -> Bank:
    """Return a sample-wise bank that has, for each image of ``data`` in the mask ``only``, the same image's noise.

    ``made_on`` are the images that the bank was made on. The noise of the images outside the mask is zero. Raises
    ``UsageError`` if one of the masked images is not among those that the noise was made on.
    """
    _check_own(made_on, bank)
    row = {pixels.tobytes(): index for index, pixels in enumerate(made_on.images.numpy())}
    noise = np.zeros((len(data), *bank.noise.shape[1:]), np.int8)
    for index in only.nonzero()[:, 0].tolist():
        found = row.get(data.images[index].numpy().tobytes())
        if found is None:
            raise UsageError(
                f"The bank '{bank.name}' has no noise for some of the protected images. Make it on all of them."
            )
        noise[index] = bank.noise[found]
    dataset = {**bank.provenance.dataset, "name": data.name, "sha256": digest(data)}
    return replace(bank, noise=noise, provenance=replace(bank.provenance, dataset=dataset))


def _check_class_wise(bank: Bank, *, fitted: bool = False) -> None:
    """Raise an error for a bank whose class-wise noise cannot be applied to whole images.

    Patches and mixtures can, which ``protect`` does not apply to photos; but no noise can be ``fitted`` with them.
    """
    if bank.provenance.frame == "face":
        raise UsageError(
            f"The noise of the bank '{bank.name}' is applied to faces. Measure it with 'unlearn evaluate people'."
        )
    if fitted or bank.provenance.is_plain:
        bank.check_applicable()


def _class_noise(data: ImageSet, bank: Bank, patterns: NDArray[np.int64], draw: np.random.Generator) -> Noise:
    """Return the noise of each image, ``[N, 3, H, W]``, from the patterns of its class."""
    of = bank.provenance
    labels = data.labels.numpy()
    indices = patterns[labels] * of.variants
    if of.variants > 1:
        indices += draw.integers(0, of.variants, len(data))
    size = data.size if of.frame != "patch" else max(1, round(bank.noise.shape[3] * data.size / of.scale))
    used, position = np.unique(indices, return_inverse=True)
    noise = np.stack([_at(bank.noise[index], of.epsilon, size) for index in used])[position]
    if of.frame == "patch":
        noise = _placed(noise, data.size, draw)
    if of.uniform:
        noise = _plus_uniform(noise, of.uniform, of.epsilon, draw)
    return noise


def _placed(patches: Noise, size: int, draw: np.random.Generator) -> Noise:
    """Return noise that is each patch ``[3, p, p]`` at a random place, and zero elsewhere."""
    count, _, side, _ = patches.shape
    top, left = draw.integers(0, size - side + 1, (2, count, 1))
    rows, columns = top + np.arange(side), left + np.arange(side)
    noise = np.zeros((count, 3, size, size), np.int8)
    # NumPy puts the channels last here, because the slice stands between index arrays.
    noise[np.arange(count)[:, None, None], :, rows[:, :, None], columns[:, None, :]] = patches.transpose(0, 2, 3, 1)
    return noise


def _plus_uniform(noise: Noise, levels: int, epsilon: int, draw: np.random.Generator) -> Noise:
    whole = np.empty_like(noise)
    for start in range(0, len(noise), AT_ONCE):
        part = noise[start : start + AT_ONCE].astype(np.int16)
        part += draw.integers(-levels, levels + 1, part.shape, np.int16)
        whole[start : start + AT_ONCE] = part.clip(-epsilon, epsilon)
    return whole


def _own_noise(data: ImageSet, bank: Bank, draw: np.random.Generator) -> Noise:
    _check_own(data, bank)
    of = bank.provenance
    return _placed(bank.noise, data.size, draw) if of.frame == "patch" else bank.noise


def _check_own(data: ImageSet, bank: Bank) -> None:
    of = bank.provenance
    if of.dataset.get("sha256") != digest(data):
        raise UsageError(
            f"The bank '{bank.name}' has noise for {len(bank.noise)} images of {of.dataset.get('name')}, but other "
            f"images were chosen. Use the same --dataset, and --set train-size={len(bank.noise)}."
        )


def _made_noise(data: ImageSet, bank: Bank, device: torch.device) -> Noise:
    """Make noise for each image with the bank's surrogate, and resize it where the images have another size."""
    _check_class_wise(bank, fitted=True)
    of = bank.provenance
    maker = PhotoNoise(bank, of.epsilon, device)
    wanted = torch.from_numpy(assign(data, bank))[data.labels]
    noise = np.empty(tuple(data.images.shape), np.int8)
    for start in range(0, len(data), AT_ONCE):
        images = data.images[start : start + AT_ONCE]
        if data.size != of.scale:
            size = (of.scale, of.scale)
            smaller = torch.nn.functional.interpolate(images.float(), size, mode="bilinear", antialias=True)
            images = smaller.round().to(torch.uint8)
        made = maker.make(images, wanted[start : start + AT_ONCE]).numpy()
        noise[start : start + AT_ONCE] = [_at(one, of.epsilon, data.size) for one in made]
    return noise


def _at(noise: Noise, epsilon: int, size: int) -> Noise:
    """Return a pattern resized to ``[3, size, size]``."""
    return noise if noise.shape[1] == size else Pattern(noise, epsilon).at(size, size).transpose(2, 0, 1)


def assign(data: ImageSet, bank: Bank) -> NDArray[np.int64]:
    """Return the index of each class's pattern, ``[K]``, which is 0 for classes without an image.

    Raises ``UsageError`` if the bank has no pattern for a class with an image.
    """
    present = np.unique(data.labels.numpy())
    names = [data.classes[label] for label in present]
    missing = [name for name in names if name not in bank.classes]
    patterns = np.zeros(len(data.classes), np.int64)
    if not missing:
        patterns[present] = [bank.classes.index(name) for name in names]
    elif bank.provenance.family and len(present) <= len(bank.classes):
        patterns[present] = np.arange(len(present))
    else:
        raise UsageError(
            f"The bank '{bank.name}' has no pattern for {', '.join(missing[:5])}. "
            f"Make one with 'unlearn generate' on this dataset, or use a bank of its classes."
        )
    return patterns
