"""``unlearn protect``: the main job."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unlearn_cli.cli.banks import told
from unlearn_cli.cli.choices import Faces, Form, Format, KeepMetadata, Strength
from unlearn_cli.cli.choosing import Choosing, Keyring
from unlearn_cli.cli.console import err, exits, plain, print_json, progress_bar, set_limits
from unlearn_cli.cli.summary import Talk, Totals, here, not_protected_rows, print_rows, tell_end, tell_plan

if TYPE_CHECKING:
    from collections.abc import Generator

    from unlearn_cli.photos.outcome import PhotoDone
    from unlearn_cli.photos.preview import Preview
    from unlearn_cli.photos.protection import Protection
    from unlearn_cli.photos.scan import Plan


@exits()
def protect(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATH", help="Folders of photos, or single photos.")
    ] = None,
    class_name: Annotated[
        str | None,
        typer.Option("--class", help="What the photos show: 'person', or a name that 'unlearn banks list' tells."),
    ] = None,
    class_from_folders: Annotated[
        bool, typer.Option("--class-from-folders", help="Each subfolder's name is the class of the photos below it.")
    ] = False,
    map_file: Annotated[
        Path | None, typer.Option("--map", help='TOML file with lines folder = "class", for --class-from-folders.')
    ] = None,
    bank: Annotated[
        str | None,
        typer.Option(help="A shipped bank's name or a .safetensors file.  [default: the one with the class]"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write.  [default: FOLDER-protected beside it]")
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive/--no-recursive", "-r", help="Go into subfolders, or stay on top.")
    ] = True,
    files_from: Annotated[
        str | None,
        typer.Option(metavar="FILE|-", help="Also take the files that FILE lists, one a line or each ended by a zero."),
    ] = None,
    form: Annotated[
        Form, typer.Option(help="One pattern for a class, or one made for each photo by a network (needs PyTorch).")
    ] = Form.class_wise,
    strength: Annotated[
        Strength | None,
        typer.Option(help="How much of the noise an eye may see, where there are several banks.  [default: medium]"),
    ] = None,
    epsilon: Annotated[
        int | None, typer.Option(help="Scale the noise down to this bound, in levels of 255.  [default: the bank's]")
    ] = None,
    key_file: Annotated[
        Path | None, typer.Option(help="The key that decides a person's pattern.  [default: UNLEARN_KEY, or your own]")
    ] = None,
    faces: Annotated[Faces, typer.Option(help="Which faces of a photo get a person's noise.")] = Faces.largest,
    format_: Annotated[
        Format, typer.Option("--format", help="Write copies in their own format, or all in this one.")
    ] = Format.keep,
    quality: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="Of JPEG, WebP and AVIF.  [default: 95, or the source's where higher]"),
    ] = None,
    metadata: Annotated[
        KeepMetadata,
        typer.Option(help="safe: dates, camera, copyright; all: the place too; none: only the colour profile."),
    ] = KeepMetadata.safe,
    preserve_times: Annotated[
        bool, typer.Option("--preserve-times/--no-preserve-times", help="Give copies their originals' times.")
    ] = True,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Put copies in their originals' places; needs --backup.")
    ] = False,
    backup: Annotated[Path | None, typer.Option(help="Where the originals go with --in-place.")] = None,
    undo: Annotated[
        Path | None, typer.Option(metavar="MANIFEST", help="Put back the originals of an --in-place run, and leave.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Make all copies again, over whatever is there.")
    ] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave a photo alone if there is anything at its copy's place.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would be done, and do nothing.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Also protect what is a protected copy already: noise on noise.")
    ] = False,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, max=256, help="Photos at once.  [default: one for each core]")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Take only part I of N, so that N machines share a folder.")
    ] = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Begin no more photos after one failed.")] = False,
    max_megapixels: Annotated[
        int | None, typer.Option(min=1, help="Decode photos of up to this size.  [default: 400]")
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="Where each photo's record goes.  [default: OUTPUT.jsonl beside the output]")
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Also measure what each written copy holds, as 'unlearn verify' does.")
    ] = False,
    preview: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Show the first photos, before and after: .png or .html.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the summary.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Tell only what failed.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell each photo.")] = False,
) -> None:
    """Protect photos: write copies with noise that leaves a model nothing to learn.

    The originals are only read, unless --in-place replaces them. Each photo keeps its size, format, colour profile
    and dates; its place (GPS) and embedded thumbnail are dropped. A second run goes on where the first stopped.
    """
    import os
    import time

    from unlearn_cli.photos.encode import Writing
    from unlearn_cli.photos.folder import protect_photos
    from unlearn_cli.photos.lists import parse_list, parse_shard
    from unlearn_cli.photos.outcome import Options
    from unlearn_cli.photos.preview import Preview
    from unlearn_cli.photos.scan import Where, plan
    from unlearn_cli.photos.undo import undo as put_back

    talk = Talk(as_json, quiet, verbose)
    start = time.perf_counter()
    if undo is not None:
        others = (paths, class_name, class_from_folders, output, files_from, in_place, backup, manifest, shard)
        _refuse_nonsense({"--undo takes a manifest, and of the other options --overwrite and -n.": any(others)})
        _undo(put_back(undo, overwrite=overwrite, dry_run=dry_run), talk)
        return
    _refuse_nonsense(
        {
            "Name photos or folders of photos, or a list of them with --files-from.": not paths and not files_from,
            "Say what the photos show with --class, such as --class person, or use --class-from-folders.": (
                class_name is None and not class_from_folders
            ),
            "Use either --class or --class-from-folders.": class_name is not None and class_from_folders,
            "--map belongs to --class-from-folders.": map_file is not None and not class_from_folders,
            "--in-place needs --backup, a folder for the originals.": in_place and backup is None,
            "--backup belongs to --in-place.": backup is not None and not in_place,
            "Use either --output or --in-place.": in_place and output is not None,
            "Use either --overwrite or --skip-existing.": overwrite and skip_existing,
            "Use either --quiet or --verbose.": quiet and verbose,
            "--quality is of JPEG, WebP and AVIF, not of PNG.": quality is not None and format_ is Format.png,
        }
    )
    set_limits(max_megapixels)
    show = Preview.prepare(preview) if preview is not None else None
    where = Where(
        output=output,
        recursive=recursive,
        format=format_.written,
        manifest=manifest,
        backup=backup,
        again=again,
        shard=parse_shard(shard) if shard is not None else None,
    )
    options = Options(
        writing=Writing(format_.written, quality, metadata.value, preserve_times),
        overwrite=overwrite,
        skip_existing=skip_existing,
        again=again,
        measure=measure,
        fail_fast=fail_fast,
        jobs=jobs or os.cpu_count() or 1,
    )
    # What the photos show is looked at first: a bank is found or not before a large folder is walked through.
    choosing = Choosing(bank, strength and strength.value, epsilon, form, faces, Keyring(key_file, make=not dry_run))
    chosen = None if class_name is None else choosing.choose(class_name)
    listed = parse_list(_read_list(files_from)) if files_from is not None else None
    todo = plan(paths or [], where, listed=listed)
    protections = _choose_by_folder(todo, map_file, choosing) if chosen is None else {"": chosen}
    if not any(protection.key_fingerprint for protection in protections.values()):
        _tell_unused_key(key_file, talk)
    limits = _limits(protections)
    if choosing.keys.made and not quiet:
        err().print(choosing.keys.told())
    if dry_run:
        tell_plan(todo, protections, options, talk)
        return
    if in_place and not quiet:  # Before anything is done: whoever replaces photos means to be left with protected ones.
        for name, text in not_protected_rows(todo, verbose=verbose):
            err().print(f"{name}: {plain(text)}")
    totals = _run(protect_photos(todo, protections, options), todo, show, talk)
    for path in todo.copies if not quiet else ():
        err().print(f"passed over: {plain(str(path))}: it is a protected copy of what lies beside it")
    for path in todo.unreadable:
        err().print(f"failed: {plain(str(path))}: the folder cannot be read")
    tell_end(totals, todo, protections, time.perf_counter() - start, talk)
    if totals.counts["protected"] and not (as_json or quiet):
        for line in limits:
            err().print(f"- {plain(line)}")
    if show is not None:
        written = show.write()
        if not quiet:
            place = f"{preview} (it holds your originals: do not share it)"
            err().print(f"Preview: {plain(place)}" if written else "No preview: no photo was protected in this run.")
    if todo.unreadable or totals.counts["failed"]:
        raise typer.Exit(1)


def _refuse_nonsense(nonsense: dict[str, bool]) -> None:
    from unlearn_cli.errors import UsageError

    for sentence, holds in nonsense.items():
        if holds:
            raise UsageError(sentence)


def _tell_unused_key(key_file: Path | None, talk: Talk) -> None:
    """Raise ``UsageError`` for a key that was named and is of no use; the environment's may be meant for other runs."""
    import os

    from unlearn_cli.banks.keys import ENVIRONMENT
    from unlearn_cli.errors import UsageError

    if key_file is not None:
        raise UsageError("No class takes a key here: everybody's pattern is the same. Leave out --key-file.")
    if os.environ.get(ENVIRONMENT) and not talk.quiet:
        err().print(f"{ENVIRONMENT} is set, but no class takes a key here: everybody's pattern is the same.")


