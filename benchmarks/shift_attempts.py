"""Try a search for noise on the three teachers themselves, and ask recognisers that took no part.

    python benchmarks/shift_attempts.py SHARED JUDGES --form personal --epsilon 16

Twelve people (of id120 to id157) among 62: twelve photos of each to make noise on, six more, and the others, which stay
clean, to ask about. SHARED/recognisers/fetch.sh brings the teachers, whose packages onnx and onnx2torch are needed;
JUDGES has the files of benchmarks/export_judges.py. Noise is judged on the squares that it was made on, after JPEG q75
and an alignment that is off by up to 2 degrees, 3 and 1.5 %. That is quicker than files that `protect` wrote, and
easier for the noise (read_by_others.py). On a GPU a search takes seconds, on a CPU about an hour; with --student it
takes minutes.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from unlearn_cli.banks.catalog import STUDENT, shipped_folder
from unlearn_cli.banks.provenance import EDGE
from unlearn_cli.evaluation.attackers.frozen import HEADS, answers
from unlearn_cli.evaluation.attackers.recognisers import DLIB_SIDE, DLIB_TEMPLATE, open_recogniser
from unlearn_cli.faces import TEMPLATE_SIDE, Alignment
from unlearn_cli.noise.aligned import DRAWS, aligned
from unlearn_cli.noise.face_noise import SIDE
from unlearn_cli.noise.shift import Features, ShiftSearch, ShiftSettings
from unlearn_cli.photos.face_pixels import read_faces
from unlearn_cli.pixels import fade
from unlearn_cli.training.devices import pick_device
from unlearn_cli.training.student import load_student

MADE_ON, NEW = 12, 6
"""How many photos of a person noise is made on, and how many others carry a personal pattern."""
CROWD = 5
"""How many photos of each other person are known."""
JITTER = 0.3
"""The misalignment of a judge's faces, as a share of what a search looks through."""


class Centred(nn.Module):
    """A recogniser of aligned faces whose features are relative to their mean over some faces."""

    def __init__(self, network: Callable[[Tensor], Tensor], faces: Tensor) -> None:
        super().__init__()
        self.network, self.mean = network, torch.zeros(1, device=faces.device)
        with torch.no_grad():
            self.mean = torch.cat([self(part) for part in faces.split(64)]).mean(0, keepdim=True)

    def forward(self, faces: Tensor) -> Tensor:
        """Return features ``[N, D]`` of faces ``[N, 3, 112, 112]`` with pixel values 0..255."""
        return F.normalize(self.network(faces), dim=1) - self.mean


def teachers(shared: Path, faces: Tensor) -> list[nn.Module]:
    """Return the three teachers; ``faces`` decide the mean of their features."""
    sys.path.insert(0, str(shared / "recognisers"))
    import embedders  # type: ignore[import-not-found]

    made = [embedders.make(name).eval().requires_grad_(False).to(faces.device) for name in ("sface", "mobilefacenet")]
    dlib = embedders.make("dlib").eval().requires_grad_(False).to(faces.device)
    back = Alignment.to(DLIB_TEMPLATE)
    turn, shift = 1 / back.turn, -back.shift / back.turn

    def by_dlib(crops: Tensor) -> Tensor:
        """Return dlib's features of crops that are aligned to our template: dlib's own are wider."""
        half = TEMPLATE_SIDE / 2
        step, start = turn * DLIB_SIDE / 2 / half, (turn * DLIB_SIDE / 2 * (1 + 1j) + shift) / half - (1 + 1j)
        rows = [[step.real, -step.imag, start.real], [step.imag, step.real, start.imag]]
        matrix = torch.tensor(rows, dtype=torch.float32, device=crops.device).expand(len(crops), 2, 3)
        grid = F.affine_grid(matrix, [len(crops), 3, DLIB_SIDE, DLIB_SIDE], align_corners=False)
        wide: Tensor = dlib(F.grid_sample(crops, grid, align_corners=False, padding_mode="border") / 255)
        return wide

    networks = [*(lambda crops, of=of: of(crops / 255) for of in made), by_dlib]
    return [Centred(network, faces) for network in networks]


