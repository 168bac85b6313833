"""The feature-shift search: its gradient, its bound, and what it does to what a recogniser sees."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from unlearn_cli.banks.catalog import STUDENT, shipped_folder
from unlearn_cli.errors import BankError
from unlearn_cli.faces import TEMPLATE, Alignment, Face
from unlearn_cli.files import sha256_of
from unlearn_cli.noise.aligned import aligned
from unlearn_cli.noise.face_noise import SIDE, FaceNoise
from unlearn_cli.noise.shift import DECOY, ITSELF, OWN, Features, ShiftSearch, ShiftSettings, shift_loss
from unlearn_cli.photos.anchored import under
from unlearn_cli.photos.protection import face_square
from unlearn_cli.training.student import Student, StudentPlan, Teacher, imitation_loss, load_student, save_student

TEACHERS = (Teacher("one", "0" * 64, 8), Teacher("two", "1" * 64, 5))
SMALL = StudentPlan(TEACHERS, (4, 4, 8, 8), (1, 1, 1, 1), 16)


class Linear(nn.Module):
    """A recogniser whose features are a linear function of the image, averaged in blocks of four pixels."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        weight = torch.randn((6, 3 * 28 * 28), generator=generator)
        self.weight = weight - weight.mean(1, keepdim=True)  # How bright the image is does not matter.

    def forward(self, levels: Tensor) -> Tensor:
        return F.avg_pool2d(levels, 4).flatten(1) @ self.weight.T / 255


