"""The options that the commands of ``unlearn evaluate`` share, and the settings that ``--set NAME=VALUE`` changes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from unlearn_cli.banks.provenance import Form
from unlearn_cli.cli.set_option import MOST_SEED, setting

Output = Annotated[
    Path,
    typer.Option(
        "--output", "-o", help="Folder for the report and the results; an interrupted evaluation in it continues."
    ),
]
Only = Annotated[
    str | None,
    typer.Option(metavar="KEY=VALUE,...", help="Do only the runs with these values: 'model=resnet18,form=class-wise'."),
]
ScaleName = Annotated[
    Literal["paper", "laptop", "cpu", "tiny"] | None,
    typer.Option(
        help="Size of the evaluation. paper: resnet18, all images, 60 epochs; laptop: fast-w32, all images, 13 epochs; "
        "cpu: resnet10-w16, 10000 images, 12 epochs; tiny: only a check that everything runs.  [default: cpu on a CPU, "
        "else paper]"
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
    str | None,
    typer.Option(
        help="Networks to train (victims), by commas: those of 'generate --surrogate'.  [default: depends on --scale]"
    ),
]
Augment = Annotated[
    str,
    typer.Option(
        help="Augmentations, by commas: none, standard (flips and shifts), cutout, mixup, cutmix, autoaugment, "
        "fast-autoaugment-like, fast-autoaugment:FILE (its authors' archive.py), rotation, resized-crop."
    ),
]
Defence = Annotated[
    str,
    typer.Option(
        help="What the scraper does against the noise, by commas: none, jpeg:Q, gray, blur, color-jitter, pipeline, "
        "bit-depth:B, adversarial:E, orthogonal-projection, ueraser-like, reweight."
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
        "train), reweight (scratch, its last layer refitted on few clean photos), fine-tune:NETWORK[=FILE] (it starts "
        "from pretrained weights), frozen:dlib, frozen:student, frozen:FILE.onnx (a recogniser as it is); all: all "
        "that are here.  [default: scratch]"
    ),
]
Record = Annotated[bool, typer.Option("--record", help="Add the results to the bank's card.")]
TripName = Annotated[
    str | None,
    typer.Option(
        help="What a platform and a scraper do to the photos before training: none, social, thumbnail, face, hard, "
        "aligned; face:50 sets another JPEG quality."
    ),
]

FOLDER = Path("unlearn-evaluation")

EXAMPLES = {
    "bank": "unlearn evaluate bank cifar10 --dataset cifar10 --download\n"
    "unlearn evaluate bank mine.safetensors --dataset folder:pets --seeds 3 --record",
    "copies": "unlearn evaluate copies pets pets-protected\n"
    "unlearn evaluate copies pets pets-protected --bank mine.safetensors --random-control --record",
    "people": "unlearn evaluate people faces --protect anna,ben\n"
    "unlearn evaluate people faces --protect 'id12?' --attacker scratch,frozen:dlib",
    "recipe": "unlearn evaluate recipe --list\nunlearn evaluate recipe table1-cifar10 --download --scale tiny",
}
"""The examples in the help of each command."""


@dataclass(frozen=True)
class Training:
    """The settings that every command of the group has."""

    epochs: int | None = setting("number of epochs of each training", "depends on --scale", least=1)
    seed: int | None = setting("random seed of the first training", "0", least=0, most=MOST_SEED)
    device: str | None = setting("cuda, mps or cpu", "the fastest available")
    precision: Literal["fp32", "bf16"] | None = setting("arithmetic of the victims", "by the device and --scale")
    compile: bool | None = setting("compile the victims before training", "no")
    engine: Literal["local", "ray"] | None = setting("run the trainings on this machine, or by Ray", "local")
    pairs: Path | None = setting("CSV file of photo pairs for a face verification test", "none")


@dataclass(frozen=True)
class OfRecipe(Training):
    """The settings of the command ``recipe``."""

    learning_rate: float | None = setting("largest learning rate", "by the recipe and --scale", least=0)
    policy: Path | None = setting("file with Fast AutoAugment's policy, its authors' archive.py", "changes like it")
    train_size: int | None = setting("number of training images", "depends on --scale", least=1)


@dataclass(frozen=True)
class Optimised(Training):
    """The settings of all commands except ``recipe``, because a recipe decides these values itself."""

    batch_size: int | None = setting("images in each training step", "128; people: 32; laptop: 256", least=2)
    learning_rate: float | None = setting("largest learning rate", "0.1; laptop: 0.5", least=0)
    weight_decay: float | None = setting("weight decay of the victims' SGD", "0.0005; laptop: 0.0013", least=0)
    weight_average: float | None = setting(
        "share that a moving average of the weights, which is what is tested, keeps in each step",
        "none; laptop: 0.98",
        least=0,
        most=0.9999,
    )
    alternate_flips: bool | None = setting(
        "flip half of the images in one epoch and the others in the next; with the standard augmentation alone",
        "no; laptop: yes",
    )
    image_size: int | None = setting("resize images to this side in pixels", "unchanged; people: depends on --scale", 8)
    classes: str | None = setting("use only the classes that match these patterns", "all")


@dataclass(frozen=True)
class OnImages(Optimised):
    """The settings of the commands ``bank`` and ``copies``, whose images are sorted into classes."""

    train_size: int | None = setting("number of training images", "depends on --scale", least=1)
    crop: int | None = setting("first cut out the central square of this side in pixels", "the largest", least=8)
    first_classes: int | None = setting("use only this many classes, from the first on", "all", least=2)
    map: Path | None = setting('a TOML file with lines "class" = "new name"', "none")
    protect_classes: str | None = setting("protect only the classes that match these patterns", "all")
    poison_rate: float | None = setting("share of each protected class's images that get noise", "1", 0, 1)
    keep: Literal["all", "clean", "protected"] | None = setting(
        "clean: train without the protected images; protected: train on these alone", "all"
    )
    trigger: bool | None = setting("also test clean images to which another class's noise is applied", "no")
    trip: str | None = setting("what happens to photos before training, as --trip of 'evaluate copies'", "none")
    views: int | None = setting("random crops of each training photo; needs a trip", "1", least=1)


@dataclass(frozen=True)
class OnPeople(Optimised):
    """The settings of the command ``people``."""

    views: int | None = setting("random crops of each training photo", "3", least=1)
    poison_rate: float | None = setting("share of each protected person's photos that get noise", "1", 0, 1)
    key_seed: int | None = setting("random seed of the protected people's keys", "0")
    one_key: bool | None = setting("give all protected people the same key", "no")
    form: Form | None = setting("make noise for each photo, as protect --form sample-wise does", "class-wise")
    fit: Path | None = setting(
        "folder of other photos of the same people; fit each one's pattern to them, as --preset personal does", "none"
    )