def _read_list(name: str) -> bytes:
    from unlearn_cli.errors import UsageError

    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise UsageError(f"The list {name} cannot be read ({error.strerror or error}).") from error


def _choose_by_folder(todo: Plan, map_file: Path | None, choosing: Choosing) -> dict[str, Protection]:
    """A protection for each subfolder's name; all that is wrong with them is told at once."""
    import tomllib

    from unlearn_cli.errors import UsageError

    names: dict[str, Any] = {}
    if map_file is not None:
        try:
            names = tomllib.loads(map_file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"The map {map_file} cannot be read: {error}.") from error
    for task in todo.tasks:
        if not task.folder:
            raise UsageError(f"{task.source} lies in no subfolder that would tell its class.")
    found, wrong = {}, []
    for folder in sorted({task.folder for task in todo.tasks}):
        try:
            found[folder] = choosing.choose(str(names.get(folder, folder)))
        except UsageError as error:
            wrong.append((folder, str(error)))
    if wrong:
        others = f" ({len(wrong) - 1} more folders: {', '.join(name for name, _ in wrong[1:6])})" if wrong[1:] else ""
        raise UsageError(f"The folder '{wrong[0][0]}' tells no class: {wrong[0][1]}{others} Name them in a --map file.")
    return found


def _run(events: Generator[PhotoDone, None, None], todo: Plan, show: Preview | None, talk: Talk) -> Totals:
    totals = Totals()
    with progress_bar(hidden=talk.quiet) as bar:
        row = bar.add_task("Protecting", total=len(todo.tasks), detail="")
        for photo in events:
            totals.add(photo)
            if show is not None and photo.status == "protected":
                show.add(photo)
            bar.update(row, advance=1, detail=plain(photo.source.name))
            if photo.status == "failed" or talk.verbose or (photo.status == "skipped" and not _is_dull(photo, talk)):
                text = photo.reason or here(photo.target or photo.source)
                bar.console.print(f"{photo.status}: {plain(str(photo.source))}: {plain(text)}")
            for note in photo.notes if talk.verbose else ():
                bar.console.print(f"note: {plain(str(photo.source))}: {plain(note)}")
    return totals