def faces(count: int, size: int = 48, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.interpolate(255 * torch.rand((count, 3, 6, 6), generator=generator), (size, size), mode="bicubic").clamp(
        0, 255
    )


def search(squares: Tensor, recognisers: list[nn.Module], length: int, **chosen: float) -> ShiftSearch:
    """Return a search for noise of each face's own, with the same decoy for all."""
    each = torch.arange(len(squares))
    generator = torch.Generator().manual_seed(7)
    decoy = Features((F.normalize(torch.randn((1, length), generator=generator), dim=1).expand(len(squares), -1),))
    start = torch.zeros((len(squares), 3, *squares.shape[-2:]))
    return ShiftSearch(squares, each, each, start, recognisers, decoy, ShiftSettings(**chosen))  # type: ignore[arg-type]


def test_the_gradient_is_the_one_that_the_formula_gives() -> None:
    network = Linear(0)
    x = faces(2, 112).requires_grad_()
    others = [Features.seen([Linear(seed)], faces(2, 112, seed)) for seed in (1, 2, 3)]
    shift_loss(Features.seen([network], x), *others).sum().backward()

    raw = network(x.detach())
    length = raw.norm(dim=1, keepdim=True)
    unit = raw / length
    wanted = torch.zeros_like(raw)
    # The gradient of the cosine of u and a unit vector v, by u, is (v - cos * u / |u|) / |u|.
    for weight, other in zip((ITSELF, OWN, -DECOY), others, strict=True):
        v = other.of[0]
        wanted += weight * (v - (unit * v).sum(1, keepdim=True) * unit) / length
    by_block = (wanted @ network.weight / 255).reshape(len(x), 3, 28, 28) / 16
    by_pixel = by_block.repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert x.grad is not None
    torch.testing.assert_close(x.grad, by_pixel, rtol=1e-3, atol=1e-8)


@given(st.integers(1, 16), st.integers(0, 5), st.integers(0, 100))
@settings(max_examples=15, deadline=None)
def test_noise_stays_within_its_bound(epsilon: int, steps: int, seed: int) -> None:
    squares = faces(2, seed=seed)
    running = search(squares, [Linear(seed)], 6, epsilon=epsilon, rate=1.0)
    for _ in range(steps):
        running.step()
    assert np.abs(running.levels().astype(int)).max() <= epsilon


def test_it_moves_features_away_from_the_person() -> None:
    squares = faces(3)
    running = search(squares, [Linear(0)], 6, epsilon=16)
    losses = [running.step() for _ in range(30)]
    assert losses[-1] < losses[0] - 0.3
    assert float(after(running).cosines(running.clean).max()) < 0.9


def test_the_decoy_decides_where_they_go() -> None:
    squares, ends = faces(3), []
    one, other = search(squares, [Linear(0)], 6, epsilon=16), search(squares, [Linear(0)], 6, epsilon=16)
    other.decoy = Features((-one.decoy.of[0],))
    for running in (one, other):
        for _ in range(30):
            running.step()
        ends.append(after(running))
    assert bool((ends[0].cosines(one.decoy) > ends[1].cosines(one.decoy) + 0.1).all())


def after(running: ShiftSearch) -> Features:
    """Return the features of the faces with the noise that was found, exactly aligned."""
    noise = torch.from_numpy(running.levels()) * running.share
    return running.features((running.squares + noise).clamp(0, 255))


def test_a_faces_noise_does_not_depend_on_the_other_faces() -> None:
    squares = faces(3)
    together, alone = search(squares, [Linear(0)], 6), search(squares[:1], [Linear(0)], 6)
    alone.decoy = Features((together.decoy.of[0][:1],))
    for _ in range(6):
        together.step()
        alone.step()
    assert np.abs(together.levels()[0].astype(int) - alone.levels()[0]).max() <= 1


def test_visible_noise_costs() -> None:
    squares = faces(2)
    free, dear = search(squares, [Linear(0)], 6, rate=0.5), search(squares, [Linear(0)], 6, rate=0.5, seen=100.0)
    for _ in range(10):
        free.step()
        dear.step()
    assert np.abs(dear.levels()).mean() < np.abs(free.levels()).mean() / 2


def test_a_recogniser_sees_the_face_where_the_square_lies() -> None:
    """The crop of a square is the crop that the face's landmarks give, also on a face that is tilted."""
    rough = np.random.default_rng(0).uniform(0, 255, (400, 400, 3)).astype(np.float32)
    smooth = np.asarray(cv2.GaussianBlur(rough, (0, 0), 6), np.float32)
    landmarks = TEMPLATE * 1.3 * np.exp(0.4j) + (160 + 90j)
    square = face_square(Face(tuple(map(complex, landmarks)), 1.0), 1.6, "landmarks")
    seen = under(square, smooth)
    crop = aligned(torch.from_numpy(seen).permute(2, 0, 1)[None], torch.full((4, 1), 0.5))[0].permute(1, 2, 0)

    way = Alignment.to(landmarks)
    matrix = np.array([[way.turn.real, -way.turn.imag, way.shift.real], [way.turn.imag, way.turn.real, way.shift.imag]])
    wanted = cv2.warpAffine(smooth, matrix, (112, 112), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    inner = np.s_[8:-8, 8:-8]
    assert np.abs(crop.numpy()[inner] - wanted[inner]).max() < 0.15 * np.ptp(wanted)
    assert np.corrcoef(crop.numpy()[inner].ravel(), wanted[inner].ravel())[0, 1] > 0.995


def test_a_student_comes_back_from_its_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    student, path = Student(SMALL).eval(), tmp_path / "student.safetensors"
    save_student(path, student, {"date": "2026"})
    back, seen = load_student(path), faces(2, 112)
    assert back.plan == SMALL
    for one, other in zip(student(seen), back(seen), strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(other.norm(dim=1), torch.ones(2))
        torch.testing.assert_close(one, other, rtol=0, atol=0.05)  # The file has half the precision.


def test_a_damaged_student_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "student.safetensors"
    with pytest.raises(BankError, match="Install unlearn again"):
        load_student(path)
    save_student(path, Student(SMALL), {})
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(BankError, match="damaged"):
        load_student(path)


def test_imitation_is_perfect_only_where_all_features_agree() -> None:
    wanted = Features.seen([Linear(0)], faces(4, 112)).of
    assert float(imitation_loss(wanted, wanted)) == pytest.approx(0, abs=1e-6)
    assert float(imitation_loss([wanted[0].flip(0)], wanted)) > 0.01


def test_threads_get_the_noise_of_their_own_faces(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "student.safetensors"
    save_student(path, Student(SMALL), {})
    pattern = np.random.default_rng(0).integers(-8, 9, (3, 40, 40)).astype(np.int8)
    maker = FaceNoise(pattern, 8, torch.device("cpu"), student=path, steps=4)
    seen = list(faces(5, SIDE).to(torch.uint8).permute(0, 2, 3, 1).numpy())
    alone = [maker.of(face) for face in seen]
    with ThreadPoolExecutor(5) as pool:
        together = list(pool.map(maker.of, seen))
    for one, other in zip(alone, together, strict=True):
        assert one.shape == (3, SIDE, SIDE)
        assert np.abs(one).max() <= 8
        assert (np.abs(one.astype(int) - other) <= 1).mean() > 0.99
    assert not np.array_equal(alone[0], alone[1])


def test_the_shipped_student_is_the_one_that_its_card_describes() -> None:
    path = shipped_folder() / STUDENT
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["sha256"] == sha256_of(path)
    taught = [teacher.name for teacher in load_student(path).plan.teachers]
    assert list(card["measured"]["heads"]) == taught
    assert all(head["auc"] > 0.98 for head in card["measured"]["heads"].values())
