"""``generate``: every form, method and option through the command, on a folder of made images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Run
from unlearn_cli.banks.bank import load_bank
from unlearn_cli.banks.card import read_card
from unlearn_cli.banks.catalog import surrogate_path

ALBUM = ("--dataset", "folder:album", "--image-size", "16", "--surrogate", "resnet10-w16", "--set", "noise-share=1")
QUICK = (*ALBUM, "--set", "max-iterations=1", "--set", "learning-rate=0.01")


def test_a_bank_its_card_and_its_surrogate_are_made(run: Run) -> None:
    done = run("generate", *QUICK, "-o", "a.safetensors")
    assert done.exit_code == 0, done.stderr
    assert "did not reach its goal" in done.stderr
    bank = load_bank(Path("a.safetensors"))
    assert bank.classes == ("dawn", "day", "night")
    assert bank.provenance.hyperparameters["noise_steps"] == 1
    assert len(bank.provenance.dataset["sha256"]) == 64
    assert surrogate_path(bank.path).is_file()
    card = read_card(bank.path, bank.sha256)
    assert card.made.stop == "max_iterations reached"
    assert "did not reach its goal" in run("banks", "show", "a.safetensors").stdout
    again = run("generate", *QUICK, "-o", "a.safetensors")
    assert (again.exit_code, "already exists" in again.stderr) == (2, True)
    # A bank that needs no surrogate does not keep the one that was there.
    other = run("generate", *ALBUM, "--method", "lsp", "-o", "a.safetensors", "--overwrite")
    assert other.exit_code == 0, other.stderr
    assert not surrogate_path(bank.path).exists()
    assert "did not reach its goal" not in other.stderr


@pytest.mark.parametrize("method", ["error-min", "error-max", "random", "lsp", "ar"])
def test_every_method_makes_noise_for_each_image_and_is_measured(run: Run, method: str) -> None:
    extra = ("--set", "noise-steps=2", "--set", "surrogate-epochs=1") if method.startswith("error") else ()
    made = run("generate", *QUICK, "--method", method, "--form", "sample-wise", *extra, "-o", "s.safetensors")
    assert made.exit_code == 0, made.stderr
    assert ("is not meant to protect" in made.stderr) == (method != "error-min")
    bank = load_bank(Path("s.safetensors"))
    assert bank.noise.shape == (24, 3, 16, 16)  # every fifth image is for testing
    assert bank.provenance.schema == 2
    folder = ("--dataset", "folder:album", "--set", "image-size=16", "--set", "epochs=1", "--set", "batch-size=8")
    measured = run("evaluate", "bank", "s.safetensors", *folder, "-o", "report")
    assert measured.exit_code == 0, measured.stderr
    assert json.loads(Path("report/report.json").read_text())["rows"][0]["noise"]["form"] == "sample-wise"
    refused = run("protect", "album/day", "--class", "day", "--bank", "s.safetensors")
    assert (refused.exit_code, "noise for 24 images" in refused.stderr) == (3, True)
    shown = run("banks", "show", "s.safetensors")
    assert shown.exit_code == 0, shown.stderr
    assert "sample-wise" in shown.stdout


def test_patches_and_mixtures_are_measured_and_not_laid_on_photos(run: Run) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        assert run("generate", *QUICK, "--set", "patch=8", "--seed", seed, "-o", f"{name}.safetensors").exit_code == 0
    mixed = run("banks", "mix", "a.safetensors", "b.safetensors", "--add-uniform", "2", "-o", "m.safetensors")
    assert mixed.exit_code == 0, mixed.stderr
    assert load_bank(Path("m.safetensors")).noise.shape == (6, 3, 8, 8)
    folder = ("--dataset", "folder:album", "--set", "image-size=16", "--set", "epochs=1", "--set", "batch-size=8")
    for name in "am":
        done = run("evaluate", "bank", f"{name}.safetensors", *folder, "-o", f"report-{name}")
        assert done.exit_code == 0, done.stderr
        refused = run("protect", "album/day", "--class", "day", "--bank", f"{name}.safetensors")
        assert (refused.exit_code, "unlearn evaluate" in refused.stderr) == (3, True)
        assert run("banks", "show", f"{name}.safetensors").exit_code == 0


def test_classes_are_mapped_and_chosen(run: Run) -> None:
    Path("names.toml").write_text('dawn = "light"\nday = "light"\nnight = "dark"\n')
    assert run("generate", *QUICK, "--map", "names.toml", "-o", "m.safetensors").exit_code == 0
    assert load_bank(Path("m.safetensors")).classes == ("light", "dark")
    assert run("generate", *QUICK, "--first-classes", "2", "-o", "f.safetensors").exit_code == 0
    assert load_bank(Path("f.safetensors")).classes == ("dawn", "day")


def test_events_are_lines_of_json_and_a_checkpoint_goes_on(run: Run) -> None:
    arguments = (
        "generate",
        *ALBUM,
        "--set",
        "max-iterations=2",
        "--set",
        "stop-error=0",
        "--checkpoint",
        "kept",
        "--json",
    )
    first = run(*arguments, "-o", "a.safetensors")
    assert first.exit_code == 0, first.stderr
    events = [json.loads(line) for line in first.stdout.splitlines()]
    assert [event["event"] for event in events] == ["estimated", "iterated", "iterated", "finished"]
    assert events[1].keys() == {"event", "iteration", "max_iterations", "error", "seconds"}
    assert events[-1]["sha256"] == load_bank(Path("a.safetensors")).sha256
    second = run(*arguments, "-o", "b.safetensors")
    assert [json.loads(line)["event"] for line in second.stdout.splitlines()] == ["estimated", "resumed", "finished"]
    first_noise, second_noise = (load_bank(Path(f"{name}.safetensors")).noise for name in "ab")
    np.testing.assert_array_equal(first_noise, second_noise)


def test_events_tell_how_far_a_pass_over_the_images_is(run: Run) -> None:
    made = run("generate", *QUICK, "--form", "sample-wise", "--set", "batch-size=8", "-o", "a.safetensors", "--json")
    assert made.exit_code == 0, made.stderr
    passing = [event for line in made.stdout.splitlines() if (event := json.loads(line))["event"] == "improving"]
    assert {tuple(event) for event in passing} == {("event", "iteration", "max_iterations", "share")}
    shares = [event["share"] for event in passing]
    assert len(shares) > 1
    assert shares == sorted(set(shares))
    assert shares[-1] < 1


def test_options_without_effect_are_told(run: Run) -> None:
    made = run("generate", *ALBUM, "--method", "random", "--set", "rounds=2", "-o", "r.safetensors")
    assert made.exit_code == 0, made.stderr
    assert "no effect on class-wise random noise: surrogate, noise-share, rounds." in made.stderr
    made = run("generate", *QUICK, "--set", "penalty=2", "--set", "rounds=2", "-o", "e.safetensors")
    assert made.exit_code == 0, made.stderr
    assert "no effect on class-wise error-min noise with the solver pgd: penalty, rounds." in made.stderr


def test_options_go_before_a_preset(run: Run) -> None:
    arguments = (*QUICK, "--preset", "paper-face", "--epsilon", "4", "--set", "batch-size=10")
    assert run("generate", *arguments, "-o", "p.safetensors").exit_code == 0
    of = load_bank(Path("p.safetensors")).provenance
    assert (of.epsilon, of.through, of.surrogate) == (4, "none", "resnet10-w16")
    assert of.hyperparameters["surrogate_steps"] == 30
    assert of.hyperparameters["step_size"] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("arguments", "visibility", "strength"),
    [(["person-low"], 0.02, "low"), (["person-low", "--set", "visibility=0.05"], 0.05, None), (["photos"], 0.07, None)],
)
def test_a_strength_is_the_name_of_a_preset_s_own_visibility(
    run: Run, arguments: list[str], visibility: float, strength: str | None
) -> None:
    few = ("--set", "max-iterations=2", "--set", "rounds=1", "--set", "clean-classes=0")
    made = run("generate", *QUICK, *few, "-o", "p.safetensors", "--preset", *arguments)
    assert made.exit_code == 0, made.output
    of = load_bank(Path("p.safetensors")).provenance
    assert (of.hyperparameters["visibility"], of.strength) == (visibility, strength)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ([], 2, "No dataset was chosen"),
        (["--preset", "paper-face"], 2, "No dataset was chosen"),
        (["--preset", "paper-cifar10", "--data-dir", "album"], 1, "CIFAR-10 is not in album"),
        (["--dataset", "svhn", "--data-dir", "album"], 1, "SVHN is not in album"),
        (["--dataset", "imagenet", "--data-dir", "album"], 1, "image-net.org"),
        (["--dataset", "imagenet", "--download"], 2, "do not allow unlearn to download"),
        (["--dataset", "mnist"], 2, "There is no dataset 'mnist'"),
        (["--dataset", "cifar10", "--data-dir", "empty"], 1, "CIFAR-10 is not in"),
        ([*ALBUM, "--set", "noise-share=2"], 2, "The setting noise-share must be at least 0.001 and at most 1, not 2"),
        ([*ALBUM, "--set", "solver=newton"], 2, "solver must be one of pgd, fgsm, adam, lbfgs, cw, not 'newton'"),
        ([*ALBUM, "--set", "rounds=many"], 2, "rounds must be a whole number, not 'many'"),
        ([*ALBUM, "--set", "steps=3"], 2, "There is no setting 'steps' here"),
        ([*ALBUM, "--set", "step-size=inf"], 2, "step-size must be a finite number, not inf"),
        ([*ALBUM, "-o", "album", "--overwrite"], 2, "name it album.safetensors"),
        ([*ALBUM, "-o", "taken.safetensors"], 2, "taken.json already exists"),
        (["--dataset", "folder:album", "--image-size", "8", "--method", "lsp", "--map", "one.toml"], 1, "at least 2"),
        ([*ALBUM, "--set", "patch=9"], 2, "8, 16, 24 or 32"),
        ([*ALBUM, "--set", "patch=24"], 2, "1 to 16 pixels"),
        ([*ALBUM, "--method", "ar", "--checkpoint", "kept"], 2, "works without a search"),
        ([*ALBUM, "--method", "lsp", "--set", "patch=8"], 2, "works without a search"),
        ([*ALBUM, "--method", "error-max", "--set", "joint=yes"], 2, "makes only class-wise error-min noise"),
        ([*ALBUM, "--form", "sample-wise", "--set", "joint=yes"], 2, "makes only class-wise error-min noise"),
        ([*ALBUM, "--through", "walls"], 2, "no transformation 'walls'"),
        ([*ALBUM, "--map", "gone.toml"], 2, "The map gone.toml cannot be read"),
        ([*ALBUM, "--map", "unknown.toml"], 2, "The map names 'dusk'"),
        ([*ALBUM, "--map", "numbers.toml"], 2, "needs lines such as"),
        ([*ALBUM, "--checkpoint", "album/day/0.png"], 1, "0.png"),
        ([*ALBUM, "-o", "x.surrogate.safetensors"], 2, "name it x.safetensors"),
        ([*ALBUM[:-4], "--surrogate", "vgg11"], 2, "at least 32 pixels"),
    ],
)
def test_what_cannot_be_made_says_so(run: Run, arguments: list[str], code: int, sentence: str) -> None:
    Path("unknown.toml").write_text('dusk = "dark"\n')
    Path("one.toml").write_text('day = "a"\nnight = "a"\n')
    Path("taken.json").write_text("mine")
    Path("numbers.toml").write_text("day = 3\n")
    done = run("generate", *arguments)
    assert (done.exit_code, sentence in " ".join(done.stderr.split())) == (code, True), done.stderr
    assert done.stdout == ""
    assert not list(Path().glob("*.safetensors"))


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["cifar10"], 2, "at least two banks"),
        (["cifar10", "person"], 2, "cannot be mixed"),
        (["cifar10", "gone.safetensors"], 3, "There is no noise bank gone"),
    ],
)
def test_banks_that_cannot_be_mixed(arguments: list[str], code: int, says: str, run: Run) -> None:
    done = run("banks", "mix", *arguments, "-o", "m.safetensors")
    assert (done.exit_code, says in done.stderr) == (code, True), done.stderr


def test_settings_are_listed_with_their_defaults(run: Run) -> None:
    """Each is told, and each default that is a number is the one that a search has."""
    from unlearn_cli.cli.hyperparameters import OF_PROVENANCE, Hyperparameters
    from unlearn_cli.cli.set_option import listing
    from unlearn_cli.noise.settings import ErrorMax, ErrorMin, Joint, make_settings

    done = run("generate", "--list-settings")
    assert done.exit_code == 0
    assert isinstance(make_settings({}), ErrorMin)
    defaults = (ErrorMin(), ErrorMax(), Joint())
    for name, default, _ in listing(Hyperparameters):
        assert name in done.stdout
        field = name.replace("-", "_")
        found = [getattr(settings, field) for settings in defaults if hasattr(settings, field)]
        if field not in OF_PROVENANCE and default.replace(".", "").isdigit():
            assert {float(value) for value in found} == {float(default)}, name
        assert field in (*OF_PROVENANCE, "joint") or found
