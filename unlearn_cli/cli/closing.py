"""Putting the end of ``protect`` into words: for whom it was done, which photos are weak, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unlearn_cli.photos.protection import Protection
    from unlearn_cli.photos.scan import Plan

NAMED = 10
"""How many files are listed by name unless ``--verbose`` is given."""
MOST_CLASSES = 5
"""For how many classes of a run the class, strength and key are told."""

GREY = "grey photos carry only the brightness of the noise, and are protected less"
HARDLY_PROTECTED = (
    "grey photos carry only the brightness of the noise, which is mostly colour: they are hardly protected"
)
NO_FACE = "no face was found, so the noise covers the whole photo: cropping to a face would remove the protection"


def for_whom(protections: Mapping[str, Protection]) -> list[dict[str, Any]]:
    """Return each different class of a run, with its bank, strength and the fingerprint of its key."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for of in protections.values():
        key = (of.class_name, of.bank_sha256, of.pattern.epsilon, of.key_fingerprint, of.form)
        found[key] = {
            "class": of.class_name,
            "means": of.means or of.class_name,
            "bank": of.bank,
            "strength": of.strength,
            "form": of.form,
            "epsilon": of.pattern.epsilon,
            "key_fingerprint": of.key_fingerprint,
        }
    return list(found.values())


def for_rows(protections: Mapping[str, Protection]) -> Iterator[tuple[str, str]]:
    """Yield a row for each class: what it means, and which bank, strength and key are in force."""
    all_of_them = for_whom(protections)
    for of in all_of_them[:MOST_CLASSES]:
        alias = f" (from '{of['class']}')" if of["means"] != of["class"] else ""
        strength = f", strength {of['strength']}" if of["strength"] else ""
        strength += ", noise made for each photo" if of["form"] == "sample-wise" else ""
        key = f", key {of['key_fingerprint']}" if of["key_fingerprint"] else ""
        yield "for", f"{of['means']}{alias}, bank {of['bank']}{strength}{key}"
    if all_of_them[MOST_CLASSES:]:
        yield "for", f"{len(all_of_them) - MOST_CLASSES} more classes"


def weak_rows(weak: Mapping[str, list[Path]], grey: list[Path], *, verbose: bool) -> Iterator[tuple[str, str]]:
    """Yield a row for each reason why photos are protected less than others, with their names.

    ``weak`` has those with a doubt, by the doubt, and ``grey`` the grey ones without any.
    """
    from unlearn_cli.photos import outcome

    told = {outcome.HARDLY_PROTECTED: HARDLY_PROTECTED, outcome.NO_FACE: NO_FACE}
    for why, paths in (*((told[doubt], paths) for doubt, paths in weak.items()), (GREY, grey)):
        if paths:
            yield "weak", f"{_counted(len(paths))}: {listed(paths, verbose=verbose)}: {why}"


def listed(paths: list[Path], *, verbose: bool) -> str:
    """Return the names of files, or only the first ten of them; with ``verbose`` all paths."""
    if verbose:
        return ", ".join(here(path) for path in paths)
    more = f" and {len(paths) - NAMED} more (-v names all)" if len(paths) > NAMED else ""
    return ", ".join(path.name for path in paths[:NAMED]) + more


def next_steps(todo: Plan, key_file: Path | None = None) -> list[str]:
    """Return what to do after a run: the commands that check the copies and show them, and the one that undoes it.

    ``key_file`` is the file of the key that made the copies, if the user named one.
    """
    originals, copies = "ORIGINALS", "COPIES"
    if (pair := _pair(todo)) is not None:
        originals, copies = (shlex.quote(here(path)) for path in pair)
    key = f" --key-file {shlex.quote(here(key_file))}" if key_file is not None else ""
    steps = [
        ("Check the copies:", f"unlearn verify {originals} {copies}{key}"),
        ("See before and after:", f"unlearn preview {originals} {copies}"),
    ]
    undo = dict.fromkeys(task.manifest for task in todo.tasks if task.backup is not None)
    steps += [("Put the originals back:", f"unlearn restore {shlex.quote(here(manifest))}") for manifest in undo]
    wide = max(len(what) for what, _ in steps)
    return [f"{what:{wide}}  {command}" for what, command in steps]


def written_to(todo: Plan) -> list[Path]:
    """Return the folders and files that a run has written to; a single copy may have got another name than planned."""
    copies = {task.target: task.copy for task in todo.tasks}
    return [path for output in todo.outputs if (path := copies.get(output) or output).exists()]


def _pair(todo: Plan) -> tuple[Path, Path] | None:
    """Return the folder or file that a run read, and the one that it wrote; None if there are several."""
    written = written_to(todo)
    if len(todo.outputs) != 1 or not written or not todo.tasks:
        return None
    task, output = todo.tasks[0], todo.outputs[0]
    original = task.backup or task.source
    if task.target == output:
        return original, written[0]
    # A photo's place below the output is that of its original below the input, or below the backup.
    depth = len(task.target.relative_to(output).parts) if task.target.is_relative_to(output) else 0
    return (original.parents[depth - 1], output) if depth else None


def here(path: Path) -> str:
    """Return a path relative to the working folder if it lies below it, or else the path itself."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _counted(count: int) -> str:
    return f"{count} photo{'s' if count != 1 else ''}"
