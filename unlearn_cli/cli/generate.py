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
from unlearn_cli.cli.console import duration, err, exits, plain, progress_bar, refuse_given

if TYPE_CHECKING:
    from unlearn_cli.noise.events import Event, Finished
    from unlearn_cli.noise.settings import NoiseSettings
    from unlearn_cli.victims.datasets import ImageSet

PATCH_SIZES = (8, 16, 24, 32)


@exits()
def generate(
    context: typer.Context,
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
    dataset_name: Annotated[
        str | None, typer.Option(help="What a folder's images are called in the provenance.")
    ] = None,
    licence: Annotated[str | None, typer.Option(help="The terms of a folder's images, for the provenance.")] = None,
    family: Annotated[
        str | None,
        typer.Option(help="One category that all classes are instances of.  [default: person with --frame face]"),
    ] = None,
    method: Annotated[
        Literal["error-min", "error-max", "random", "lsp", "ar"] | None,
        typer.Option(help="How noise is made; all but error-min are there to compare with.  [default: error-min]"),
    ] = None,
    form: Annotated[
        Literal["class-wise", "sample-wise"] | None,
        typer.Option(help="A pattern for each class, or for each training image.  [default: class-wise]"),
    ] = None,
    patch: Annotated[
        int | None, typer.Option(help="Confine the noise to a square of 8, 16, 24 or 32 pixels at a random place.")
    ] = None,
    mix: Annotated[
        str | None, typer.Option(metavar="A,B", help="Make no noise, but a mixture of these banks: one for each image.")
    ] = None,
    add_uniform: Annotated[
        int | None, typer.Option(min=1, max=127, help="With --mix: add random noise up to so many levels.")
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
    joint: Annotated[
        bool, typer.Option("--joint", help="Let noise and surrogate descend together; an iteration is then an epoch.")
    ] = False,
    rounds: Annotated[int | None, typer.Option(min=1, help="--joint: fresh surrogates in turn.  [default: 4]")] = None,
    clean_classes: Annotated[
        float | None,
        typer.Option(min=0, max=0.99, help="--joint: the share of classes, the last ones, without noise"),
    ] = None,
    visibility: Annotated[
        float | None,
        typer.Option(min=0.0, help="--joint: how visible the noise may be, 0 to 1.  [default: as the bound allows]"),
    ] = None,
    frame: Annotated[
        Literal["image", "face"] | None,
        typer.Option(help="face: make it on faces, and lay it on them.  [default: image]"),
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
    solver: Annotated[
        Literal["pgd", "fgsm", "adam", "lbfgs", "cw"] | None,
        typer.Option(help="Of the inner problem: adam and lbfgs on the penalty form, cw: margin loss.  [default: pgd]"),
    ] = None,
    epsilon: Annotated[
        int | None, typer.Option(min=1, max=127, help="Bound of the noise, in levels of 255.  [default: 8]")
    ] = None,
    step_size: Annotated[
        float | None, typer.Option(min=0.01, help="Of the noise, in levels.  [default: epsilon / 10; the solver's]")
    ] = None,
    noise_steps: Annotated[
        int | None,
        typer.Option(min=1, help="Noise steps on each batch (T).  [default: 1; sample-wise 20; penalty form 200]"),
    ] = None,
    penalty: Annotated[
        float | None, typer.Option(min=0.0, help="Weight of the loss in the penalty form (c).  [default: 1]")
    ] = None,
    surrogate_steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps before each pass of the noise (M).  [default: 10]")
    ] = None,
    surrogate_on: Annotated[
        Literal["all", "noise-images"] | None,
        typer.Option(help="Train the surrogate on all images or on those of --noise-share only.  [default: all]"),
    ] = None,
    surrogate_epochs: Annotated[
        int | None, typer.Option(min=1, help="error-max: epochs of clean training first.  [default: 20]")
    ] = None,
    noise_share: Annotated[
        float | None,
        typer.Option(min=0.001, max=1, help="Part of the images that class-wise noise is made on.  [default: 0.2]"),
    ] = None,
    stop_error: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Stop below this error rate (lambda).  [default: 0.1; sample-wise 0.01; error-max 0.8]"
        ),
    ] = None,
    max_iterations: Annotated[
        int | None, typer.Option(min=1, help="Stop after this many iterations in any case.  [default: 100]")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many iterations without a better error.  [default: 20]")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=2, help="Images of a step.  [default: 128]")] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0.0, help="Of the surrogate.  [default: 0.1]")] = None,
    momentum: Annotated[float | None, typer.Option(min=0.0, help="Of the surrogate.  [default: 0.9]")] = None,
    weight_decay: Annotated[float | None, typer.Option(min=0.0, help="Of the surrogate.  [default: 0.0005]")] = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same noise, on a CPU to the bit.")] = 0,
    device: options.Device = None,
    precision: Annotated[
        Literal["fp32", "bf16"] | None,
        typer.Option(help="Of the networks' arithmetic.  [default: bf16 on CUDA, else fp32]"),
    ] = None,
    compile_: Annotated[
        bool, typer.Option("--compile", help="Compile the networks first: a minute that pays in long searches.")
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

    if mix is not None:
        refuse_given(context, "--mix makes no noise", allowed=("mix", "add_uniform", "output", "overwrite"))
        bank_file.mix(bank_file.path(output, "mixture", overwrite), mix, add_uniform or 0)
        return
    if add_uniform is not None:
        raise UsageError("--add-uniform belongs to --mix.")
    source = dataset or _dataset_of(preset)
    if source is None:
        raise UsageError("Say what to make noise on: --dataset cifar10, or --dataset folder:PATH.")
    if patch is not None and patch not in PATCH_SIZES:
        raise UsageError("--patch takes 8, 16, 24 or 32 pixels.")
    path = bank_file.path(output, Path(source.removeprefix("folder:")).resolve().name, overwrite)
    spec = options.dataset_spec(
        source,
        data_dir,
        download,
        image_size,
        crop,
        classes,
        dataset_name,
        licence,
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
    said = {
        "method": method,
        "form": form,
        "patch": patch,
        "surrogate": surrogate,
        "through": through,
        "solver": solver,
        "epsilon": epsilon,
        "step_size": step_size,
        "noise_steps": noise_steps,
        "penalty": penalty,
        "surrogate_steps": surrogate_steps,
        "surrogate_on": surrogate_on,
        "surrogate_epochs": surrogate_epochs,
        "noise_share": noise_share,
        "stop_error": stop_error,
        "max_iterations": max_iterations,
        "patience": patience,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "momentum": momentum,
        "weight_decay": weight_decay,
        "precision": precision,
        "frame": frame,
        "joint": joint or None,
        "rounds": rounds,
        "clean_classes": clean_classes,
        "visibility": visibility,
    }
    fitting: dict[str, Any] = {
        "surrogate": "resnet10-w16" if small else "resnet18",
        "precision": "bf16" if where.type == "cuda" else "fp32",
    }
    preset_values = dict(PRESETS[preset]) if preset else {}
    if visibility is not None:
        preset_values.pop("strength", None)  # It is the name of the preset's own.
    chosen = fitting | preset_values | {key: value for key, value in said.items() if value is not None}
    settings = NoiseSettings(**chosen, compile=compile_, seed=seed)
    if settings.frame == "face":
        spec = face_squares(spec, SPAN)
    Through(settings.through)  # What is wrong with it is told before a dataset is read.
    # Noise for each image is for a training set that somebody will train on: none of its test images.
    split: Literal["train", "all"] = "train" if settings.form == "sample-wise" else "all"
    leads = workers.rank == 0
    if not leads:
        workers.wait()  # The first fetches the dataset, if it is to be fetched.
    data = load_dataset(spec, split).first(train_size or (options.CPU_IMAGES if small and preset is None else None))
    if leads:
        workers.wait()
        _tell_idle(settings, [name for name, value in said.items() if value is not None])
    _check_size(data, settings)
    finished = _watch(
        make_noise(data, settings, where, workers=workers, checkpoint=checkpoint),
        f"{len(data)} images of {len(data.classes)} classes at {data.size} px, {settings.surrogate} on "
        f"{workers.count} x {where.type}",
        settings,
        as_json=as_json and leads,
        hidden=not leads,
    )
    if leads:
        provenance = provenance_of(
            data, settings, spec.crop, family or ("person" if settings.frame == "face" else None)
        )
        bank_file.save(path, finished, provenance, settings, where, as_json=as_json)
    leave_workers()


def _dataset_of(preset: str | None) -> str | None:
    name = (preset or "").removeprefix("paper-")
    return name if name in ("cifar10", "cifar100", "svhn", "imagenet") else None


def _tell_idle(settings: NoiseSettings, said: list[str]) -> None:
    """Name the options that were given and decide nothing."""
    from unlearn_cli.noise.settings import SEARCHED

    idle = [f"--{name.replace('_', '-')}" for name in said if settings.idle(name)]
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
