"""What noise is made through: each transformation is the real one, per image, and its gradient is its own."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from unlearn_cli.errors import UsageError
from unlearn_cli.noise.diffjpeg import jpeg
from unlearn_cli.noise.forms import place
from unlearn_cli.noise.transforms import PRESETS, Through
from unlearn_cli.training.augmentations import flip_and_shift_by

EVERY = ["flip", "shift", "crop", "scale", "blur", "gray", "color", "jpeg:50-95", "resize:50-100"]


def picture(size: int = 64) -> Image.Image:
    """Return smooth colours with an edge, like a photo and unlike noise."""
    y, x = np.mgrid[:size, :size] / size
    levels = np.stack([255 * x, 255 * y, 128 + 100 * np.sin(9 * x + 5 * y)], axis=-1)
    levels[size // 3 : size // 2, size // 4 : -size // 4] = (200, 30, 60)
    return Image.fromarray(levels.round().clip(0, 255).astype(np.uint8))


def tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None].float()


@pytest.mark.parametrize("name", [*EVERY, *PRESETS, "+".join(EVERY)])
def test_every_chain_keeps_shape_and_range_and_passes_gradients(name: str) -> None:
    through = Through(name)
    images = tensor(picture(32)).repeat(6, 1, 1, 1).requires_grad_()
    draws = through.draw(6, torch.Generator().manual_seed(1))
    seen = through.apply(images, draws)
    assert seen.shape == images.shape
    assert seen.min() >= -1e-3
    assert seen.max() <= 255.001
    seen.square().mean().backward()
    assert images.grad is not None
    assert (images.grad.abs().amax((1, 2, 3)) > 0).all()


@pytest.mark.parametrize("name", EVERY)
def test_each_image_gets_its_own_draws_and_the_same_draws_do_the_same(name: str) -> None:
    through = Through(name)
    images = tensor(picture(32)).repeat(24, 1, 1, 1)
    draws = through.draw(24, torch.Generator().manual_seed(2))
    seen = through.apply(images, draws)
    assert torch.equal(seen, through.apply(images, draws))
    assert len(torch.unique(seen.reshape(24, -1), dim=0)) > 1
    # An image's part does not depend on the others.
    alone = through.apply(images[3:4], draws[:, 3:4])
    assert torch.allclose(alone, seen[3:4], atol=1e-3)


@given(seed=st.integers(0, 2**32), size=st.sampled_from([16, 24, 33]))
def test_matrices_shift_and_flip_as_the_victims_gather_does(seed: int, size: int) -> None:
    images = torch.randint(0, 256, (4, 3, size, size)).float()
    draws = torch.rand((3, 4), generator=torch.Generator().manual_seed(seed))
    expected = flip_and_shift_by(images, draws)
    # A third stage that does nothing keeps the chain from being recognised as the augmentation itself.
    chain = Through("shift+flip+resize:100")
    seen = chain.apply(images, torch.cat([draws, torch.zeros(1, 4)]))
    if size % 8 == 0:
        assert torch.allclose(seen, expected, atol=1e-2)
    assert torch.equal(Through("augment").apply(images, draws), expected)


@pytest.mark.parametrize("percent", [50, 25])
def test_resizing_is_pillows_down_and_up(percent: int) -> None:
    image = picture()
    side = 64 * percent // 100
    small = image.resize((side, side), Image.Resampling.BILINEAR)
    expected = tensor(small.resize((64, 64), Image.Resampling.BILINEAR))
    seen = Through(f"resize:{percent}").apply(tensor(image), torch.zeros(1, 1))
    assert (seen - expected).abs().max() < 2


def test_a_scale_is_pillows_affine_map() -> None:
    image = picture()
    draws = torch.ones(1, 1)  # the largest zoom out: 1.25
    seen = Through("scale").apply(tensor(image), draws)
    # Of 80 pixels with the picture in their middle, all resized to 64.
    canvas = Image.new("RGB", (80, 80))
    canvas.paste(image, (8, 8))
    expected = tensor(canvas.resize((64, 64), Image.Resampling.BILINEAR))
    assert (seen - expected).abs().mean() < 1


def test_gray_is_luma_and_color_leaves_grey_grey() -> None:
    image = picture()
    chosen = Through("gray").apply(tensor(image), torch.zeros(1, 1))
    luma = torch.from_numpy(np.array(image.convert("L"))).float()
    assert (chosen - luma).abs().max() < 1.01
    unchosen = Through("gray").apply(tensor(image), torch.full((1, 1), 0.9))
    assert torch.allclose(unchosen, tensor(image), atol=1e-3)
    grey = luma.expand(1, 3, 64, 64)
    coloured = Through("color").apply(grey, torch.rand(4, 1, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(coloured, coloured[:, :1].expand_as(coloured), atol=1e-2)
    middle = Through("color").apply(tensor(image), torch.full((4, 1), 0.5))
    assert torch.allclose(middle, tensor(image), atol=1e-2)


@pytest.mark.parametrize("quality", [30, 50, 75, 95])
@pytest.mark.parametrize("size", [64, 50])
def test_jpeg_is_nearly_libjpegs(quality: int, size: int) -> None:
    image = picture(size)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    expected = tensor(Image.open(buffer))
    seen = jpeg(tensor(image), torch.tensor([float(quality)])).round()
    what_jpeg_does = (expected - tensor(image)).abs().mean()
    assert (seen - expected).abs().mean() < max(0.3 * what_jpeg_does.item(), 0.9)


def test_each_image_has_its_own_quality() -> None:
    both = jpeg(tensor(picture()).repeat(2, 1, 1, 1), torch.tensor([20.0, 95.0]))
    away = (both - tensor(picture())).abs().mean((1, 2, 3))
    assert away[0] > 2 * away[1]


@given(seed=st.integers(0, 2**32), side=st.sampled_from([8, 16, 32]))
def test_a_patch_is_placed_whole_and_everywhere_else_is_nothing(seed: int, side: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    patches = torch.randn((5, 3, side, side), generator=generator)
    placed = place(patches, torch.rand((2, 5), generator=generator), 32)
    for one, patch in zip(placed, patches, strict=True):
        rows, columns = (one != 0).any(0).any(1).nonzero()[:, 0], (one != 0).any(0).any(0).nonzero()[:, 0]
        top, left = int(rows[0]), int(columns[0])
        assert torch.equal(one[:, top : top + side, left : left + side], patch)
        assert (one != 0).sum() == (patch != 0).sum()


@pytest.mark.parametrize("text", ["walls", "flip+walls", "jpeg", "jpeg:0-50", "jpeg:50-101", "resize:90-10", "flip:3"])
def test_what_is_no_transformation_is_named(text: str) -> None:
    with pytest.raises(UsageError, match=text.split("+")[-1]):
        Through(text)
