"""The files of the paper's experiments, which are read without PyTorch, so that they are listed in a moment."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearn_cli.errors import UsageError

FOLDER = Path(__file__).parent / "recipes"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One experiment of the paper."""

    name: str
    title: str
    source: str
    about: str
    data: dict[str, Any]
    noises: dict[str, dict[str, Any]]
    joins: dict[str, dict[str, Any]]
    blocks: list[dict[str, Any]]
    training: dict[str, Any]
    networks: dict[str, str]
    """The networks that are trained where the paper's name means another one for these images."""
    chart: str
    """The axis that the experiment is drawn over, besides the epochs; empty if there is none."""
    scales: dict[str, dict[str, Any]]
    time: str
    """How long its trainings take at the scale of a CPU; making its noise comes on top."""
    pairs: bool
    """Whether it measures face verification, for which it needs pairs of photos."""

    @property
    def needs_folder(self) -> bool:
        """Return whether the user has to name a folder of images."""
        return bool(self.data["dataset"] == "folder")


def recipe_names() -> list[str]:
    """Return the names of all shipped recipes."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_recipe(name: str) -> Recipe:
    """Return the recipe of this name. Raises ``UsageError`` if there is none."""
    if name not in recipe_names():
        raise UsageError(f"There is no recipe '{name}'. The recipes are: {', '.join(recipe_names())}.")
    content = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    return Recipe(
        name=name,
        title=content["title"],
        source=content["source"],
        about=content["about"].strip(),
        data=content["data"],
        noises=content.get("noises", {}),
        joins=content.get("joins", {}),
        blocks=content["cells"],
        training=content.get("training", {}),
        networks=content.get("networks", {}),
        chart=content.get("chart", ""),
        scales=content.get("scales", {}),
        time=content["time"],
        pairs=content.get("pairs", False),
    )
