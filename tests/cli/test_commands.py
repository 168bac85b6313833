"""The commands as a user or a script meets them: output, exit codes, one sentence for each error."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import RunUnlearn, make_bank, make_result
from unlearn_cli.banks.bank import save_bank
from unlearn_cli.banks.card import Card, write_card


def make_photo(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise((64, 48), 60).convert("RGB").save(path)
    return path


def one_sentence(stderr: str) -> str:
    assert "Traceback" not in stderr
    (line,) = [line for line in stderr.splitlines() if line.startswith("Error:")]
    return line


def test_protect_writes_copies_and_says_what_it_did(tmp_path: Path, unlearn: RunUnlearn) -> None:
    source = make_photo(tmp_path / "selfies" / "sub" / "a.png")
    (tmp_path / "selfies" / "notes.txt").touch()
    before = hashlib.sha256(source.read_bytes()).digest()
    run = unlearn("protect", "selfies", "--class", "person")
    assert run.returncode == 0, run.stderr
    assert "1 of 1 photos" in run.stdout
    assert "other files: 1, which are not photos and were ignored" in run.stdout
    assert "largest change: 8 of 255 levels before encoding (bound 8)" in run.stdout
    assert "recorded in: selfies-protected.jsonl" in run.stdout
    # Measured figures and limits, not promises.
    assert "recognised the protected ones on" in run.stderr
    assert "face" in run.stderr
    assert "already trained" in run.stderr
    copy = tmp_path / "selfies-protected" / "sub" / "a.png"
    difference = np.asarray(Image.open(copy)).astype(int) - np.asarray(Image.open(source)).astype(int)
    assert 0 < np.abs(difference).max() <= 8
    assert hashlib.sha256(source.read_bytes()).digest() == before


def test_the_best_supported_figure_is_told_and_the_worst_defence(tmp_path: Path, unlearn: RunUnlearn) -> None:
    make_photo(tmp_path / "in" / "a.png")
    bank = make_bank(tmp_path / "mine.safetensors", classes=("cat",))
    figures = ((0.1, "none", 3), (0.2, "none", 3), (0.4, "none", 1), (0.5, "gray", 1), (0.3, "jpeg:30", 1))
    results = (make_result(final, defence=defence, seeds=seeds) for final, defence, seeds in figures)
    write_card(bank.path, Card(bank_sha256=bank.sha256, results=tuple(results)))
    run = unlearn("protect", "in", "--class", "cat", "--bank", "mine.safetensors")
    lines = [line for line in run.stderr.splitlines() if line.startswith("- ")]
    right = "on protected photos of 2 classes classified {} of 100 new photos correctly; 70 of 100 without protection"
    assert lines[1:3] == [
        f"- Measured: a model trained without colours {right.format(50)}: little protection.",
        f"- Measured: a model trained from scratch {right.format(20)}.",
    ]
    assert "unlearn banks show mine" in lines[-1]
    assert len(lines) <= 4
    table = json.loads(unlearn("banks", "show", "mine.safetensors", "--json").stdout)["card"]["results"]
    assert len(table) == 5
    worst = [line.split("\t") for line in unlearn("banks", "show", "mine.safetensors").stdout.splitlines()]
    assert [row[1:] for row in worst if len(row) > 1] == [
        ["protected", "unprotected", "seeds"],
        ["50", "70", "1"],
        ["30", "70", "1"],
        ["20", "70", "3"],
    ]
    shown = unlearn("banks", "show", "mine.safetensors", "--all").stdout
    assert re.findall(r"\b(\d\d\.0) %, best epoch", shown) == ["50.0", "40.0", "30.0", "20.0", "10.0"]


def test_a_network_that_took_part_is_no_judge_and_other_attackers_are_worded(
    tmp_path: Path, unlearn: RunUnlearn
) -> None:
    make_photo(tmp_path / "in" / "a.png")
    bank = make_bank(tmp_path / "mine.safetensors", classes=("cat",))
    tuned = {"model": "fine-tune:mobilenet_v2:last", "epochs": 1}
    worst = replace(make_result(0.6), labels={"reweight": "5 % clean photos"})
    results = [
        replace(make_result(0.4), training={"model": "frozen:sface", "epochs": 1}, white_box=True),
        replace(make_result(0.4), training={"model": "frozen:dlib", "epochs": 1}),
        replace(make_result(0.5), training=tuned),
        make_result(0.2, seeds=3),
    ]
    for found, says in (
        (results, "a model that knew other pictures before (mobilenet_v2, last layer trained)"),
        ([*results, worst], "trained from scratch, whose last layer was corrected with 5 % clean photos"),
    ):
        write_card(bank.path, Card(bank_sha256=bank.sha256, results=tuple(found)))
        run = unlearn("protect", "in", "--class", "cat", "--bank", "mine.safetensors", "--existing", "overwrite")
        lines = [line for line in run.stderr.splitlines() if line.startswith("- ")]
        assert says in lines[1]
        assert "a model trained from scratch on" in lines[2]
        assert "20 of 100" in lines[2]
        assert "sface" not in run.stderr
    shown = unlearn("banks", "show", "mine.safetensors", "--json").stdout
    assert [of["white_box"] for of in json.loads(shown)["card"]["results"]].count(True) == 1


def test_a_network_that_took_part_counts_only_where_it_names_more_than_the_others(
    tmp_path: Path, unlearn: RunUnlearn
) -> None:
    make_photo(tmp_path / "in" / "a.png")
    bank = make_bank(tmp_path / "mine.safetensors", classes=("cat",))
    teacher = replace(make_result(0.45), training={"model": "frozen:sface", "epochs": 1}, white_box=True)
    for unseen, says in ((0.3, "45 of 100"), (0.5, "50 of 100"), (None, "20 of 100")):
        others = (
            [] if unseen is None else [replace(make_result(unseen), training={"model": "frozen:dlib", "epochs": 1})]
        )
        write_card(bank.path, Card(bank_sha256=bank.sha256, results=(teacher, *others, make_result(0.2, seeds=3))))
        run = unlearn("protect", "in", "--class", "cat", "--bank", "mine.safetensors", "--existing", "overwrite")
        assert says in next(line for line in run.stderr.splitlines() if line.startswith("- Measured"))


def test_what_protect_says_of_a_shipped_bank_is_for_everybody(tmp_path: Path, unlearn: RunUnlearn) -> None:
    make_photo(tmp_path / "in" / "a.png")
    for strength in ("low", "medium", "high", "max"):
        run = unlearn("protect", "in", "--class", "person", "--strength", strength, "-o", strength)
        lines = [line for line in run.stderr.splitlines() if line.startswith("- ")]
        assert 2 <= len(lines) <= 4
        assert "face search" in lines[0], "that is what people ask first"
        if "has not been measured" in lines[1]:
            assert f"--bank person-{strength} --record" in lines[1]
        else:
            assert "no protection" in lines[1], "the worst comes first"
        said = run.stdout + "\n".join(lines)
        assert not re.search(r"victim|epoch|seed|surrogate|\btrip\b|resnet", said, re.IGNORECASE), said


def test_with_several_banks_it_still_says_little(tmp_path: Path, unlearn: RunUnlearn) -> None:
    for name in ("me", "cat", "church"):
        make_photo(tmp_path / "in" / name / "a.png")
    run = unlearn("protect", "in", "--class-from-folders")
    assert run.returncode == 0, run.stderr
    assert len([line for line in run.stderr.splitlines() if line.startswith("- ")]) <= 4


def test_a_photo_that_fails_is_told_and_exits_1(tmp_path: Path, unlearn: RunUnlearn) -> None:
    make_photo(tmp_path / "in" / "good.png")
    (tmp_path / "in" / "bad [1].jpg").write_bytes(b"\xff\xd8\xff nothing more")
    run = unlearn("protect", "in", "--class", "car")
    assert run.returncode == 1
    assert "failed: " in run.stderr
    assert "bad [1].jpg" in run.stderr
    assert "1 of 2 photos" in run.stdout
    assert (tmp_path / "in-protected" / "good.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["protect", "in", "--class", "unicorn"], 2, "There is no class 'unicorn'"),
        (["protect", "missing", "--class", "cat"], 2, "There is no file or folder"),
        (["protect", "in", "--class", "cat", "-o", "in"], 2, "the input itself"),
        (["protect", "empty", "--class", "cat"], 1, "No photo found"),
        (["protect", "in", "--class", "cat", "-o", "in/a.png"], 2, "for one photo only"),
        (["protect", "in", "--class", "person", "--bank", "cifar10"], 2, "The shipped bank person has this class"),
        (["protect", "in", "--class", "cat", "--bank", "nothing"], 3, "There is no noise bank 'nothing'"),
        (["protect", "in", "--class", "cat", "--bank", "broken.safetensors"], 3, "cannot be used: it is damaged"),
        (["banks", "show", "nothing"], 3, "There is no noise bank 'nothing'"),
        (["protect", "in", "--class", "cat", "--bank", "gone.safetensors"], 3, "There is no noise bank gone"),
        (["generate", "--dataset", "cifar10", "-o", "broken.safetensors"], 2, "already exists"),
        (["generate", "--dataset", "cifar10", "-o", "bank.json"], 2, "name it bank.safetensors"),
        (["evaluate", "bank", "cifar10", "--set", "device=abacus"], 2, "There is no device 'abacus'"),
    ],
)
def test_errors_are_one_sentence_with_a_stable_exit_code(
    tmp_path: Path, unlearn: RunUnlearn, arguments: list[str], code: int, sentence: str
) -> None:
    make_photo(tmp_path / "in" / "a.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.safetensors").write_bytes(make_bank(tmp_path / "x.safetensors").path.read_bytes()[:-1])
    run = unlearn(*arguments)
    assert run.returncode == code, run.stderr
    assert sentence in one_sentence(run.stderr)
    assert run.stdout == ""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX has pipes and wild names")
def test_pipes_are_no_photos_and_names_cannot_speak_to_the_terminal(tmp_path: Path, unlearn: RunUnlearn) -> None:
    make_photo(tmp_path / "in" / "a.png")
    os.mkfifo(tmp_path / "in" / "pipe.jpg")
    (tmp_path / "in" / "gone.jpg").symlink_to("nowhere")
    (tmp_path / "in" / "to-a-pipe.jpg").symlink_to("pipe.jpg")
    (tmp_path / "in" / "\x1b[31mred [bold]\n.jpg").write_bytes(b"no photo")
    run = unlearn("protect", "in", "--class", "person")
    assert run.returncode == 1
    assert "1 of 4 photos" in run.stdout
    assert "it is not a regular file" in run.stderr
    assert "it cannot be read (No such file or directory)" in run.stderr
    assert "\x1b" not in run.stderr + run.stdout
    assert r"\x1b[31mred [bold]\x0a.jpg" in run.stderr


def test_wrong_usage_exits_2(unlearn: RunUnlearn) -> None:
    assert unlearn("protect").returncode == 2
    assert unlearn("protect", "x", "--class", "cat", "--unknown").returncode == 2
    assert unlearn("nonsense").returncode == 2
    assert unlearn("generate", "--dataset", "cifar10", "--through", "walls").returncode == 2


def test_banks_are_listed_and_shown(unlearn: RunUnlearn) -> None:
    listing = json.loads(unlearn("banks", "list", "--json").stdout)
    assert listing["person"]["patterns"] == 48
    assert [listing[name]["strength"] for name in ("cifar10", "person", "person-high")] == [None, "medium", "high"]
    assert "automobile" in listing["cifar10"]["classes"]
    assert "automobile" in unlearn("banks", "list").stdout
    shown = json.loads(unlearn("banks", "show", "person", "--json").stdout)
    assert shown["provenance"]["dataset"]["licence"] == "research use only"
    assert shown["sha256"] == listing["person"]["sha256"]
    assert "research use only" in unlearn("banks", "show", "person").stdout


def test_generate_and_evaluate_and_protect_with_ones_own_photos(tmp_path: Path, unlearn: RunUnlearn) -> None:
    """The whole line on a tiny folder of made photos, through the commands alone."""
    random = np.random.default_rng(0)
    for label, name in enumerate(("day", "night")):
        (tmp_path / "album" / name).mkdir(parents=True)
        for i in range(20):
            pixels = random.integers(0, 120, (40, 40, 3)) + 100 * (label == 0)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "album" / name / f"{i:02}.png")
    album = ["--dataset", "folder:album", "--image-size", "16"]
    made = unlearn(
        "generate",
        *album,
        "--set",
        "max-iterations=2",
        "--set",
        "noise-share=1",
        "--set",
        "licence=mine",
        "--seed",
        "3",
    )
    assert made.returncode == 0, made.stderr
    assert "at most" in made.stderr
    from unlearn_cli.banks.bank import load_bank

    bank = load_bank(tmp_path / "album.safetensors")
    assert np.abs(bank.noise.astype(int)).max() <= 8
    assert bank.provenance.dataset["licence"] == "mine"
    measured = unlearn(
        "evaluate",
        "bank",
        "album.safetensors",
        *album[:2],
        "--set",
        "image-size=16",
        "--set",
        "epochs=2",
        "--set",
        "batch-size=8",
        "-o",
        "report",
        "--record",
    )
    assert measured.returncode == 0, measured.stderr
    assert "album" in measured.stdout
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["command"].startswith("unlearn evaluate bank album.safetensors")
    card = json.loads((tmp_path / "album.json").read_text())
    (row, _) = report["rows"]
    protected = card["results"][0]["protected"]
    assert (protected["final"], protected["peak"]) == (row["final"]["mean"], row["peak"]["mean"])
    assert protected["final_interval"] == [row["final"]["low"], row["final"]["high"]]
    assert card["made"]["stop"] in ("goal reached", "max_iterations reached")
    run = unlearn("protect", "album/day", "--class", "day", "--bank", "album.safetensors")
    assert run.returncode == 0, run.stderr
    assert len(list((tmp_path / "album" / "day-protected").iterdir())) == 20


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_exits_130_and_keeps_what_is_finished(tmp_path: Path) -> None:
    # Large enough to last for many seconds, however late a busy machine looks.
    (tmp_path / "in").mkdir()
    Image.effect_noise((1200, 900), 60).convert("RGB").save(tmp_path / "in" / "0.png")
    for i in range(1, 200):
        (tmp_path / "in" / f"{i}.png").hardlink_to(tmp_path / "in" / "0.png")
    process = subprocess.Popen(
        [sys.executable, "-m", "unlearn_cli", "protect", "in", "--class", "person", "-j", "1"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever starts the tests in a shell's background has them ignore it, and every process of theirs with them.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    out = tmp_path / "in-protected"
    while process.poll() is None and not list(out.glob("*.png")):
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Interrupted" in one_sentence(stderr)
    assert 0 < len(list(out.iterdir())) < 200
    for file in out.iterdir():
        with Image.open(file) as image:
            image.load()


def test_the_version(unlearn: RunUnlearn) -> None:
    from unlearn_cli import __version__

    for name in ("--version", "-V"):
        assert unlearn(name).stdout == f"unlearn {__version__}\n"


def test_the_shell_can_complete_commands_options_and_values(unlearn: RunUnlearn) -> None:
    def completed(words: str) -> list[str]:
        place = str(words.count(" "))
        run = unlearn(_UNLEARN_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=place)
        return run.stdout.split()

    assert completed("unlearn pro") == ["protect"]
    assert completed("unlearn protect --streng") == ["--strength"]
    assert completed("unlearn protect --strength ") == ["low", "medium", "high", "max"]


def test_verify_refuses_a_bank_that_it_cannot_look_for(tmp_path: Path, unlearn: RunUnlearn) -> None:
    make_photo(tmp_path / "in" / "a.png")
    plain = make_bank(tmp_path / "plain.safetensors")
    own = replace(plain.provenance, form="sample-wise", classes=("cat", "dog"))
    save_bank(tmp_path / "own.safetensors", plain.noise, own)
    assert unlearn("protect", "in", "--class", "cat").returncode == 0
    run = unlearn("verify", "in", "in-protected", "--bank", "own.safetensors")
    assert (run.returncode, "Traceback" in run.stderr) == (3, False)
    assert "cannot protect other photos" in one_sentence(run.stderr)
