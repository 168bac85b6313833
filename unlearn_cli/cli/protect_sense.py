"""Finding options of ``unlearn protect`` that make no sense together."""

from __future__ import annotations

from pathlib import Path

from unlearn_cli.errors import UsageError


def idle_defaults(said: set[str], *, in_place: bool, png: bool) -> set[str]:
    """Return the options whose values from the configuration or the environment conflict with what was typed."""
    idle: set[str] = set()
    for one, other in (("class_name", "class_from_folders"), ("output", "in_place")):
        idle |= {one} if other in said else {other} if one in said else set()
    if not in_place or "in_place" in idle - said:
        idle.add("backup")
    if png:
        idle.add("quality")
    return idle - said


def nonsense(
    named: bool,
    class_name: str | None,
    class_from_folders: bool,
    mapped: bool,
    in_place: bool,
    backup: Path | None,
    output: Path | None,
) -> dict[str, bool]:
    """Return what makes no sense about the photos, their class and their place, each with whether it holds."""
    return {
        "Name photos or folders of photos, or a list of them with --files-from.": not named,
        "Say what the photos show with --class, such as --class person, or use --class-from-folders.": (
            class_name is None and not class_from_folders
        ),
        "Use either --class or --class-from-folders, not both.": class_name is not None and class_from_folders,
        "--set map works only together with --class-from-folders.": mapped and not class_from_folders,
        "--in-place needs --backup, a folder in which to save the originals.": in_place and backup is None,
        "--backup works only together with --in-place.": backup is not None and not in_place,
        "Use either --output or --in-place, not both.": in_place and output is not None,
    }


def refuse_nonsense(nonsense: dict[str, bool]) -> None:
    """Raise ``UsageError`` with the first sentence that holds."""
    for sentence, holds in nonsense.items():
        if holds:
            raise UsageError(sentence)
