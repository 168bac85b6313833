"""``unlearn protect -``: one photo from stdin, or to stdout."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unlearn_cli.cli.answer import answer
from unlearn_cli.cli.console import err, fail, plain
from unlearn_cli.cli.measured import after_protecting
from unlearn_cli.cli.summary import Talk
from unlearn_cli.errors import PhotoError, PhotoSkippedError, UsageError, WorkError

if TYPE_CHECKING:
    from unlearn_cli.photos.outcome import Options
    from unlearn_cli.photos.protection import Protection

PIPE = Path("-")

NOT_IN_A_PIPE = {
    "class_from_folders": "--class-from-folders",
    "in_place": "--in-place",
    "files_from": "--files-from",
    "shard": "--shard",
    "manifest": "--manifest",
    "preview": "--preview",
    "dry_run": "--dry-run",
    "as_json": "--json",
}
"""The options, by the names of their parameters, that need files and folders, or stdout."""


@dataclass(frozen=True)
class Pipe:
    """One photo that is read from stdin, or whose copy is written to stdout."""

    source: Path
    output: Path

    @classmethod
    def of(cls, paths: list[Path], output: Path | None, class_name: str | None, said: set[str]) -> Pipe | None:
        """Return the pipe that ``-`` asks for; None if there is none.

        ``said`` are the names of the options that were typed; a default output is meant for folders. Raises
        ``UsageError`` for options that do not go with a pipe, for several photos, without a class, and for a terminal
        in the place of a pipe.
        """
        output = output if "output" in said else None
        if PIPE not in paths and output != PIPE:
            return None
        answer.expect("protect", wanted=False)  # Whatever happens, stdout is the photo's.
        if len(paths) != 1:
            raise UsageError("- is one photo in a pipe. Name nothing else with it.")
        for name in said & NOT_IN_A_PIPE.keys():
            option = NOT_IN_A_PIPE[name]
            raise UsageError(f"{option} does not go with -, which is one photo in a pipe. Leave out {option}.")
        if class_name is None:
            raise UsageError("Say what the photo in the pipe shows with --class, such as --class person.")
        pipe = cls(paths[0], output or PIPE)
        if pipe.source == PIPE and sys.stdin.isatty():
            raise UsageError(
                "There is no photo on stdin. Pipe one in: unlearn protect - --class person < a.jpg > b.jpg"
            )
        if pipe.output == PIPE and sys.stdout.isatty():
            raise UsageError("A photo cannot be shown in a terminal. Write stdout to a file with > b.jpg.")
        return pipe

    def protect(self, protection: Protection, options: Options, talk: Talk) -> None:
        """Read the photo, and write its copy. Exits with 1, and writes nothing, if it cannot be protected."""
        from unlearn_cli.photos.decode import read_file
        from unlearn_cli.photos.kinds import why_not_taken
        from unlearn_cli.photos.single import protect_piped

        if self.output != PIPE and os.path.lexists(self.output) and not options.overwrite:
            raise WorkError(f"{self.output} exists already. Name another --output, or add --existing overwrite.")
        try:
            if self.source != PIPE and (why := why_not_taken(self.source)) is not None:
                raise PhotoError(why, "unsupported")
            data = sys.stdin.buffer.read() if self.source == PIPE else read_file(self.source)
            made = protect_piped(data, protection, options)
        except (PhotoError, PhotoSkippedError) as error:
            fail(f"The photo is not protected: {error}.", 1)
            return
        self._write(made.data)
        if talk.quiet:
            return
        bound = protection.pattern.epsilon
        err().print(
            f"protected: one {made.format} photo, changed by at most {made.linf:g} of 255 levels (bound {bound})"
        )
        for text in (*made.doubts, *made.notes):
            err().print(f"note: {plain(text)}")
        for line in after_protecting([protection]):
            err().print(f"- {plain(line)}")

    def _write(self, data: bytes) -> None:
        from unlearn_cli.files import write_atomically

        if self.output == PIPE:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        else:
            write_atomically(self.output, data)
