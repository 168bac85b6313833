"""``unlearn protect``: write protected copies of photos."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unlearn_cli.banks.provenance import Form, Strength
from unlearn_cli.cli.answer import answer
from unlearn_cli.cli.choices import RARE, Engine, Existing, Faces, Format, KeepMetadata, Rare
from unlearn_cli.cli.config import in_force
from unlearn_cli.cli.console import exits, set_limits, typed
from unlearn_cli.cli.key_use import refuse_unused_key, with_key
from unlearn_cli.cli.protect_bulk import Bulk
from unlearn_cli.cli.protect_pipe import Pipe
from unlearn_cli.cli.protect_run import noise_makers, run
from unlearn_cli.cli.protect_sense import idle_defaults, nonsense, refuse_nonsense
from unlearn_cli.cli.set_option import read_settings
from unlearn_cli.cli.summary import Talk, tell_plan

if TYPE_CHECKING:
    from unlearn_cli.photos.outcome import Options
    from unlearn_cli.photos.scan import Plan, Where

WHAT, WHERE, LOOKS, MANY, TOLD = (
    "What to protect, and with which noise",
    "Where to write the copies",
    "How to write the copies",
    "Many photos",
    "Messages",
)
"""The titles of the groups of options in the help."""

EXAMPLES = """\
unlearn protect selfies --class person
unlearn protect photos --class person --in-place --backup photos-originals"""


@exits()
def protect(
    context: typer.Context,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH",
            help="Folders of photos, or single photos; - is a photo on stdin. Or one URL, such as s3://bucket/photos.",
        ),
    ] = None,
    class_name: Annotated[
        str | None,
        typer.Option(
            "--class",
            help="What the photos show: 'person', or a class that 'unlearn banks list' prints.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    class_from_folders: Annotated[
        bool,
        typer.Option(
            "--class-from-folders",
            help="Use the name of each subfolder as the class of the photos in it.",
            rich_help_panel=WHAT,
        ),
    ] = False,
    bank: Annotated[
        str | None,
        typer.Option(
            help="Name of a shipped bank, or a .safetensors file.  [default: the shipped bank that has the class]",
            rich_help_panel=WHAT,
        ),
    ] = None,
    form: Annotated[
        Form,
        typer.Option(
            help="The bank's pattern for the class, or noise that a network makes for each photo or face (needs "
            "PyTorch; about a second a face).",
            rich_help_panel=WHAT,
        ),
    ] = "class-wise",
    strength: Annotated[
        Strength | None,
        typer.Option(
            help="How visible the noise may be, where there are several banks for the class; max is plainly visible.  "
            "[default: medium]",
            rich_help_panel=WHAT,
        ),
    ] = None,
    epsilon: Annotated[
        int | None,
        typer.Option(
            help="Reduce the noise to this bound: the largest change of a pixel value (0..255).  [default: the bank's]",
            rich_help_panel=WHAT,
        ),
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the secret key that decides a person's pattern.  [default: UNLEARN_KEY, or your own]",
            rich_help_panel=WHAT,
        ),
    ] = None,
    new_key: Annotated[
        bool,
        typer.Option(
            "--new-key", help="Create your key if there is none, also without a terminal.", rich_help_panel=WHAT
        ),
    ] = False,
    faces: Annotated[
        Faces, typer.Option(help="Which faces in a photo get a person's pattern.", rich_help_panel=WHAT)
    ] = Faces.largest,
    require_face: Annotated[
        bool,
        typer.Option(
            "--require-face",
            help="Make no copy of a photo in which no face is found, and exit with 1; only for a person's pattern.",
            rich_help_panel=WHAT,
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder or URL for the copies, or of one photo the copy's name; - is stdout.  [default: "
            "FOLDER-protected beside it]",
            rich_help_panel=WHERE,
        ),
    ] = None,
    in_place: Annotated[
        bool,
        typer.Option("--in-place", help="Replace the originals by the copies; needs --backup.", rich_help_panel=WHERE),
    ] = False,
    backup: Annotated[
        Path | None, typer.Option(help="Folder in which --in-place saves the originals.", rich_help_panel=WHERE)
    ] = None,
    existing: Annotated[
        Existing,
        typer.Option(
            help="What to do if a copy's file already exists. update: write it again if it is an earlier copy and the "
            "photo or a setting has changed; skip: skip the photo; overwrite: always write it again.",
            rich_help_panel=WHERE,
        ),
    ] = Existing.update,
    manifest: Annotated[
        Path | None,
        typer.Option(
            help="File or URL that records the result for each photo.  [default: OUTPUT.jsonl beside the output]",
            rich_help_panel=WHERE,
        ),
    ] = None,
    format_: Annotated[
        Format,
        typer.Option(
            "--format",
            help="keep: write each copy in its photo's own format; otherwise all copies in this one.",
            rich_help_panel=LOOKS,
        ),
    ] = Format.keep,
    quality: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=100,
            help="Quality of JPEG, WebP and AVIF copies.  [default: 95, or the original's if that is higher]",
            rich_help_panel=LOOKS,
        ),
    ] = None,
    metadata: Annotated[
        KeepMetadata,
        typer.Option(
            help="safe: keep dates, camera, copyright; all: also the location; none: only the colour space.",
            rich_help_panel=LOOKS,
        ),
    ] = KeepMetadata.safe,
    preview: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also show the first photos before and after, as .html or .png ('unlearn preview' does it later).",
            rich_help_panel=LOOKS,
        ),
    ] = None,
    files_from: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|-",
            help="Also protect the files that FILE lists, one per line or separated by zero bytes; - is stdin.",
            rich_help_panel=MANY,
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            min=1,
            max=256,
            help="Number of photos that are processed at once.  [default: one for each core]",
            rich_help_panel=MANY,
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N", help="Process only part I of N, so that N machines can share a folder.", rich_help_panel=MANY
        ),
    ] = None,
    engine: Annotated[
        Engine, typer.Option(help="What protects the photos: threads, or the workers of Ray.", rich_help_panel=MANY)
    ] = Engine.local,
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Cluster for --engine ray.  [default: RAY_ADDRESS, or one on this machine]",
            rich_help_panel=MANY,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help=RARE, rich_help_panel=MANY)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Print what would be done, and write nothing.", rich_help_panel=TOLD)
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of the summary.", rich_help_panel=TOLD)
    ] = False,
    verbose: Annotated[
        bool | None,
        typer.Option("--verbose/--quiet", "-v/-q", help="Print every photo, or only failures.", rich_help_panel=TOLD),
    ] = None,
) -> None:
    """Protect photos: write copies with noise from which a model learns little.

    The originals are only read, unless --in-place replaces them ('unlearn restore' puts them back). Each copy keeps the
    size, format, colours and dates; the location (GPS) and the embedded thumbnail are removed. A second run continues
    where the first stopped.
    """
    from unlearn_cli.banks.keys import Keyring
    from unlearn_cli.photos.before_after import Preview
    from unlearn_cli.photos.wanted import Wanted, protection_for, protections_of

    answer.expect("protect", wanted=as_json)
    rare = read_settings(Rare, settings or ())
    said = typed(context)
    idle = idle_defaults(said, in_place=in_place, png=format_ is Format.png)
    talk = Talk(as_json, verbose is False, verbose is True, tuple(in_force(context, idle)))
    class_from_folders, in_place = (
        flag and name not in idle for flag, name in ((class_from_folders, "class_from_folders"), (in_place, "in_place"))
    )
    class_name = _class(None if "class_name" in idle else class_name, bank, from_folders=class_from_folders)
    quality = None if "quality" in idle else quality
    output, backup = None if "output" in idle else output, None if "backup" in idle else backup
    pipe = Pipe.of(paths or [], output, class_name, said)
    named, mapped = bool(paths or files_from), rare.map is not None
    refuse_nonsense(
        {
            **nonsense(named, class_name, class_from_folders, mapped, in_place, backup, output),
            "PNG is lossless and has no quality: leave out --quality.": quality is not None and format_ is Format.png,
        }
    )
    flags = {"--in-place": in_place, "--class-from-folders": class_from_folders, "--preview": preview is not None}
    flags |= {"--files-from": files_from is not None, "--form sample-wise": form == "sample-wise"}
    bulk = None if pipe else Bulk.of(paths or [], output, manifest, engine, ray_address, flags, said)
    format_ = _format(paths or [], output, format_) if bulk is None else format_
    set_limits(rare.max_megapixels)
    show = Preview.prepare(preview) if preview is not None else None
    options = _options(format_, quality, metadata, existing, rare, jobs, require_face=require_face)
    # The class comes first, so that a missing bank is reported before a large folder is walked through.
    wanted = Wanted(
        bank=bank, strength=strength, strength_is_default="strength" not in said, epsilon=epsilon, faces=faces.value,
        keys=Keyring(key_file), maker=noise_makers() if form == "sample-wise" else None,
    )  # fmt: skip
    if class_name is not None:
        protection_for(class_name, wanted)
    if bulk is not None:
        bulk = replace(bulk, class_name=class_name or "", new_key=new_key, dry_run=dry_run, jobs=jobs,
                       key_file=key_file, key_is_named="key_file" in said)  # fmt: skip
        bulk.protect(wanted, options, _where(output, None, manifest, shard, format_, rare), talk)
        return
    todo = _plan(pipe, paths or [], files_from, _where(output, backup, manifest, shard, format_, rare))
    of_all = partial(protections_of, class_name, todo.tasks, wanted, rare.map)
    dry_run = dry_run and pipe is None  # Nobody types it with a pipe; a default may say it.
    protections = with_key(of_all, wanted.keys, todo, options, new_key=new_key, dry_run=dry_run, talk=talk)
    refuse_unused_key(protections, key_file if "key_file" in said else None, talk)
    if pipe is not None:
        pipe.protect(protections[""], options, talk)
    elif dry_run:
        tell_plan(todo, protections, options, talk)
    else:
        run(todo, protections, options, show, talk, key_file)


def _class(name: str | None, bank: str | None, *, from_folders: bool) -> str | None:
    """Return the class that was named; without one, that of a bank that is for one class only."""
    from unlearn_cli.banks.catalog import only_class

    return only_class(bank) if name is None and bank is not None and not from_folders else name


def _options(
    format_: Format,
    quality: int | None,
    metadata: KeepMetadata,
    existing: Existing,
    rare: Rare,
    jobs: int | None,
    *,
    require_face: bool,
) -> Options:
    from unlearn_cli.photos.encode import Writing
    from unlearn_cli.photos.outcome import Options

    return Options(
        writing=Writing(format_.written, quality, metadata.value, rare.preserve_times),
        overwrite=existing is Existing.overwrite,
        skip_existing=existing is Existing.skip,
        again=rare.again,
        fail_fast=rare.fail_fast,
        require_face=require_face,
        jobs=jobs or os.cpu_count() or 1,
    )


def _format(paths: list[Path], output: Path | None, format_: Format) -> Format:
    """Return the format that is wanted, or the one that the name of a single copy asks for."""
    from unlearn_cli.photos.single import format_by_name

    return Format(format_by_name(paths, output, format_.written))


def _plan(pipe: Pipe | None, paths: list[Path], files_from: str | None, where: Where) -> Plan:
    """Return the plan for the photos in files; it is empty for one in a pipe."""
    from unlearn_cli.photos.scan import Plan, plan

    return Plan(()) if pipe is not None else plan(paths, where, listed=_listed(files_from))


def _where(
    output: Path | None, backup: Path | None, manifest: Path | None, shard: str | None, format_: Format, rare: Rare
) -> Where:
    from unlearn_cli.photos.lists import parse_shard
    from unlearn_cli.photos.scan import Where

    return Where(
        output=output,
        recursive=rare.recursive,
        format=format_.written,
        manifest=manifest,
        backup=backup,
        again=rare.again,
        shard=parse_shard(shard) if shard is not None else None,
    )


def _listed(name: str | None) -> list[Path] | None:
    """Return the files that a list names; None if there is no list. Raises ``UsageError`` for an unreadable list."""
    from unlearn_cli.errors import UsageError
    from unlearn_cli.photos.lists import parse_list

    if name is None:
        return None
    try:
        return parse_list(sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes())
    except OSError as error:
        raise UsageError(
            f"The list {name} cannot be read ({error.strerror or error}). Check the path after --files-from."
        ) from error