def _is_dull(photo: PhotoDone, talk: Talk) -> bool:
    """Whether a photo that was left alone need not be named: of a large folder most are, when it is seen again."""
    from unlearn_cli.photos.outcome import DONE

    return talk.quiet or photo.reason == DONE


def _limits(protections: dict[str, Protection]) -> list[str]:
    """What was measured of the banks and what they do not do; read before any work, since a card may be damaged."""
    from unlearn_cli.banks.card import read_card

    lines: list[str] = []
    for protection in {protection.bank_sha256: protection for protection in protections.values()}.values():
        card = read_card(protection.bank_path, protection.bank_sha256)
        weaker = f"Nothing was measured at epsilon {protection.pattern.epsilon}, weaker than the bank's."
        figures = told(card, protection.form) or [_unmeasured(card, protection.form)]
        if protection.pattern.epsilon != protection.bank_epsilon:
            figures = [weaker]
        lines += [*figures, *card.get("limits", [])]
    return [*lines, "Nothing here helps against models that are already trained or photos that are already shared."]


def _unmeasured(card: dict[str, Any], form: str) -> str:
    if form == "class-wise":
        return "Nothing was measured of this bank. 'unlearn evaluate --bank FILE --record' does."
    return f"Nothing was measured of {form} noise by the bank '{card.get('bank', '')}'."


def _undo(events: Generator[PhotoDone, None, None], talk: Talk) -> None:
    totals = Totals()
    for photo in events:
        totals.add(photo)
        if photo.status == "failed" or talk.verbose:
            err().print(f"{photo.status}: {plain(str(photo.source))}: {plain(photo.reason)}")
    if talk.json:
        print_json({"restored": totals.counts["restored"], "failed": totals.counts["failed"]})
    elif not talk.quiet:
        print_rows([("restored", f"{totals.counts['restored']} of {totals.photos} photos"), *totals.rows()])
    if totals.counts["failed"]:
        raise typer.Exit(1)
