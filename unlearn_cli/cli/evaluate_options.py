"""The options that the commands of ``unlearn evaluate`` share, and the settings that ``--set NAME=VALUE`` changes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from unlearn_cli.cli.set_option import setting

Output = Annotated[
    Path,
    typer.Option(
        "--output", "-o", help="Folder for the report and its runs; an interrupted evaluation in it is continued."
    ),
]
Only = Annotated[
    str | None,
    typer.Option(metavar="KEY=VALUE,...", help="Do only the runs with these values: 'model=resnet18,form=class-wise'."),
]
ScaleName = Annotated[
    Literal["paper", "cpu", "tiny"] | None,
    typer.Option(
        help="Size of the evaluation. paper: resnet18, all images, 60 epochs; cpu: resnet10-w16, 10000 images, 12 "
        "epochs; tiny: only a check that everything runs.  [default: cpu on a CPU, else paper]"
    ),
]
Seeds = Annotated[
    int | None,
    typer.Option(
        min=1, help="Number of trainings with different seeds.  [default: 1; for people 3]", show_default=False
    ),
]
Jobs = Annotated[int, typer.Option(min=1, help="Number of trainings at once, in processes or as Ray tasks.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Set epochs, batch-size, learning-rate, seed, device, precision and more; an unknown name lists all.",
    ),
]
Model = Annotated[
    str | None, typer.Option(help="Networks to train (victims), separated by commas.  [default: depends on --scale]")
]
Augment = Annotated[
    str,
    typer.Option(
        help="Augmentations, by commas: none, standard (flips and shifts), cutout, mixup, cutmix, autoaugment."
    ),
]
Defence = Annotated[
    str,
    typer.Option(
        help="What the scraper does against the noise, by commas: none, jpeg:Q, gray, blur, color-jitter, pipeline, "
        "bit-depth:B, adversarial:E, orthogonal-projection, ueraser-like."
    ),
]
RandomControl = Annotated[
    bool,
    typer.Option("--random-control", help="Also train on images with random noise within the same bound, to compare."),
]
Attacker = Annotated[
    str | None,
    typer.Option(
        help="Who learns from the photos, by commas: scratch, scratch-grey, scratch-jitter, scratch-pipeline (they "
        "train), frozen:dlib, frozen:FILE.onnx (a recogniser as it is); all: all that are here.  [default: scratch]"
    ),
]
Record = Annotated[bool, typer.Option("--record", help="Add the results to the bank's card.")]
TripName = Annotated[
    str | None,
    typer.Option(
        help="What a platform and a scraper do to the photos before training: none, social, thumbnail, face, hard; "
        "face:50 sets another JPEG quality."
    ),
]

FOLDER = Path("unlearn-evaluation")


@dataclass(frozen=True)
class Training:
    """The settings that every command has."""

    epochs: int | None = setting("epochs of each training", "the scale's", least=1)
    train_size: int | None = setting("training images", "the scale's", least=1)
    seed: int | None = setting("the first training's seed", "0")
    device: str | None = setting("cuda, mps or cpu", "the best there is")
    precision: Literal["fp32", "bf16"] | None = setting("the victims' arithmetic", "bf16 on CUDA, else fp32")
    compile: bool | None = setting("compile the victims first", "no")
    engine: Literal["local", "ray"] | None = setting("what runs the trainings", "local")
    pairs: Path | None = setting("a CSV of pairs of photos, to verify people with", "none")


@dataclass(frozen=True)
class Optimised(Training):
    """The settings of all commands but ``recipe``, since a recipe has these values itself."""

    batch_size: int | None = setting("images of a step", "128; of people 32", least=2)
    learning_rate: float | None = setting("at the start; it follows a cosine to zero", "0.1", least=0)
    image_size: int | None = setting("resize images to so many pixels square", "their own; of people the scale's", 8)
    classes: str | None = setting("use only the classes that match these patterns", "all")


@dataclass(frozen=True)
class OnImages(Optimised):
    """The settings of the commands on images by class, ``bank`` and ``copies``."""

    crop: int | None = setting("cut out the middle square of so many pixels first", "the largest", least=8)
    first_classes: int | None = setting("use only the first so many classes", "all", least=2)
    map: Path | None = setting('a TOML file with lines "class" = "new name"', "none")
    protect_classes: str | None = setting("protect only the classes that match these patterns", "all")
    poison_rate: float | None = setting("share of each class's images that is protected", "1", 0, 1)
    keep: Literal["all", "clean"] | None = setting("clean: train without the protected images (D_c)", "all")
    trigger: bool | None = setting("also put the noise on clean test images", "no")
    trip: str | None = setting("of a folder's photos: as --trip of 'evaluate copies'", "none")
    views: int | None = setting("with a trip: jittered crops of each training photo", "1", least=1)


@dataclass(frozen=True)
class OnPeople(Optimised):
    """The settings of the command ``people``."""

    views: int | None = setting("jittered crops of each training photo", "3", least=1)
    poison_rate: float | None = setting("share of each protected person's photos that is protected", "1", 0, 1)
    key_seed: int | None = setting("seed of the keys that decide the protected people's patterns", "0")
    one_key: bool | None = setting("let them all share one key", "no")
