"""``unlearn generate``: make a noise bank."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from unlearn_cli.cli import bank_file
from unlearn_cli.cli import dataset as options
from unlearn_cli.cli.console import duration, err, exits, out, plain, progress_bar
from unlearn_cli.cli.hyperparameters import OF_PROVENANCE, Hyperparameters
from unlearn_cli.cli.settings import listing, read_settings

if TYPE_CHECKING:
    from unlearn_cli.noise.events import Event, Finished
    from unlearn_cli.noise.settings import NoiseSettings
    from unlearn_cli.victims.datasets import ImageSet

PATCH_SIZES = (8, 16, 24, 32)


@exits()
def generate(
    dataset: options.OptionalDataset = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The bank to write.  [default: NAME.safetensors]")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bank that is already there.")] = False,
    data_dir: options.DataDir = None,
    download: options.Download = False,
    image_size: options.ImageSize = None,
    crop: options.Crop = None,
    classes: options.Classes = None,
    first_classes: options.FirstClasses = None,
    map_file: options.ClassMap = None,
    train_size: options.TrainSize = None,
    method: Annotated[
        Literal["error-min", "error-max", "random", "lsp", "ar"] | None,
        typer.Option(help="How noise is made; all but error-min are there to compare with.  [default: error-min]"),
    ] = None,
    form: Annotated[
        Literal["class-wise", "sample-wise"] | None,
        typer.Option(help="A pattern for each class, or for each training image.  [default: class-wise]"),
    ] = None,
    preset: Annotated[
        Literal[
            "person",
            "person-low",
            "person-high",
            "photos",
            "paper-cifar10",
            "paper-cifar100",
            "paper-svhn",
            "paper-imagenet",
            "paper-face",
        ]
        | None,
        typer.Option(
            help="person: patterns for people among many; -low and -high are less and more visible. photos: for what "
            "photos show. paper-...: the paper's values for a dataset, plain noise included. Options go before them."
        ),
    ] = None,
    surrogate: Annotated[
        str | None,
        typer.Option(
            help="resnet18, vgg11, resnet10-w16, vgg11-w16, a classifier of torchvision's, or several, by commas.  "
            "[default: resnet18; on a CPU resnet10-w16]"
        ),
    ] = None,
    through: Annotated[
        str | None,
        typer.Option(
            help="What the noise is optimised through: none, augment, photo, or a chain such as "
            "flip+shift+crop+scale+blur+gray+color+jpeg:50-95+resize:50-100.  [default: augment]"
        ),
    ] = None,
    epsilon: Annotated[
        int | None, typer.Option(min=1, max=127, help="Bound of the noise, in levels of 255.  [default: 8]")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same noise, on a CPU to the bit.")] = 0,
    device: options.Device = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Set a hyper-parameter; may be given several times."),
    ] = None,
    list_settings: Annotated[
        bool, typer.Option("--list-settings", help="List the hyper-parameters with their defaults, and leave.")
    ] = False,
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep the search here, and go on with the one that is there.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each event as a line of JSON.")] = False,
) -> None:
    """Make a noise bank: error-minimizing noise (Huang et al., ICLR 2021), or noise to compare it with.

    Beside the bank go its card and the surrogate, with which 'unlearn protect --form sample-wise' makes noise for
    each photo. Start it with 'torchrun --nproc-per-node N -m unlearn_cli generate' to share the work among devices.
    """
    from unlearn_cli.errors import UsageError

    if list_settings:
        _list_settings()
        return
    hyper = read_settings(Hyperparameters, settings or ())
    source = dataset or _dataset_of(preset)
    if source is None:
        raise UsageError("Say what to make noise on: --dataset cifar10, or --dataset folder:PATH.")
    if hyper.patch is not None and hyper.patch not in PATCH_SIZES:
        raise UsageError("The setting patch takes 8, 16, 24 or 32 pixels.")
    path = bank_file.path(output, Path(source.removeprefix("folder:")).resolve().name, overwrite)
    spec = options.dataset_spec(
        source,
        data_dir,
        download,
        image_size,
        crop,
        classes,
        hyper.dataset_name,
        hyper.licence,
        first_classes=first_classes or (100 if preset == "paper-imagenet" else None),
        map_file=map_file,
    )
    from unlearn_cli.banks.provenance import SPAN
    from unlearn_cli.noise.bank_file import provenance_of
    from unlearn_cli.noise.make import make_noise
    from unlearn_cli.noise.settings import PRESETS, NoiseSettings
    from unlearn_cli.noise.transforms import Through
    from unlearn_cli.victims.datasets import face_squares, load_dataset
    from unlearn_cli.victims.workers import join_workers, leave_workers

    workers, where = join_workers(device)
    small = where.type == "cpu"
    said: dict[str, Any] = {
        "method": method,
        "form": form,
        "surrogate": surrogate,
        "through": through,
        "epsilon": epsilon,
        **{name: value for name, value in hyper.said().items() if name not in OF_PROVENANCE},
    }
    fitting: dict[str, Any] = {
        "surrogate": "resnet10-w16" if small else "resnet18",
        "precision": "bf16" if where.type == "cuda" else "fp32",
    }
    preset_values = dict(PRESETS[preset]) if preset else {}
    if hyper.visibility is not None:
        preset_values.pop("strength", None)  # It names the preset's own visibility, which this replaces.
    chosen = fitting | preset_values | {key: value for key, value in said.items() if value is not None}
    chosen_settings = NoiseSettings(**chosen, seed=seed)
    if chosen_settings.frame == "face":
        spec = face_squares(spec, SPAN)
    Through(chosen_settings.through)  # Raises an error in it before the dataset is read.
    # Sample-wise noise protects a training set, so it needs none of the test images.
    split: Literal["train", "all"] = "train" if chosen_settings.form == "sample-wise" else "all"
    leads = workers.rank == 0
    if not leads:
        workers.wait()  # The first worker downloads the dataset, if that was asked for.
    data = load_dataset(spec, split).first(train_size or (options.CPU_IMAGES if small and preset is None else None))
    if leads:
        workers.wait()
        _tell_idle(chosen_settings, [name for name, value in said.items() if value is not None])
    _check_size(data, chosen_settings)
    finished = _watch(
        make_noise(data, chosen_settings, where, workers=workers, checkpoint=checkpoint),
        f"{len(data)} images of {len(data.classes)} classes at {data.size} px, {chosen_settings.surrogate} on "
        f"{workers.count} x {where.type}",
        chosen_settings,
        as_json=as_json and leads,
        hidden=not leads,
    )
    if leads:
        provenance = provenance_of(
            data, chosen_settings, spec.crop, hyper.family or ("person" if chosen_settings.frame == "face" else None)
        )
        bank_file.save(path, finished, provenance, chosen_settings, where, as_json=as_json)
    leave_workers()


def _list_settings() -> None:
    from rich.table import Table

    table = Table(title="--set NAME=VALUE; the defaults are the paper's for CIFAR-10, section 4.1")
    for column in ("name", "default", "what it is"):
        table.add_column(column, overflow="fold")
    for row in listing(Hyperparameters):
        table.add_row(*map(plain, row))
    out().print(table)


def _dataset_of(preset: str | None) -> str | None:
    name = (preset or "").removeprefix("paper-")
    return name if name in ("cifar10", "cifar100", "svhn", "imagenet") else None


def _tell_idle(settings: NoiseSettings, said: list[str]) -> None:
    """Print the given options that have no effect."""
    from unlearn_cli.noise.settings import SEARCHED

    idle = [name.replace("_", "-") for name in said if settings.idle(name)]
    if idle:
        by = f" by {settings.solver}" if settings.method in SEARCHED else ""
        err().print(f"{', '.join(idle)}: of no effect on {settings.form} {settings.method} noise{by}.")


def _check_size(data: ImageSet, settings: NoiseSettings) -> None:
    from unlearn_cli.banks.bank import MAX_BYTES
    from unlearn_cli.errors import UsageError

    size = len(data) * 3 * (settings.patch or data.size) ** 2
    if settings.form == "sample-wise" and size > MAX_BYTES:
        raise UsageError(
            f"Noise for each of {len(data)} images would be {size / 2**30:.1f} GiB, and a bank holds at most "
            f"{MAX_BYTES >> 30}. Use --train-size, or --form class-wise."
        )


def _watch(events: Iterator[Event], what: str, settings: NoiseSettings, *, as_json: bool, hidden: bool) -> Finished:
    from unlearn_cli.noise.events import Estimated, Finished, Iterated, Resumed, SurrogateEpoch

    with progress_bar(hidden=hidden) as bar:
        row = bar.add_task("Searching", total=settings.max_iterations, detail="")
        for event in events:
            if isinstance(event, Finished):
                return event
            if as_json:
                known = {key: value for key, value in dataclasses.asdict(event).items() if value is not None}
                told = {"event": type(event).__name__.lower(), **known}
                typer.echo(json.dumps(told, default=str))
            if isinstance(event, Estimated) and not hidden:
                bar.console.print(f"{what}: about {duration(event.seconds)} at most.")
            elif isinstance(event, Resumed) and not hidden:
                bar.console.print(f"Going on from {plain(str(event.path))} after iteration {event.iteration}.")
            elif isinstance(event, SurrogateEpoch):
                detail = f"training the surrogate: error rate {event.error:.3f}"
                bar.update(row, total=event.epochs, completed=event.epoch, detail=detail)
            elif isinstance(event, Iterated):
                detail = f"error rate {event.error:.3f}"
                detail += f", visibility {event.visibility:.3f}" if event.visibility is not None else ""
                bar.update(row, total=event.max_iterations, completed=event.iteration, detail=detail)
    raise AssertionError("make_noise ends with Finished")
