"""``unlearn generate``: make a noise bank."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from unlearn_cli.cli import dataset as options
from unlearn_cli.cli.console import command_line, duration, err, exits, out, plain, progress_bar

if TYPE_CHECKING:
    import torch

    from unlearn_cli.banks.provenance import Provenance
    from unlearn_cli.noise.error_min import ErrorMinSettings, Finished
    from unlearn_cli.victims.datasets import ImageSet


@exits()
def generate(
    dataset: options.Dataset,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The bank to write.  [default: NAME.safetensors]")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bank that is already there.")] = False,
    data_dir: options.DataDir = None,
    download: options.Download = False,
    image_size: options.ImageSize = None,
    crop: options.Crop = None,
    classes: options.Classes = None,
    train_size: options.TrainSize = None,
    dataset_name: Annotated[
        str | None, typer.Option(help="What a folder's images are called in the provenance.")
    ] = None,
    licence: Annotated[str | None, typer.Option(help="The terms of a folder's images, for the provenance.")] = None,
    family: Annotated[
        str | None, typer.Option(help="One category that all classes are instances of, such as 'person'.")
    ] = None,
    surrogate: Annotated[
        str | None, typer.Option(help="resnet18 or resnet10-w16.  [default: resnet18; on a CPU resnet10-w16]")
    ] = None,
    through: Annotated[
        Literal["augment", "none"],
        typer.Option(help="What the noise is optimised through: augment (flips and shifts) or none (as published)."),
    ] = "augment",
    epsilon: Annotated[int, typer.Option(min=1, max=127, help="Bound of the noise, in levels of 255.")] = 8,
    step_size: Annotated[
        float | None, typer.Option(min=0.01, help="Of the noise, in levels.  [default: epsilon / 10]")
    ] = None,
    surrogate_steps: Annotated[int, typer.Option(min=1, help="Training steps before each pass of the noise (M).")] = 10,
    noise_share: Annotated[
        float, typer.Option(min=0.001, max=1, help="Part of the images that noise is made on.")
    ] = 0.2,
    stop_error: Annotated[float, typer.Option(min=0, max=1, help="Stop below this error rate (lambda).")] = 0.1,
    max_iterations: Annotated[int, typer.Option(min=1, help="Stop after this many iterations in any case.")] = 100,
    batch_size: Annotated[int, typer.Option(min=2)] = 128,
    learning_rate: Annotated[float, typer.Option(min=0.0, help="Of the surrogate.")] = 0.1,
    seed: Annotated[int, typer.Option(help="The same seed makes the same noise, on a CPU to the bit.")] = 0,
    device: options.Device = None,
) -> None:
    """Make a noise bank: class-wise error-minimizing noise (Huang et al., ICLR 2021)."""
    from unlearn_cli.errors import UsageError

    path = output or Path(f"{Path(dataset.removeprefix('folder:')).resolve().name}.safetensors")
    if path.suffix != ".safetensors":
        raise UsageError(f"A bank is a .safetensors file: name it {path.with_suffix('.safetensors')}.")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} is already there. Name another --output, or add --overwrite.")
    from unlearn_cli.noise.error_min import ErrorMinSettings
    from unlearn_cli.victims.datasets import load_dataset
    from unlearn_cli.victims.devices import pick_device

    where = pick_device(device)
    small = where.type == "cpu"
    spec = options.dataset_spec(dataset, data_dir, download, image_size, crop, classes, dataset_name, licence)
    path.parent.mkdir(parents=True, exist_ok=True)  # now, since it would be sad to find out at the end
    data = load_dataset(spec, "all").first(train_size or (options.CPU_IMAGES if small else None))
    settings = ErrorMinSettings(
        epsilon=epsilon,
        step_size=step_size,
        surrogate_steps=surrogate_steps,
        noise_share=noise_share,
        stop_error=stop_error,
        max_iterations=max_iterations,
        through=through,
        surrogate=surrogate or ("resnet10-w16" if small else "resnet18"),
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
    )
    finished = _search(data, settings, where)
    _save(path, finished, _provenance(data, settings, spec.crop, family), where)


def _search(data: ImageSet, settings: ErrorMinSettings, device: torch.device) -> Finished:
    from unlearn_cli.noise.error_min import Estimated, Finished, Iterated, error_min

    with progress_bar() as bar:
        row = bar.add_task("Searching", total=settings.max_iterations, detail="")
        for event in error_min(data, settings, device):
            if isinstance(event, Estimated):
                bar.console.print(
                    f"{len(data)} images of {len(data.classes)} classes at {data.size} px, surrogate "
                    f"{settings.surrogate} on {device.type}: at most {duration(event.seconds)}, "
                    f"usually less (it stops below an error of {settings.stop_error:g})."
                )
            elif isinstance(event, Iterated):
                bar.update(row, completed=event.iteration, detail=f"error rate {event.error:.3f}")
            elif isinstance(event, Finished):
                return event
    raise AssertionError("error_min ends with Finished")


def _provenance(data: ImageSet, settings: ErrorMinSettings, crop: int | None, family: str | None) -> Provenance:
    from dataclasses import asdict

    from unlearn_cli.banks.provenance import Provenance
    from unlearn_cli.victims.devices import library_versions

    named = ("epsilon", "through", "surrogate", "seed")
    hyperparameters = {key: value for key, value in asdict(settings).items() if key not in named}
    return Provenance(
        classes=data.classes,
        epsilon=settings.epsilon,
        scale=data.size,
        family=family,
        method="error-min (Huang et al., ICLR 2021, section 3.2, Algorithm 1)",
        through=settings.through,
        dataset={
            "name": data.name,
            "licence": data.licence,
            "images": len(data),
            "crop": crop,
            "image_size": data.size,
        },
        surrogate=settings.surrogate,
        hyperparameters={**hyperparameters, "step_size": settings.step},
        seed=settings.seed,
        versions=library_versions(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _save(path: Path, finished: Finished, provenance: Provenance, device: torch.device) -> None:
    from unlearn_cli.banks.bank import save_bank
    from unlearn_cli.banks.card import new_card, write_card
    from unlearn_cli.victims.devices import describe_hardware

    sha256 = save_bank(path, finished.noise, provenance)
    made = {
        "command": command_line(),
        "seconds": round(finished.seconds, 1),
        "iterations": finished.iterations,
        "error": round(finished.error, 4),
        "stop": finished.stop,
        "hardware": describe_hardware(device),
    }
    write_card(path, new_card(path.stem, sha256, provenance, made))
    out().print(
        f"{plain(str(path))}: {len(finished.noise)} patterns after {finished.iterations} iterations "
        f"in {duration(finished.seconds)}, error rate {finished.error:.3f} ({finished.stop})."
    )
    if finished.stop != "error below stop_error":
        err().print(
            "The search did not reach its goal; the noise may protect less. Measure it with 'unlearn evaluate'."
        )
