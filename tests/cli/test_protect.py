"""``protect`` and ``verify`` as a user or a script meets them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.cli.test_commands import make_photo, one_sentence
from tests.conftest import RunUnlearn, make_bank


def test_every_option_can_come_from_the_environment_or_the_configuration(tmp_path: Path, unlearn: RunUnlearn) -> None:
    make_photo(tmp_path / "in" / "a.png")
    (tmp_path / "config.toml").write_text('[protect]\nclass = "cat"\nepsilon = 3\nno-such = 1\n')
    config = {"UNLEARN_CONFIG": "config.toml"}
    run = unlearn("protect", "in", **config)
    assert run.returncode == 2
    assert "line 4 sets 'no-such', but there is no such option. See 'unlearn protect" in one_sentence(run.stderr)
    (tmp_path / "config.toml").write_text('[protect]\nclass = "cat"\nepsilon = 3\n')
    assert summary(unlearn("protect", "in", "--json", **config))["epsilon"] == 3
    # The environment wins over the file, and the command line over both.
    again = unlearn("protect", "in", "--json", UNLEARN_PROTECT_EPSILON="4", UNLEARN_PROTECT_CLASS="person", **config)
    assert (summary(again)["epsilon"], list(summary(again)["banks"])) == (4, ["person"])
    assert (
        summary(unlearn("protect", "in", "--json", "--epsilon", "5", UNLEARN_PROTECT_EPSILON="4", **config))["epsilon"]
        == 5
    )
    flag = unlearn("protect", "in", "--class", "cat", UNLEARN_PROTECT_DRY_RUN="1")
    assert "would protect: 1 photos" in flag.stdout  # at another epsilon
    same = unlearn("protect", "in", "--class", "cat", "-n", UNLEARN_PROTECT_EPSILON="5")
    assert "would protect: 0 photos" in same.stdout
    assert "up to date: 1" in same.stdout


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[protect\n", "cannot be read"),
        ("[nonsense]\n", "no command has that name"),
        ("jobs = 2\n", "no command has that name"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_told(
    tmp_path: Path, unlearn: RunUnlearn, text: str, sentence: str
) -> None:
    (tmp_path / "config.toml").write_text(text)
    run = unlearn("banks", "list", UNLEARN_CONFIG="config.toml")
    assert run.returncode == 2
    assert sentence in one_sentence(run.stderr)
    assert unlearn("banks", "list", UNLEARN_CONFIG="gone.toml").returncode == 2


def summary(run: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return the answer to --json, with its counts beside the other fields."""
    found = json.loads(run.stdout)
    assert isinstance(found, dict)
    return {**found["counts"], **found}


def test_json_is_one_object_on_stdout_and_nothing_else(tmp_path: Path, unlearn: RunUnlearn) -> None:
    make_photo(tmp_path / "in" / "a.png")
    make_photo(tmp_path / "in" / "b.jpg")
    (tmp_path / "in" / "c.jpg").write_bytes(b"damaged")
    (tmp_path / "in" / "notes.txt").touch()
    run = unlearn("protect", "in", "--class", "person", "--json")
    assert run.returncode == 1
    found = summary(run)
    assert (found["protected"], found["skipped"], found["failed"], found["other_files"]) == (2, 0, 1, 1)
    assert found["manifests"] == [str(tmp_path / "in-protected.jsonl")]
    again = summary(unlearn("protect", "in", "--class", "person", "--json"))
    assert (again["protected"], again["already_protected"]) == (0, 2)


def test_without_a_terminal_there_are_plain_lines(tmp_path: Path, unlearn: RunUnlearn) -> None:
    make_photo(tmp_path / "in" / "a.png")
    run = unlearn("protect", "in", "--class", "person")
    assert run.stdout.startswith("protected: 1 of 1 photos, 1 of them weakly, in ")
    assert not set(run.stdout + run.stderr) & set("│┌─╭\x1b")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals that Python opens")
