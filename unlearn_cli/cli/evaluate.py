"""``unlearn evaluate``: train on protected images, test on clean ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from unlearn_cli.cli import dataset as options
from unlearn_cli.cli.console import command_line, duration, err, exits, out, plain, progress_bar

if TYPE_CHECKING:
    from unlearn_cli.evaluation.compare import ArmEpoch, Compared


@dataclass(frozen=True)
class Scale:
    """How large an evaluation is where the user does not say."""

    model: str
    train_size: int | None
    epochs: int


SCALES = {"paper": Scale("resnet18", None, 60), "cpu": Scale("resnet10-w16", options.CPU_IMAGES, 12)}


@exits()
def evaluate(
    bank: Annotated[str, typer.Option(help="A shipped bank's name or a .safetensors file.")],
    dataset: options.Dataset = "cifar10",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The folder for report.json and the checkpoints.")
    ] = Path("unlearn-evaluation"),
    data_dir: options.DataDir = None,
    download: options.Download = False,
    image_size: options.ImageSize = None,
    crop: options.Crop = None,
    classes: options.Classes = None,
    first_classes: options.FirstClasses = None,
    map_file: options.ClassMap = None,
    form: Annotated[
        Literal["class-wise", "sample-wise"] | None,
        typer.Option(help="sample-wise: make noise for each image with the bank's surrogate, as protect does."),
    ] = None,
    scale: Annotated[
        Literal["paper", "cpu"] | None,
        typer.Option(
            help="paper: resnet18, all images, 60 epochs; cpu: resnet10-w16, 10000 images, 12 epochs.  "
            "[default: cpu on a CPU, else paper]"
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The victim: resnet18 or resnet10-w16.  [default: the scale's]")
    ] = None,
    train_size: Annotated[int | None, typer.Option(min=1, help="Training images.  [default: the scale's]")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of each training.  [default: the scale's]")] = None,
    batch_size: Annotated[int, typer.Option(min=2)] = 128,
    learning_rate: Annotated[float, typer.Option(min=0.0, help="At the start; it follows a cosine to zero.")] = 0.1,
    augment: Annotated[
        bool, typer.Option("--augment/--no-augment", help="Random flips and shifts, as victims train with.")
    ] = True,
    seed: Annotated[int, typer.Option(help="Of both trainings.")] = 0,
    device: options.Device = None,
    record: Annotated[bool, typer.Option("--record", help="Add the figures to the card beside the bank.")] = False,
) -> None:
    """Measure a bank: train one victim on clean and one on protected images, test both on clean.

    SGD with momentum 0.9, weight decay 5e-4 and a cosine schedule, as the paper has it. Run the
    same command again after an interruption and it goes on at its last finished epoch.
    """
    from unlearn_cli.banks.catalog import open_bank

    noise = open_bank(bank)  # before PyTorch is loaded, which takes seconds
    from unlearn_cli.banks.card import add_result
    from unlearn_cli.evaluation.compare import compare, estimate_seconds
    from unlearn_cli.victims.datasets import load_dataset
    from unlearn_cli.victims.devices import pick_device
    from unlearn_cli.victims.train import TrainingSettings

    where = pick_device(device)
    sizes = SCALES[scale or ("cpu" if where.type == "cpu" else "paper")]
    spec = options.dataset_spec(
        dataset, data_dir, download, image_size, crop, classes, first_classes=first_classes, map_file=map_file
    )
    train = load_dataset(spec, "train").first(train_size or sizes.train_size)
    test = load_dataset(spec, "test")
    settings = TrainingSettings(
        model=model or sizes.model,
        epochs=epochs or sizes.epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        augment=augment,
        seed=seed,
    )
    err().print(
        f"Two trainings of {settings.model} on {where.type}: {len(train)} images, {settings.epochs} epochs each, "
        f"about {duration(estimate_seconds(train, test, settings, where))}."
    )
    result = _watch(compare(noise, train, test, settings, output, where, command_line(), form), 2 * settings.epochs)
    _print_result(result)
    if record:
        add_result(noise.path, noise.sha256, {"sentence": result.sentence, **result.report})


def _watch(events: Iterator[ArmEpoch | Compared], epochs: int) -> Compared:
    from unlearn_cli.evaluation.compare import Compared

    with progress_bar() as bar:
        row = bar.add_task("Training", total=epochs, detail="")
        for event in events:
            if isinstance(event, Compared):
                return event
            bar.update(row, advance=1, detail=f"{event.arm}: clean accuracy {event.ended.clean_accuracy:.3f}")
    raise AssertionError("compare ends with Compared")


def _print_result(result: Compared) -> None:
    from rich.table import Table

    table = Table("trained on", "final", "peak", "on its training images", title="Accuracy on clean test images")
    for arm, of in (("clean", result.clean), ("protected", result.protected)):
        table.add_row(arm, f"{of.final:.1%}", f"{of.peak:.1%}", f"{of.train_final:.1%}")
    out().print(table)
    out().print(f"One seed. Report: {plain(str(result.path))}")
