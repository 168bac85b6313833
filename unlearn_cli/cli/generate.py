"""``unlearn generate``: make a noise bank."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from unlearn_cli.banks.provenance import Form
from unlearn_cli.cli import dataset_options as options
from unlearn_cli.cli.console import (
    SECONDS_A_LONG_LINE,
    Lines,
    command_line,
    duration,
    err,
    exits,
    out,
    plain,
    progress_bar,
)
from unlearn_cli.cli.generate_personal import Chosen, personal
from unlearn_cli.cli.hyperparameters import Hyperparameters
from unlearn_cli.cli.set_option import MOST_SEED, listing, read_settings

if TYPE_CHECKING:
    from unlearn_cli.noise.bank_file import BankWritten
    from unlearn_cli.noise.events import Event
    from unlearn_cli.noise.settings import NoiseSettings
    from unlearn_cli.training.datasets import DatasetSpec, ImageSet
    from unlearn_cli.training.workers import Workers

PATCH_SIZES = (8, 16, 24, 32)


EXAMPLES = """\
unlearn generate --dataset folder:pets --image-size 64 -o pets.safetensors
unlearn generate --preset personal selfies -o me.safetensors"""


@exits()
def generate(
    photos: Annotated[
        Path | None, typer.Argument(metavar="[PHOTOS]", help="Folder of photos of one person, for --preset personal.")
    ] = None,
    dataset: options.OptionalDataset = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write the bank to.  [default: NAME.safetensors]"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing bank.")] = False,
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
        typer.Option(
            help="How the noise is made. Only error-min protects; the others are for comparison.  [default: error-min]"
        ),
    ] = None,
    form: Annotated[
        Form | None,
        typer.Option(help="A pattern for each class, or one for each training image.  [default: class-wise]"),
    ] = None,
    preset: Annotated[
        Literal[
            "person",
            "person-low",
            "person-high",
            "person-max",
            "personal",
            "photos",
            "paper-cifar10",
            "paper-cifar100",
            "paper-svhn",
            "paper-imagenet",
            "paper-face",
        ]
        | None,
        typer.Option(
            help="A set of values. person: patterns for people among many (-low is less visible, -high and -max are "
            "more); personal: your own pattern, fitted to a folder of your photos; photos: patterns for what photos "
            "show; paper-...: the paper's values for a dataset. "
            "Options take precedence."
        ),
    ] = None,
    surrogate: Annotated[
        str | None,
        typer.Option(
            help="Networks that the noise is made on, by commas: resnet18, vgg11, resnet10-w16, vgg11-w16, fast, "
            "fast-w32, timm:NAME, or a classifier of torchvision.  "
            "[default: resnet18; on a CPU resnet10-w16]"
        ),
    ] = None,
    through: Annotated[
        str | None,
        typer.Option(
            help="Random transformations that the noise is optimised through: none, augment, photo, or a chain such as "
            "flip+shift+crop+scale+blur+gray+color+jpeg:50-95+resize:50-100.  [default: augment]"
        ),
    ] = None,
    epsilon: Annotated[
        int | None, typer.Option(min=1, max=127, help="Bound of the noise, in pixel levels (0..255).  [default: 8]")
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(help="For --preset personal: file with the secret key whose pattern the search begins with."),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=MOST_SEED, help="Random seed; on a CPU the same seed makes identical noise.")
    ] = 0,
    device: options.Device = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Set a hyper-parameter; may be given several times (see --list-settings).",
        ),
    ] = None,
    list_settings: Annotated[
        bool, typer.Option("--list-settings", help="List the hyper-parameters with their defaults, and exit.")
    ] = False,
    checkpoint: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for checkpoints; an interrupted search continues from them."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each event as a line of JSON.")] = False,
) -> None:
    """Make a bank of error-minimizing noise (Huang et al., ICLR 2021), or of other noise to compare it with.

    The command also writes the bank's card and the surrogate network, with which 'unlearn protect --form sample-wise'
    makes noise for each photo. To share the work among devices, start it with
    'torchrun --nproc-per-node N -m unlearn_cli generate'.
    """
    from unlearn_cli.banks.catalog import check_output
    from unlearn_cli.errors import UsageError

    if list_settings:
        _list_settings()
        return
    if photos is not None or preset == "personal":
        own = Chosen(epsilon=epsilon, key_file=key_file, device=device, seed=seed)
        personal(photos if preset == "personal" else None, output, own, overwrite=overwrite, as_json=as_json)
        return
    hyper = read_settings(Hyperparameters, settings or ())
    source = dataset or _dataset_of(preset)
    if source is None:
        raise UsageError(
            "No dataset was chosen. Name the images to make noise for: --dataset cifar10, or --dataset folder:PATH."
        )
    if hyper.patch is not None and hyper.patch not in PATCH_SIZES:
        raise UsageError("The setting patch must be 8, 16, 24 or 32 (pixels).")
    path = output or Path(f"{Path(source.removeprefix('folder:')).resolve().name}.safetensors")
    check_output(path, overwrite=overwrite)
    spec = options.dataset_spec(
        source,
        map_file,
        data_dir=data_dir,
        download=download,
        image_size=image_size,
        crop=crop,
        classes=options.patterns(classes),
        name=hyper.dataset_name,
        licence=hyper.licence,
        first_classes=first_classes or (100 if preset == "paper-imagenet" else None),
    )
    from unlearn_cli.noise.bank_file import Origin, make_bank
    from unlearn_cli.noise.presets import PRESETS, settings_for
    from unlearn_cli.noise.settings import without_use
    from unlearn_cli.training.workers import join_workers, leave_workers

    workers, where = join_workers(device)
    said: dict[str, Any] = {"method": method, "form": form, "surrogate": surrogate, "through": through}
    said |= {"epsilon": epsilon, **hyper.of_noise()}
    said = {name: value for name, value in said.items() if value is not None}
    idle = without_use(said, fitting=PRESETS[preset] if preset else {})
    chosen = settings_for(where.type, preset, {name: said[name] for name in said if name not in idle}, seed)
    few = options.CPU_IMAGES if where.type == "cpu" and preset is None else None
    data = _load(spec, chosen, train_size or few, workers)
    if leads := workers.rank == 0:
        _tell_idle(chosen, [name for name in said if name in idle or name in chosen.unused])
    origin = Origin(command_line(), crop, hyper.family or ("person" if chosen.frame == "face" else None))
    events = make_bank(path, data, chosen, where, origin, workers=workers, checkpoint=checkpoint)
    what = _what(data, chosen, f"{workers.count} x {where.type}")
    written = _watch(events, what, as_json=as_json and leads, hidden=not leads)
    if written is not None:
        _tell_written(written, as_json=as_json)
    leave_workers()


def _load(spec: DatasetSpec, settings: NoiseSettings, size: int | None, workers: Workers) -> ImageSet:
    """Return the images to make noise for; of several workers only the first downloads them, if that is asked for."""
    from unlearn_cli.banks.provenance import SPAN
    from unlearn_cli.noise.settings import Searched
    from unlearn_cli.noise.transforms import Through
    from unlearn_cli.training.datasets import face_squares, load_dataset

    if settings.frame == "face":
        spec = face_squares(spec, SPAN)
    if isinstance(settings, Searched):
        Through(settings.through)  # This reports errors in it before a dataset is read, which takes long.
    if workers.rank > 0:
        workers.wait()
    # Sample-wise noise is made for images that somebody will train on, so test images are left out.
    data = load_dataset(spec, "train" if settings.form == "sample-wise" else "all").first(size)
    if workers.rank == 0:
        workers.wait()
    return data


def _tell_written(written: BankWritten, *, as_json: bool) -> None:
    from unlearn_cli.cli.measured import warnings_of

    made = written.made
    if as_json:
        told = {"event": "finished", "bank": str(written.path), "sha256": written.sha256}
        typer.echo(json.dumps(told | dataclasses.asdict(made)))
    else:
        searched = made.error is not None
        after = f" after {made.iterations} iterations" if searched else ""
        how = f", error rate {made.error:.3f} (search ended: {made.stop})" if searched else ""
        took = duration(made.seconds or 0)
        out().print(f"Wrote {plain(str(written.path))}: {written.patterns} patterns{after} in {took}{how}.")
    for warning in warnings_of(written.provenance, made):
        err().print(f"{warning} Measure it with 'unlearn evaluate'.")


def _list_settings() -> None:
    from rich.table import Table

    table = Table(title="Settings for --set NAME=VALUE, by default for CIFAR-10")
    for column in ("name", "default", "meaning"):
        table.add_column(column, overflow="fold")
    for row in listing(Hyperparameters):
        table.add_row(*map(plain, row))
    out().print(table)


def _dataset_of(preset: str | None) -> str | None:
    name = (preset or "").removeprefix("paper-")
    return name if name in ("cifar10", "cifar100", "svhn", "imagenet") else None


def _tell_idle(settings: NoiseSettings, idle: list[str]) -> None:
    """Print the given options that have no effect."""
    from unlearn_cli.noise.settings import Alternating

    if idle:
        by = f" with the solver {settings.solver}" if isinstance(settings, Alternating) else ""
        names = ", ".join(name.replace("_", "-") for name in idle)
        err().print(f"Ignored, because they have no effect on {settings.form} {settings.method} noise{by}: {names}.")


def _what(data: ImageSet, settings: NoiseSettings, device: str) -> str:
    """Return what is searched on, for the line before the search."""
    surrogate = getattr(settings, "surrogate", None)
    return f"{len(data)} images of {len(data.classes)} classes at {data.size} px, {surrogate} on {device}"


def _watch(events: Iterator[Event | BankWritten], what: str, *, as_json: bool, hidden: bool) -> BankWritten | None:
    """Show the events of a search, and return the last one; None on all workers but the first, which have no last."""
    from unlearn_cli.noise.bank_file import BankWritten
    from unlearn_cli.noise.events import Estimated, Improving, Iterated, Resumed, SurrogateEpoch

    lines = Lines(SECONDS_A_LONG_LINE, hidden=hidden)
    with progress_bar(hidden=hidden) as bar:
        row = bar.add_task("Searching", total=None, detail="")
        for event in events:
            if isinstance(event, BankWritten):
                return event
            if as_json:
                known = {key: value for key, value in dataclasses.asdict(event).items() if value is not None}
                told = {"event": type(event).__name__.lower(), **known}
                typer.echo(json.dumps(told, default=str))
            if isinstance(event, Estimated) and not hidden:
                likely = f"about {duration(event.likely)}, " if event.likely < event.seconds else ""
                bar.console.print(f"{what}: {likely}at most about {duration(event.seconds)}.")
            elif isinstance(event, Resumed) and not hidden:
                bar.console.print(
                    f"Continuing from the checkpoint {plain(str(event.path))}, after iteration {event.iteration}."
                )
            elif isinstance(event, SurrogateEpoch):
                detail = f"training the surrogate: error rate {event.error:.3f}"
                bar.update(row, total=event.epochs, completed=event.epoch, detail=detail)
                lines.tell(f"{detail} after epoch {event.epoch} of {event.epochs}")
            elif isinstance(event, Improving):
                detail = f"{event.share:.0%} of iteration {event.iteration}"
                bar.update(row, total=event.max_iterations, completed=event.iteration - 1 + event.share, detail=detail)
                lines.tell(f"{detail} of at most {event.max_iterations}")
            elif isinstance(event, Iterated):
                detail = f"error rate {event.error:.3f}"
                detail += f", visibility {event.visibility:.3f}" if event.visibility is not None else ""
                bar.update(row, total=event.max_iterations, completed=event.iteration, detail=detail)
                lines.tell(f"{detail} after iteration {event.iteration} of at most {event.max_iterations}")
    return None