def people(shared: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Return the squares of the faces of 62 people, uint8 ``[N, 3, S, S]``, and who of them are protected."""
    folders = sorted((shared / "datasets/faces/identities").iterdir())
    crowd = [folder for folder in folders if folder.name >= "id120" or folder.name < "id024"]
    found = {}
    for folder in crowd:
        faces, _ = read_faces(folder, SIDE)
        found[folder.name] = torch.from_numpy(faces).permute(0, 3, 1, 2)
    many = [name for name, faces in found.items() if name >= "id120" and len(faces) >= 2 * MADE_ON]
    return found, many[:12]


def published(squares: Tensor, seed: int) -> NDArray[np.uint8]:
    """Return squares after JPEG q75 as aligned crops ``[N, 112, 112, 3]``, with the jitter of a scraper's landmarks."""
    files = []
    for square in squares.permute(0, 2, 3, 1).cpu().numpy():
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(square)).save(file, "JPEG", quality=75, subsampling=2)
        files.append(np.asarray(Image.open(file)))
    draws = 0.5 + JITTER * (torch.rand((DRAWS, len(files)), generator=torch.Generator().manual_seed(seed)) - 0.5)
    crops = aligned(torch.from_numpy(np.stack(files)).permute(0, 3, 1, 2).float(), draws)
    return crops.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def search(
    squares: Tensor, whose: Tensor, patterns: Tensor, networks: list[nn.Module], chosen: argparse.Namespace
) -> Tensor:
    """Return noise int8 ``[P, 3, S, S]``; ``patterns`` says which of them each square gets."""
    device, count = squares.device, int(patterns.max()) + 1
    with torch.no_grad():
        lengths = [
            one.shape[1] for one in Features.seen(networks, aligned(squares[:1], torch.full((DRAWS, 1), 0.5))).of
        ]
    decoys = [torch.randn((count, length), generator=torch.Generator().manual_seed(7)) for length in lengths]
    decoy = Features(tuple(F.normalize(one, dim=1).to(device)[patterns] for one in decoys))
    start = 0.1 * torch.randn((count, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(1))
    settings = ShiftSettings(epsilon=chosen.epsilon, steps=chosen.steps)
    of = ShiftSearch(squares, whose, patterns, start, networks, decoy, settings)
    generator = torch.Generator().manual_seed(0)
    for _ in range(chosen.steps):
        of.step(torch.randperm(len(squares), generator=generator)[: chosen.batch] if chosen.batch else None)
    return torch.from_numpy(of.levels())


def judge(names: list[str], protected: Tensor, numbers: list[int], found: dict[str, Tensor], mine: list[str]) -> None:
    """Print what each recogniser names of the clean photos that are asked about."""
    everybody = sorted(found)
    rest = [name for name in everybody if name not in mine]
    known = np.concatenate([published(protected, 1), *(published(found[name][:CROWD], 2) for name in rest)])
    labels = np.array([*numbers, *(everybody.index(name) for name in rest for _ in found[name][:CROWD])])
    asked = np.concatenate([published(found[name][MADE_ON + NEW :], 3) for name in mine])
    right = np.array([everybody.index(name) for name in mine for _ in found[name][MADE_ON + NEW :]])
    for name in names:
        recogniser: Any = open_recogniser(name)
        features, wanted = recogniser.embed(known), recogniser.embed(asked)
        shares = [100 * float((answers(features, labels, wanted, head) == right).mean()) for head in HEADS]
        print(Path(name).stem, " ".join(f"{head} {share:.1f} %" for head, share in zip(HEADS, shares, strict=True)))


def main() -> None:
    """Make noise, and print what the judges name."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path, help="the folder with datasets/ and recognisers/")
    parser.add_argument("judges", type=Path, help="the folder with the judges' .onnx files")
    parser.add_argument("--form", choices=("none", "each", "personal", "strangers"), default="each")
    parser.add_argument("--epsilon", type=int, default=8)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch", type=int, help="faces in a step; without it all")
    parser.add_argument("--student", action="store_true", help="make it on the shipped student instead of its teachers")
    chosen = parser.parse_args()
    start, device = time.perf_counter(), pick_device()
    found, mine = people(chosen.shared)
    everybody = sorted(found)
    made_on = torch.cat([found[name][:MADE_ON] for name in mine]).to(device).float()
    whose = torch.arange(len(mine)).repeat_interleave(MADE_ON)
    carriers, numbers = found, [everybody.index(name) for name in mine for _ in range(MADE_ON)]
    shown = torch.cat([found[name][:MADE_ON] for name in mine])
    exact = torch.full((DRAWS, 1), 0.5)
    crowd = torch.cat([faces[:CROWD] for name, faces in carriers.items() if name not in mine]).to(device).float()
    networks: list[nn.Module] = (
        [load_student(shipped_folder() / STUDENT).to(device)]
        if chosen.student
        else teachers(chosen.shared, aligned(crowd, exact.expand(DRAWS, len(crowd)).to(device)))
    )
    noise = torch.zeros((len(shown), 3, SIDE, SIDE))
    if chosen.form == "each":
        noise = search(made_on, torch.arange(len(made_on)), torch.arange(len(made_on)), networks, chosen)
    elif chosen.form == "personal":
        patterns = search(made_on, whose, whose, networks, chosen)
        shown = torch.cat([found[name][MADE_ON : MADE_ON + NEW] for name in mine])
        numbers = [everybody.index(name) for name in mine for _ in range(NEW)]
        noise = patterns.repeat_interleave(NEW, 0)
    elif chosen.form == "strangers":
        photos = sorted((chosen.shared / "datasets/faces/strangers").iterdir())[: 100 * len(mine)]
        faces = torch.from_numpy(np.concatenate([read_faces(path, SIDE)[0][:1] for path in photos]))
        squares = faces.permute(0, 3, 1, 2).to(device).float()
        patterns = search(squares, torch.arange(len(squares)), torch.arange(len(squares)) % len(mine), networks, chosen)
        noise = patterns.repeat_interleave(MADE_ON, 0)
    ramp = torch.from_numpy(fade(SIDE, EDGE))
    protected = (shown + noise.float() * torch.outer(ramp, ramp)).round().clamp(0, 255).byte()
    print(f"noise after {time.perf_counter() - start:.0f} s on {device}")
    files = [str(chosen.judges / f"{name}.onnx") for name in ("facenet", "faceres", "mobileface")]
    judge(files, protected, numbers, found, mine)


if __name__ == "__main__":
    main()
