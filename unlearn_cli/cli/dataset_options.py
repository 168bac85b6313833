"""The options that name a dataset, which ``generate`` and ``evaluate`` share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from unlearn_cli.training.datasets import DatasetSpec

KNOWN = "cifar10, cifar100, svhn, imagenet, or folder:PATH for a folder with one subfolder of images for each class."
Dataset = Annotated[str, typer.Option(help=KNOWN)]
OptionalDataset = Annotated[str | None, typer.Option(help=f"{KNOWN}  [default: the preset's]")]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Folder that contains a named dataset.  [default: unlearn's cache folder]"),
]
Download = Annotated[bool, typer.Option("--download", help="Download the dataset if it is missing.")]
ImageSize = Annotated[int | None, typer.Option(min=8, help="Resize a folder's images to this size in pixels (square).")]
Crop = Annotated[
    int | None,
    typer.Option(
        min=8, help="First cut out the central square of this size in pixels.  [default: the largest possible]"
    ),
]
Classes = Annotated[
    str | None, typer.Option(help="Use only the classes that match these comma-separated patterns: 'id00*,id010'.")
]
FirstClasses = Annotated[int | None, typer.Option(min=2, help="Use only the first N classes.")]
ClassMap = Annotated[
    Path | None,
    typer.Option("--map", help='TOML file with lines "class" = "new name"; classes that are not listed are left out.'),
]
TrainSize = Annotated[
    int | None, typer.Option(min=1, help="Number of training images to use.  [default: all; on a CPU 10000]")
]
Device = Annotated[str | None, typer.Option(help="cuda, mps or cpu.  [default: the fastest available]")]

CPU_IMAGES = 10_000
"""The number of images on which a small network takes only seconds per epoch on two cores."""


def dataset_spec(source: str, map_file: Path | None, **fields: Any) -> DatasetSpec:
    """Return the description of a dataset, with its classes renamed by the map file if there is one.

    The ``fields`` are those of ``DatasetSpec``. Raises ``UsageError`` for a map that cannot be read.
    """
    from unlearn_cli.training.datasets import DatasetSpec

    return DatasetSpec(source=source, class_map=_read_map(map_file) if map_file is not None else (), **fields)


def patterns(text: str | None) -> tuple[str, ...]:
    """Return the parts of a comma-separated text; an empty tuple for None."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def _read_map(path: Path) -> tuple[tuple[str, str], ...]:
    from unlearn_cli.errors import UsageError
    from unlearn_cli.photos.wanted import read_map

    names = read_map(path, '"English springer" = "dog"')
    if not names or not all(isinstance(name, str) and name for name in names.values()):
        raise UsageError(f'The map {path} has no names for classes. It needs lines such as "English springer" = "dog".')
    return tuple((name, str(other)) for name, other in names.items())
