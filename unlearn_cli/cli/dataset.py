"""The options that name a dataset, the same for ``generate`` and ``evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from unlearn_cli.victims.datasets import DatasetSpec

Dataset = Annotated[
    str, typer.Option(help="cifar10, or folder:PATH for a tree with one folder of images for each class.")
]
DataDir = Annotated[
    Path | None, typer.Option(help="Where CIFAR-10 lies or goes.  [default: unlearn's folder in the user's cache]")
]
Download = Annotated[bool, typer.Option("--download", help="Fetch the dataset if it is not there.")]
ImageSize = Annotated[int | None, typer.Option(min=8, help="Resize a folder's images to this many pixels square.")]
Crop = Annotated[
    int | None, typer.Option(min=8, help="Cut out the middle square of this many pixels first.  [default: largest]")
]
Classes = Annotated[
    str | None, typer.Option(help="Use only the classes that match these comma-separated patterns: 'id00*,id010'.")
]
TrainSize = Annotated[
    int | None, typer.Option(min=1, help="Use this many training images.  [default: all; on a CPU 10000]")
]
Device = Annotated[str | None, typer.Option(help="cuda, mps, cpu.  [default: the best there is]")]

CPU_IMAGES = 10_000
"""What a small network on two cores gets through in seconds an epoch."""


def dataset_spec(
    dataset: str,
    data_dir: Path | None,
    download: bool,
    image_size: int | None,
    crop: int | None,
    classes: str | None,
    name: str | None = None,
    licence: str | None = None,
) -> DatasetSpec:
    """The dataset that these options name."""
    from unlearn_cli.victims.datasets import DatasetSpec

    patterns = tuple(part.strip() for part in (classes or "").split(",") if part.strip())
    return DatasetSpec(
        source=dataset,
        data_dir=data_dir,
        download=download,
        image_size=image_size,
        crop=crop,
        classes=patterns,
        name=name,
        licence=licence,
    )