@pytest.mark.parametrize("arguments", [["protect", "in", "--class", "person", "-v"], ["verify", "in", "in-protected"]])
def test_on_a_terminal_there_are_a_bar_and_a_table(tmp_path: Path, unlearn: RunUnlearn, arguments: list[str]) -> None:
    import pty

    make_photo(tmp_path / "in" / "a.png")
    make_photo(tmp_path / "in" / "[b].jpg")
    if arguments[0] == "verify":
        unlearn("protect", "in", "--class", "person")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "unlearn_cli", *arguments]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # Linux's way to say that the other end is closed
        while part := os.read(ours, 4096):
            shown += part
    os.close(ours)
    assert process.wait(timeout=60) == 0, shown
    assert b"2/2" in shown
    assert "│".encode() in shown
    assert b"Traceback" not in shown


def test_quiet_and_verbose(tmp_path: Path, unlearn: RunUnlearn) -> None:
    make_photo(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").write_bytes(b"damaged")
    quiet = unlearn("protect", "in", "--class", "person", "-q")
    assert quiet.stdout == ""
    assert [line.split(":")[0] for line in quiet.stderr.splitlines()] == ["failed"]
    verbose = unlearn("protect", "in", "--class", "person", "-v", "--existing", "overwrite")
    assert "protected: " in verbose.stderr
    assert "in-protected/a.png" in verbose.stderr


def test_a_dry_run_writes_nothing(tmp_path: Path, unlearn: RunUnlearn) -> None:
    make_photo(tmp_path / "in" / "a.gif")
    run = unlearn("protect", "in", "--class", "person", "-n")
    assert run.returncode == 0, run.stderr
    assert "in/a.gif -> in-protected/a.gif.png (person)" in run.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    found = summary(unlearn("protect", "in", "--class", "person", "-n", "--json"))
    assert (found["dry_run"], found["would_protect"], found["already_protected"]) == (True, 1, 0)
    (photo,) = found["photos"]
    assert (photo["input"], photo["output"]) == (f"{tmp_path}/in/a.gif", f"{tmp_path}/in-protected/a.gif.png")
    assert (photo["status"], photo["class"]) == ("would_protect", "person")


def test_folders_can_tell_the_classes(tmp_path: Path, unlearn: RunUnlearn) -> None:
    for name in ("cat/1.png", "n02084071/deep/2.png"):
        make_photo(tmp_path / "in" / name)
    unknown = unlearn("protect", "in", "--class-from-folders")
    assert unknown.returncode == 2
    assert "The folder name 'n02084071' is not a class" in one_sentence(unknown.stderr)
    assert not (tmp_path / "in-protected").exists()
    (tmp_path / "names.toml").write_text('n02084071 = "dog"\n')
    run = unlearn("protect", "in", "--class-from-folders", "--set", "map=names.toml")
    assert run.returncode == 0, run.stderr
    records = [json.loads(line) for line in (tmp_path / "in-protected.jsonl").read_text().splitlines()]
    assert sorted((record["input"], record["class"]) for record in records) == [
        ("in/cat/1.png", "cat"),
        ("in/n02084071/deep/2.png", "dog"),
    ]
    verified = summary(unlearn("verify", "in", "in-protected", "--json"))
    pairs = verified["photos"]
    assert isinstance(pairs, list)
    assert [pair["fit"]["class_name"] for pair in pairs] == ["cat", "dog"]
    make_photo(tmp_path / "in" / "top.png")
    stray = unlearn("protect", "in", "--class-from-folders", "--set", "map=names.toml")
    assert "is not in a subfolder" in one_sentence(stray.stderr)


def test_a_weaker_epsilon_is_kept_and_a_stronger_one_refused(tmp_path: Path, unlearn: RunUnlearn) -> None:
    source = make_photo(tmp_path / "in" / "a.png")
    run = unlearn("protect", "in", "--class", "person", "--epsilon", "4")
    assert "Noise at epsilon 4 has not been measured" in run.stderr
    with Image.open(source) as before, Image.open(tmp_path / "in-protected" / "a.png") as after:
        assert np.abs(np.asarray(before).astype(int) - np.asarray(after)).max() == 4
    strong = unlearn("protect", "in", "--class", "person", "--epsilon", "9")
    assert strong.returncode == 2
    assert "can only be scaled down" in one_sentence(strong.stderr)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--class", "cat"], "Name photos"),
        (["in"], "Say what the photos show"),
        (["in", "--class", "cat", "--class-from-folders"], "either --class or"),
        (["in", "--class", "cat", "--set", "map=m.toml"], "--set map works only together with --class-from-folders"),
        (["in", "--class-from-folders", "--set", "map=gone.toml"], "gone.toml cannot be read"),
        (["in", "--class", "cat", "--in-place"], "--in-place needs --backup"),
        (["in", "--class", "cat", "--backup", "b"], "--backup works only together with --in-place"),
        (["in", "--class", "cat", "--in-place", "--backup", "b", "-o", "c"], "either --output or --in-place"),
        (
            ["in", "--class", "cat", "--set", "gain=yes"],
            "There is no setting 'gain' here. Did you mean 'again'? The settings are: again, fail-fast",
        ),
        (["in", "--class", "cat", "--set", "again"], "--set needs a name and a value, such as again=yes"),
        (["in", "--class", "cat", "--set", "again=perhaps"], "again must be yes or no, not 'perhaps'"),
        (["in", "--class", "cat", "--set", "max-megapixels=many"], "max-megapixels must be a whole number"),
        (["in", "--class", "cat", "--strength", "low"], "has only one strength"),
        (["in", "--class", "cat", "--key-file", "k"], "does not depend on a key"),
        (["in", "--class", "cat", "--shard", "3/2"], "I/N"),
        (["in", "--class", "cat", "--preview", "p.bmp"], ".png or an .html"),
        (["in", "--class", "cat", "--manifest", "in"], "must end in .jsonl"),
        (["in", "--class", "cat", "--format", "png", "--quality", "80"], "PNG is lossless"),
        (["--files-from", "gone", "--class", "cat"], "The list gone cannot be read"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_done(
    tmp_path: Path, unlearn: RunUnlearn, arguments: list[str], sentence: str
) -> None:
    make_photo(tmp_path / "in" / "a.png")
    run = unlearn("protect", *arguments)
    assert run.returncode == 2, run.stderr
    assert sentence in one_sentence(run.stderr)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_a_list_is_read_from_stdin(tmp_path: Path) -> None:
    for name in ("a/x.png", "b/x.png", "b/y.png"):
        make_photo(tmp_path / name)
    command = [sys.executable, "-m", "unlearn_cli", "protect", "--files-from", "-", "-o", "out", "--class", "person"]
    subprocess.run(command, cwd=tmp_path, input=b"a/x.png\nb/x.png\n", check=True, capture_output=True)
    assert sorted(p.relative_to(tmp_path).as_posix() for p in (tmp_path / "out").rglob("*.png")) == [
        "out/a/x.png",
        "out/b/x.png",
    ]


def test_in_place_and_back(tmp_path: Path, unlearn: RunUnlearn) -> None:
    source = make_photo(tmp_path / "in" / "a.png")
    before = (source.read_bytes(), source.stat().st_mtime_ns)
    run = unlearn("protect", "in", "--class", "person", "--in-place", "--backup", "kept")
    assert run.returncode == 0, run.stderr
    assert source.read_bytes() != before[0]
    assert unlearn("verify", "kept", "in").returncode == 0
    planned = unlearn("restore", "in.jsonl", "-n")
    assert "would restore: 1 of 1 photos" in planned.stdout
    found = json.loads(unlearn("restore", "in.jsonl", "-n", "--json").stdout)
    assert (found["dry_run"], found["counts"]) == (True, {"would_restore": 1, "would_fail": 0})
    assert [photo["status"] for photo in found["photos"]] == ["would_restore"]
    undone = unlearn("restore", "in.jsonl")
    assert undone.returncode == 0, undone.stderr
    assert "restored: 1 of 1 photos" in undone.stdout
    assert (source.read_bytes(), source.stat().st_mtime_ns) == before


def test_shards_share_a_folder(tmp_path: Path, unlearn: RunUnlearn) -> None:
    for i in range(12):
        make_photo(tmp_path / "in" / f"{i}.png")
    for part in (1, 2, 3):
        assert unlearn("protect", "in", "--class", "person", "--shard", f"{part}/3").returncode == 0
    assert len(list((tmp_path / "in-protected").iterdir())) == 12
    assert len(list(tmp_path.glob("in-protected.*-of-3.jsonl"))) == 3
    assert unlearn("verify", "in", "in-protected").returncode == 0


def test_verify_tells_what_it_found_and_exits_1_when_a_pair_is_missing(tmp_path: Path, unlearn: RunUnlearn) -> None:
    make_photo(tmp_path / "in" / "a.png")
    make_photo(tmp_path / "in" / "b.jpg")
    unlearn("protect", "in", "--class", "cat")
    run = unlearn("verify", "in", "in-protected")
    assert run.returncode == 0, run.stderr
    assert "protected: 2 of 2" in run.stdout
    assert "bank cifar10, class cat, epsilon 8" in run.stdout
    assert "lossless files: 1: changed by at most 8" in run.stdout
    assert "(SSIM)" not in run.stdout
    measured = unlearn("verify", "in", "in-protected", "--measure")
    assert "bank cifar10, class cat, epsilon 8" in measured.stdout
    assert "(SSIM)" in measured.stdout
    (tmp_path / "in-protected" / "a.png").unlink()
    run = unlearn("verify", "in", "in-protected")
    assert run.returncode == 1
    assert "missing: " in run.stderr
    assert unlearn("verify", "in", "nowhere").returncode == 2
    swapped = unlearn("verify", "in-protected", "in")
    assert swapped.returncode == 2
    assert "The two paths are swapped" in one_sentence(swapped.stderr)


def test_a_large_photo_needs_a_word(tmp_path: Path, unlearn: RunUnlearn) -> None:
    make_photo(tmp_path / "in" / "a.png")
    small = unlearn("protect", "in", "--class", "person", "--set", "max-megapixels=1")
    assert small.returncode == 0
    Image.new("L", (1100, 1000)).save(tmp_path / "in" / "b.png")
    large = unlearn("protect", "in", "--class", "person", "--set", "max-megapixels=1")
    assert "has more than 1 megapixels" in large.stderr
    assert "max-megapixels" in large.stderr


def test_a_preview_can_be_made_later(tmp_path: Path, unlearn: RunUnlearn) -> None:
    for name in "abcdef":
        make_photo(tmp_path / "in" / f"{name}.png")
    assert unlearn("protect", "in", "--class", "cat").returncode == 0
    made = unlearn("preview", "in", "in-protected")
    assert made.returncode == 0
    assert "do not share it" in made.stderr
    assert (tmp_path / "preview.html").read_text().count("<figure>") == 6
    assert unlearn("preview", "in", "in-protected", "-o", "p.png").returncode == 0
    for image in (tmp_path / "in-protected").iterdir():
        image.write_bytes(b"damaged")
    nothing = unlearn("preview", "in", "in-protected")
    assert (nothing.returncode, "no photo in in has a readable copy" in nothing.stderr) == (1, True)
    assert unlearn("preview", "in", "gone").returncode == 2


def test_without_flip_the_rest_is_measured(tmp_path: Path) -> None:
    make_photo(tmp_path / "in" / "a.png")
    code = "import sys\nsys.modules['flip_evaluator'] = None\nfrom unlearn_cli.cli.app import app\napp(sys.argv[1:])\n"
    for arguments in (["protect", "in", "--class", "person"], ["verify", "in", "in-protected", "--measure"]):
        run = subprocess.run(
            [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True
        )
    assert "run: pip install '.[measure]'" in run.stderr
    assert "colour difference (CIEDE2000): " in run.stdout


def test_a_list_with_nothing_new_is_no_failure(tmp_path: Path, unlearn: RunUnlearn) -> None:
    (tmp_path / "list").touch()
    run = unlearn("protect", "--files-from", "list", "-o", "out", "--class", "person", "--json")
    assert run.returncode == 0, run.stderr
    assert (summary(run)["protected"], summary(run)["failed"]) == (0, 0)


def test_a_key_that_nothing_uses_is_not_passed_over_in_silence(tmp_path: Path, unlearn: RunUnlearn) -> None:
    make_photo(tmp_path / "in" / "a.png")
    run = unlearn("protect", "in", "--class", "cat", UNLEARN_KEY="secret")
    assert run.returncode == 0
    assert "does not depend on a key" in run.stderr
    assert "secret" not in run.stderr + run.stdout + (tmp_path / "in-protected.jsonl").read_text()


def test_a_damaged_card_is_told_before_any_work(tmp_path: Path, unlearn: RunUnlearn) -> None:
    make_photo(tmp_path / "in" / "a.png")
    make_bank(tmp_path / "mine.safetensors")
    (tmp_path / "mine.json").write_text("[damaged")
    run = unlearn("protect", "in", "--class", "cat", "--bank", "mine.safetensors")
    assert run.returncode == 3
    assert "mine.json cannot be read" in one_sentence(run.stderr)
    assert not (tmp_path / "in-protected").exists()


def test_jpg_is_jpeg(tmp_path: Path, unlearn: RunUnlearn) -> None:
    make_photo(tmp_path / "in" / "a.png")
    assert unlearn("protect", "in", "--class", "person", "--format", "jpg").returncode == 0
    assert (tmp_path / "in-protected" / "a.jpg").is_file()


def test_pictures_that_cannot_be_protected_are_named_and_fail_nothing(tmp_path: Path, unlearn: RunUnlearn) -> None:
    make_photo(tmp_path / "in" / "a.png")
    for i in range(12):
        (tmp_path / "in" / f"{i:02}.NEF").touch()
    (tmp_path / "in" / "a.mov").touch()
    first = ", ".join(f"{i:02}.NEF" for i in range(10))
    raw = "it is a camera's raw file: export it as JPEG or TIFF and protect that"
    dry = unlearn("protect", "in", "--class", "cat", "-n")
    run = unlearn("protect", "in", "--class", "cat")
    for told in (dry, run):
        assert told.returncode == 0, told.stderr
        assert f"not protected: 12 files: {first} and 2 more (-v names all): {raw}\n" in told.stdout
        assert "not protected: 1 file: a.mov: it is the video of a Live Photo" in told.stdout
    assert "in/11.NEF: it is" in unlearn("protect", "in", "--class", "cat", "-v").stdout
    for arguments in ((), ("-n",)):
        found = summary(unlearn("protect", "in", "--class", "cat", "--json", *arguments))
        refused = found["not_protected"][0]
        assert (refused["input"], refused["reason"]) == (str(tmp_path / "in" / "00.NEF"), raw)
        assert (len(found["not_protected"]), found["other_files"]) == (13, 0)
    assert unlearn("verify", "in", "in-protected").returncode == 0
    assert unlearn("protect", "in", "--class", "cat", "-q").stdout == ""


def test_in_place_they_are_named_before_anything_is_done(tmp_path: Path) -> None:
    make_photo(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "a.NEF").touch()
    code = (
        "import sys\n"
        "from unlearn_cli.cli.app import app\n"
        "from unlearn_cli.photos import folder\n"
        "def nothing(*arguments):\n"
        "    print('-- begun', file=sys.stderr)\n"
        "    yield from ()\n"
        "folder.protect_photos = nothing\n"
        "app(sys.argv[1:])\n"
    )
    command = [sys.executable, "-c", code, "protect", "in", "--class", "cat", "--in-place", "--backup", "kept"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "not protected: 1 file: a.NEF: it is a camera's raw file" in run.stderr.split("-- begun")[0]
    assert "not protected: 1 file: a.NEF: it is a camera's raw file" in run.stdout


def test_a_raw_file_that_is_named_fails_alone(tmp_path: Path, unlearn: RunUnlearn) -> None:
    make_photo(tmp_path / "a.png")
    make_photo(tmp_path / "b.jpg").rename(tmp_path / "b.CR2")
    run = unlearn("protect", "a.png", "b.CR2", "--class", "cat")
    assert run.returncode == 1
    assert "b.CR2: it is a camera's raw file: export it as JPEG or TIFF and protect that" in run.stderr
    assert "1 of 2 photos" in run.stdout
    assert (tmp_path / "a-protected.png").is_file()


@pytest.mark.skipif(os.name != "posix", reason="POSIX links")
def test_what_has_to_be_known_of_protected_photos_is_counted(tmp_path: Path, unlearn: RunUnlearn) -> None:
    for i in range(2):
        os.link(make_photo(tmp_path / "in" / f"{i}.png"), tmp_path / f"other{i}.png")
    arguments = ("protect", "in", "--class", "cat", "--in-place", "--backup", "kept")
    note = "it has other names (hard links), which still show the unprotected photo: replace or delete them"
    run = unlearn(*arguments, "-v")
    assert run.returncode == 0, run.stderr
    assert f"note: 2 photos: {note}" in run.stdout
    assert f"note: {tmp_path}/in/1.png: {note}" in run.stderr
    unlearn("restore", "in.jsonl")
    for i in range(2):
        (tmp_path / f"other{i}.png").unlink()
    os.link(tmp_path / "in" / "0.png", tmp_path / "other.png")
    found = summary(unlearn(*arguments, "--json"))
    assert (found["protected"], [photo["notes"] for photo in found["photos"]]) == (2, [[note], []])


def test_a_clash_of_names_stops_nothing(tmp_path: Path, unlearn: RunUnlearn) -> None:
    for name in ("a.gif", "a.png", "b.jpg"):
        make_photo(tmp_path / "in" / name)
    arguments = ("protect", "in", "--class", "cat", "--format", "jpeg")
    assert "in/a.png -> in-protected/a.png.jpg (cat)" in unlearn(*arguments, "-n").stdout
    run = unlearn(*arguments)
    assert run.returncode == 0, run.stderr
    assert sorted(path.name for path in (tmp_path / "in-protected").iterdir()) == ["a.jpg", "a.png.jpg", "b.jpg"]
    assert summary(unlearn(*arguments, "--json"))["already_protected"] == 3
    verified = unlearn("verify", "in", "in-protected")
    assert verified.returncode == 0, verified.stderr
    assert "protected: 3 of 3" in verified.stdout


def test_noise_that_compression_has_removed_is_told_when_it_is_looked_for(tmp_path: Path, unlearn: RunUnlearn) -> None:
    (tmp_path / "in").mkdir()
    with Image.open(Path(__file__).parents[2] / "docs" / "portrait.jpg") as portrait:
        portrait.save(tmp_path / "in" / "a.jpg", quality=95)
    for quality, verdict in ((95, "protected"), (3, "not protected")):
        unlearn("protect", "in", "--class", "cat", "--quality", quality, "--existing", "overwrite")
        run = unlearn("verify", "in", "in-protected", "--measure", "--json")
        (photo,) = json.loads(run.stdout)["photos"]
        assert (photo["status"], run.returncode) == (verdict, int(verdict != "protected"))


def test_what_an_in_place_run_has_not_reached_is_not_called_too_much(tmp_path: Path, unlearn: RunUnlearn) -> None:
    make_photo(tmp_path / "in" / "a.png")
    unlearn("protect", "in", "--class", "cat", "--in-place", "--backup", "kept")
    make_photo(tmp_path / "in" / "b.png")
    run = unlearn("verify", "kept", "in")
    assert run.returncode == 1
    assert "not protected: in/b.png: it has no backup" in run.stderr
    assert "extra" not in run.stdout + run.stderr


def test_a_preview_is_not_written_among_the_copies(tmp_path: Path, unlearn: RunUnlearn) -> None:
    make_photo(tmp_path / "in" / "a.png")
    unlearn("protect", "in", "--class", "cat")
    for place in ("in-protected/index.html", "./in-protected/sub/../p.png"):
        run = unlearn("preview", "in", "in-protected", "-o", place)
        assert run.returncode == 2
        assert "must not lie in in-protected" in run.stderr
    assert [path.name for path in (tmp_path / "in-protected").iterdir()] == ["a.png"]
    assert unlearn("preview", "in", "in-protected").returncode == 0
