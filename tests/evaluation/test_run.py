"""Cells are trained once, go on where they stopped, and two halves are one whole."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.conftest import make_bank
from unlearn_cli.banks.bank import Bank, load_bank
from unlearn_cli.banks.catalog import open_bank
from unlearn_cli.errors import UsageError, WorkError
from unlearn_cli.evaluation.attackers.reweight import SHARES
from unlearn_cli.evaluation.cell import Cell, Images, Library, NoisePlan, hash_of, identity
from unlearn_cli.evaluation.estimate import SECONDS_OF_A_RUN
from unlearn_cli.evaluation.experiment import EvaluationEstimated, SeveralAtOnce, Where, evaluate
from unlearn_cli.evaluation.forecast import Expected, Forecast, left_of_several
from unlearn_cli.evaluation.noise_store import NoiseMaking
from unlearn_cli.evaluation.recipe import Planned
from unlearn_cli.evaluation.report import About
from unlearn_cli.evaluation.run import CellEnded, Event, Runner
from unlearn_cli.evaluation.scenario import check
from unlearn_cli.evaluation.spread import spread
from unlearn_cli.files import lock
from unlearn_cli.noise.events import Iterated, Resumed
from unlearn_cli.noise.settings import ErrorMin
from unlearn_cli.training.datasets import DatasetSpec
from unlearn_cli.training.train import EpochEnded, Precision, TrainingSettings, predict
from unlearn_cli.training.workers import usable_cores

CPU = torch.device("cpu")
TINY = TrainingSettings(model="resnet10-w16", epochs=2, batch_size=16, learning_rate=0.05)
MADE = ErrorMin(surrogate="resnet10-w16", max_iterations=1, noise_share=1.0, batch_size=16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with two classes of fifteen photos."""
    random = np.random.default_rng(0)
    for shift, name in ((0, "day"), (60, "night")):
        (tmp_path / "album" / name).mkdir(parents=True)
        for i in range(15):
            pixels = random.integers(0, 190, (16, 16, 3)) + shift
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "album" / name / f"{i:02}.png")
    return tmp_path / "album"


def cells_of(folder: Path) -> list[Cell]:
    """Return a clean cell, one with made noise, one with half of it."""
    clean = Cell(images=Images(spec=DatasetSpec(source=f"folder:{folder}", image_size=16)), training=TINY)
    made = replace(clean, noise=NoisePlan(settings=MADE))
    return [clean, made, replace(made, poison_rate=0.5)]


def finish(runner: Runner, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    return [asdict(event.result) for event in runner.run(cells) if isinstance(event, CellEnded)]


def what_was_measured(result: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key not in ("seconds", "date", "noise")}


def test_two_halves_are_one_whole(folder: Path, tmp_path: Path) -> None:
    cells = cells_of(folder)
    whole = finish(Runner(tmp_path / "whole", CPU), cells)
    events = Runner(tmp_path / "parts", CPU).run(cells)
    seen: list[Event] = []
    while sum(isinstance(event, EpochEnded) for event in seen) < 3:  # in the middle of the second training
        seen.append(next(events))
    events.close()  # type: ignore[attr-defined]
    again = list(Runner(tmp_path / "parts", CPU).run(cells))
    ended = [event for event in again if isinstance(event, CellEnded)]
    assert [event.kept for event in ended] == [True, False, False]
    assert [what_was_measured(asdict(one.result)) for one in ended] == [what_was_measured(result) for result in whole]
    # The interrupted training goes on with its second epoch; nothing is left of it when it is over.
    names = {path.suffix for path in (tmp_path / "parts" / "cells").iterdir()}
    assert names == {".json", ".png"}
    assert all(event.kept for event in Runner(tmp_path / "parts", CPU).run(cells) if isinstance(event, CellEnded))


def test_what_is_counted_of_a_cell(folder: Path, tmp_path: Path) -> None:
    clean, made, half = finish(Runner(tmp_path / "out", CPU), cells_of(folder))
    assert (clean["protected_images"], made["protected_images"], half["protected_images"]) == (0, 24, 12)
    assert (clean["noise"], made["noise"]["form"]) == (None, "class-wise")
    assert made["noise"]["sha256"] == half["noise"]["sha256"]  # made once
    assert len(list((tmp_path / "out" / "noise").glob("*.safetensors"))) == 2  # the bank and its surrogate
    for result in (clean, made, half):
        confusion, last = np.array(result["confusion"]), result["epochs"][-1]
        assert confusion.sum() == result["dataset"]["test_images"] == 6
        assert confusion.trace() / 6 == pytest.approx(last["clean"], abs=1e-4)
        assert (confusion.diagonal() / 3).tolist() == pytest.approx(last["by_class"], abs=1e-4)


def test_a_cells_name_is_what_it_is_and_not_where(folder: Path, tmp_path: Path) -> None:
    (cell, *_) = cells_of(folder)
    name = hash_of(identity(cell, Library()))
    moved = folder.rename(tmp_path / "elsewhere")
    (same, made, _) = cells_of(moved)
    assert hash_of(identity(same, Library())) == name
    others = [
        replace(same, training=replace(TINY, seed=1)),
        replace(same, defence="gray"),
        replace(same, images=replace(same.images, train_size=20)),
        made,
        replace(made, poison_rate=0.5),
        replace(made, noise=NoisePlan(settings=replace(MADE, epsilon=9))),
        replace(made, noise=NoisePlan(bank="cifar10")),
        replace(made, noise=NoisePlan(bank="cifar10", fitted=True)),
    ]
    names = {hash_of(identity(other, Library())) for other in others}
    assert len(names | {name}) == 9
    Image.new("RGB", (16, 16)).save(moved / "day" / "00.png")
    assert hash_of(identity(same, Library())) not in names | {name}


def test_the_network_with_averaged_weights_is_what_everything_is_measured_with(folder: Path, tmp_path: Path) -> None:
    clean = cells_of(folder)[0]
    slow = replace(clean, training=replace(TINY, epochs=4, weight_average=0.999))  # It hardly leaves the first step.
    averaged, usual = finish(Runner(tmp_path / "out", CPU), [slow, replace(slow, training=replace(TINY, epochs=4))])
    assert averaged["epochs"][-1]["clean"] < usual["epochs"][-1]["clean"]
    assert np.array(averaged["confusion"]).trace() / 6 == pytest.approx(averaged["epochs"][-1]["clean"], abs=1e-4)


def test_settings_that_are_newer_do_not_change_the_names_of_earlier_results(folder: Path) -> None:
    (cell, *_) = cells_of(folder)
    first = {"model", "epochs", "batch_size", "learning_rate", "momentum", "weight_decay", "augment", "precision"}
    assert set(identity(cell, Library())["training"]) == first | {"compile", "seed"}
    changed = replace(cell, training=replace(TINY, label_smoothing=0.2, schedule="triangle"))
    assert set(identity(changed, Library())["training"]) == first | {"compile", "seed", "label_smoothing", "schedule"}


def test_a_search_without_newer_settings_keeps_its_hash(folder: Path) -> None:
    _, made, _ = cells_of(folder)
    plain, skipping = (
        identity(replace(made, noise=NoisePlan(settings=settings)), Library())["noise"]["settings"]
        for settings in (MADE, replace(MADE, skip_below=0.1))
    )
    assert skipping.keys() - plain.keys() == {"skip_below"}


def bank_of(output: Path) -> Bank:
    (path,) = [path for path in (output / "noise").glob("*.safetensors") if not path.stem.endswith(".surrogate")]
    return load_bank(path)


def test_an_interrupted_search_for_noise_goes_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unlearn_cli.noise.resume.SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr("unlearn_cli.noise.resume.SHARE", 0.0)
    settings = replace(MADE, form="sample-wise", max_iterations=3, stop_error=0.0, noise_steps=1, surrogate_steps=1)
    _, made, _ = cells_of(folder)
    cell = replace(made, noise=NoisePlan(settings=settings))
    finish(Runner(tmp_path / "whole", CPU), [cell])
    events, iterated = Runner(tmp_path / "parts", CPU).run([cell]), 0
    while iterated < 2:
        event = next(events)
        iterated += isinstance(event, NoiseMaking) and isinstance(event.event, Iterated)
    events.close()  # type: ignore[attr-defined]
    again = list(Runner(tmp_path / "parts", CPU).run([cell]))
    made_again = [event.event for event in again if isinstance(event, NoiseMaking)]
    assert [event.iteration for event in made_again if isinstance(event, Resumed)] == [2]
    assert [event.iteration for event in made_again if isinstance(event, Iterated)] == [3]
    one, other = (bank_of(tmp_path / name).noise for name in ("whole", "parts"))
    assert np.array_equal(one, other)
    assert not list((tmp_path / "parts" / "noise").glob("*.search"))


def estimated(output: Path, *cells: Cell) -> EvaluationEstimated:
    planned = [Planned(cell=cell, labels={}) for cell in cells]
    first = next(iter(evaluate(planned, About("", "", "", "tiny", ""), Where(output=output, device=CPU))))
    assert isinstance(first, EvaluationEstimated)
    return first


def test_what_an_interrupted_evaluation_has_done_is_not_estimated_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unlearn_cli.noise.resume.SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr("unlearn_cli.noise.resume.SHARE", 0.0)
    settings = replace(MADE, form="sample-wise", max_iterations=4, stop_error=0.0, noise_steps=1, surrogate_steps=1)
    clean, made, _ = cells_of(folder)
    long = replace(clean, training=replace(TINY, epochs=4))
    cell = replace(made, noise=NoisePlan(settings=settings))
    whole = estimated(tmp_path / "out", long, cell).each
    assert [(one.training_done, one.noise_done) for one in whole] == [(0, 0), (0, 0)]

    events = Runner(tmp_path / "out", CPU).run([long])
    next(event for event in events if isinstance(event, EpochEnded) and event.epoch == 3)
    events.close()  # type: ignore[attr-defined]
    events = Runner(tmp_path / "out", CPU).run([cell])
    next(event for event in events if isinstance(event, NoiseMaking) and isinstance(event.event, Iterated))
    events.close()  # type: ignore[attr-defined]
    left = estimated(tmp_path / "out", long, cell)
    assert left.each[0].training_done == 3 / 4
    assert left.each[0].seconds == left.each[0].training / 4
    assert left.each[1].noise_done == 1 / left.each[1].iterations
    assert left.noise == left.each[1].noise - left.each[1].noise / left.each[1].iterations


def test_clean_images_alone_are_one_cell_whatever_the_noise(folder: Path) -> None:
    _, _, half = cells_of(folder)
    alone = replace(half, keep="clean")
    other = replace(alone, noise=NoisePlan(bank="cifar10"))
    assert hash_of(identity(alone, Library())) == hash_of(identity(other, Library()))


def test_what_another_process_works_on_is_left_to_it(folder: Path, tmp_path: Path) -> None:
    (cell, *_) = cells_of(folder)
    path = tmp_path / "out" / "locks" / hash_of(identity(cell, Library()))
    path.parent.mkdir(parents=True)
    with path.open("w") as file:
        assert lock(file)
        assert list(Runner(tmp_path / "out", CPU).run([cell])) == []
    assert len(finish(Runner(tmp_path / "out", CPU), [cell])) == 1


def test_a_refit_costs_no_second_training(folder: Path, tmp_path: Path) -> None:
    """The figures after a refit are in the result of the training; a result without them is trained again."""
    _, made, _ = cells_of(folder)
    cells = [made, *(replace(made, refit=share) for share in SHARES)]
    assert len({hash_of(identity(cell, Library())) for cell in cells}) == 1
    events = list(Runner(tmp_path / "out", CPU).run(cells))
    assert sum(isinstance(event, EpochEnded) for event in events) == TINY.epochs
    plain, *refits = (event.result for event in events if isinstance(event, CellEnded))
    assert plain.refits is not None
    assert plain.separability is not None
    for share, one, found in zip(SHARES, refits, plain.refits, strict=True):
        assert (one.cell["refit"], one.epochs, one.confusion) == (share, (found.epoch,), found.confusion)
    path = tmp_path / "out" / "cells" / f"{plain.hash}.json"
    assert [sheet.name for sheet in path.parent.glob("*.json")] == [path.name]
    path.write_text(json.dumps({**json.loads(path.read_text()), "refits": None}))
    again = list(Runner(tmp_path / "out", CPU).run(cells))
    assert [event.kept for event in again if isinstance(event, CellEnded)] == [True, False, True, True]
    assert [what_was_measured(asdict(event.result)) for event in again if isinstance(event, CellEnded)][1:] == [
        what_was_measured(asdict(one)) for one in refits
    ]


def test_a_refit_needs_a_linear_last_layer(folder: Path) -> None:
    clean, *_ = cells_of(folder)
    images = replace(clean.images, spec=replace(clean.images.spec, image_size=64))
    cell = replace(clean, images=images, training=replace(TINY, model="squeezenet1_1"))
    check(cell, Library())
    with pytest.raises(UsageError, match="linear layer"):
        check(replace(cell, refit=SHARES[0]), Library())


def test_each_run_is_estimated_at_its_own_cost(folder: Path, tmp_path: Path) -> None:
    _, made, _ = cells_of(folder)
    slow = replace(made, defence="adversarial:8")
    planned = [Planned(cell=cell, labels={}) for cell in (made, replace(made, refit=SHARES[0]), slow, made)]
    where = Where(output=tmp_path / "out", device=CPU)
    about = About("", "", "", "tiny", "")
    first = next(iter(evaluate(planned, about, where)))
    assert isinstance(first, EvaluationEstimated)
    assert (first.planned, len(first.todo)) == (2, 2)
    assert first.each[0].training > 0 == first.each[1].seconds == first.each[3].seconds
    # The noise is made for the first run that needs it, and is there for the others.
    assert first.each[0].noise > 0 == first.each[2].noise
    assert first.noise == first.each[0].noise
    assert first.each[0].iterations == 1
    assert first.each[2].training - SECONDS_OF_A_RUN > 5 * (first.each[0].training - SECONDS_OF_A_RUN)
    list(evaluate(planned[:1], about, where))
    later = next(iter(evaluate(planned, about, where)))
    assert isinstance(later, EvaluationEstimated)
    assert (later.each[0].seconds, later.noise, len(later.todo)) == (0, 0, 1)


def test_what_is_left_is_corrected_by_what_is_over() -> None:
    """Everything takes three times as long as it was expected to."""
    now = [0.0]
    each = [Expected(noise=10, iterations=4, training=20), Expected(training=20), Expected(noise=5, training=20)]
    forecast = Forecast(each, lambda: now[0])
    forecast.began(0)
    assert forecast.left == 75
    now[0] = 15
    forecast.is_making_noise(2)
    assert forecast.left == pytest.approx(15 + 65)  # half of the iterations took 15 s
    now[0] = 60
    forecast.is_training(1, 2, seconds=30)  # the noise took 30 s, and half of the training as much
    assert forecast.left == pytest.approx(30 + 20 + 3 * 5 + 20)
    now[0] = 90
    forecast.ended()
    assert forecast.left == pytest.approx(3 * 45)
    forecast.began(1)
    now[0] = 150
    forecast.ended()
    forecast.began(2)
    now[0] = 240
    forecast.ended()
    assert forecast.left == 0


def test_what_is_left_after_an_interruption() -> None:
    """What an earlier process did takes no time now, and says nothing about the speed but how long an epoch took."""
    now = [0.0]
    begun = Expected(noise=100, iterations=10, training=60, noise_done=0.6, training_done=0.5)
    forecast = Forecast([begun, Expected(training=60)], lambda: now[0])
    assert forecast.left == 40 + 30 + 60
    forecast = Forecast([Expected(noise=100, iterations=10, training=60), Expected(training=60)], lambda: now[0])
    forecast.began(0)
    forecast.resumed_noise(6)
    now[0] = 20
    forecast.is_making_noise(7)
    assert forecast.left == pytest.approx(3 * 20 + 60 + 60)
    now[0] = 80 + 10
    for epoch in range(1, 4):  # Two of these three were there.
        forecast.is_training(epoch, 6, seconds=10)
    assert forecast.left == pytest.approx(3 * 10 + 60)
    for epoch in range(4, 7):
        now[0] += 10
        forecast.is_training(epoch, 6, seconds=10)
    forecast.ended()
    assert forecast.left == pytest.approx(60)


def test_a_damaged_result_says_so(folder: Path, tmp_path: Path) -> None:
    (cell, *_) = cells_of(folder)
    path = tmp_path / "cells" / f"{hash_of(identity(cell, Library()))}.json"
    path.parent.mkdir()
    for text, because in (("{", "damaged"), ('{"schema": 9}', "this version")):
        path.write_text(text)
        with pytest.raises(WorkError, match=because):
            finish(Runner(tmp_path, CPU), [cell])


def test_cells_are_spread_over_processes(folder: Path, tmp_path: Path) -> None:
    cells = cells_of(folder)
    list(spread(cells, tmp_path / "spread", CPU, "the command", jobs=2))
    events = list(Runner(tmp_path / "spread", CPU).run(cells))
    assert all(isinstance(event, CellEnded) and event.kept for event in events)
    assert len(events) == 3
    assert {event.result.command for event in events if isinstance(event, CellEnded)} == {"the command"}


def test_a_process_that_fails_is_told(folder: Path, tmp_path: Path) -> None:
    (cell, *_) = cells_of(folder)
    damaged = tmp_path / "cells" / f"{hash_of(identity(cell, Library()))}.json"
    damaged.parent.mkdir()
    damaged.write_text("{")
    with pytest.raises(WorkError, match=r"damaged.*The results of finished runs are kept"):
        list(spread([cell], tmp_path, CPU, "", jobs=1))


def test_progress_of_several_runs_at_once_is_told_and_their_estimate_is_of_them_together(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unlearn_cli.evaluation.spread.SECONDS_BETWEEN_LOOKS", 0.05)
    first, *others = cells_of(folder)
    again = replace(first, refit=SHARES[0])  # It is the same run, and takes no time of its own.
    planned = [Planned(cell=cell, labels={}) for cell in (first, again, *others)]
    where = Where(output=tmp_path / "out", device=CPU, jobs=2)
    threads = torch.get_num_threads()
    estimate, *events = evaluate(planned, About("", "", "", "tiny", ""), where)
    assert isinstance(estimate, EvaluationEstimated)
    assert estimate.at_once == min(2, usable_cores())
    assert estimate.seconds == sum(one.seconds for one in estimate.each) / estimate.at_once
    assert torch.get_num_threads() == threads
    told = [event for event in events if isinstance(event, SeveralAtOnce)]
    assert [event.ended for event in told] == sorted(event.ended for event in told)
    assert (told[-1].ended, told[-1].todo, told[-1].left) == (3, 3, 0)
    assert told[0].left > 0


def test_processes_end_when_nobody_waits_for_them(folder: Path, tmp_path: Path) -> None:
    (cell, *_) = cells_of(folder)
    long = replace(cell, training=replace(TINY, epochs=10_000))
    working = spread([long], tmp_path, CPU, "", jobs=1)
    next(working)
    working.close()
    for process in multiprocessing.active_children():
        process.join(10)
        assert not process.is_alive()


def test_what_is_left_of_several_runs_at_once() -> None:
    each = [10.0, 10.0, 20.0, 20.0]
    assert left_of_several(each, [False] * 4, 6, 2) == 24  # as expected, as long as nothing has ended
    # Everything takes twice as long: two runs of 10 s have taken 20 s, and two of 20 s are half done after 20 more.
    assert left_of_several(each, [True, True, False, False], 40, 2) == 20
    assert left_of_several(each, [True] * 4, 60, 2) == 0


def test_rays_tasks_do_the_same(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'unlearn[ray]'")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # 15 otherwise, which waits for all other tests
    cells = cells_of(folder)[:2]
    list(spread(cells, tmp_path / "ray", CPU, "by ray", jobs=2, engine="ray"))
    ray.shutdown()
    local = finish(Runner(tmp_path / "here", CPU, command="by ray"), cells)
    by_ray = finish(Runner(tmp_path / "ray", CPU), cells)
    assert [what_was_measured(result)["confusion"] for result in by_ray] == [result["confusion"] for result in local]


def test_a_trigger_is_each_classes_own_pattern_as_the_scraper_sees_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each protected class of a family has another pattern; the defence's filter comes after the noise."""
    seen: list[torch.Tensor] = []

    def record(model: nn.Module, images: torch.Tensor, precision: Precision) -> torch.Tensor:
        seen.append(images)
        return predict(model, images, precision)

    monkeypatch.setattr("unlearn_cli.evaluation.run.predict", record)
    (cell, *_) = cells_of(folder)
    bank = str(make_bank(tmp_path / "family.safetensors", classes=("a", "b"), family="person").path)
    for name in ("gray", "orthogonal-projection"):
        seen.clear()
        protected = replace(cell, noise=NoisePlan(bank=bank), trigger=True, defence=name)
        (result,) = finish(Runner(tmp_path / name, CPU), [protected])
        assert len(result["trigger"]) == 2
        test, day, night = seen
        noise = [with_it - test[place] for with_it, place in ((day.float(), slice(3, 6)), (night.float(), slice(0, 3)))]
        assert not torch.equal(*(part.mean(0) for part in noise))
        if name == "gray":
            assert all(torch.equal(part[:, 0], part[:, 2]) for part in seen)
    only = replace(cell, noise=NoisePlan(bank=bank), trigger=True, protect_classes=("night",))
    (result,) = finish(Runner(tmp_path / "only", CPU), [only])
    assert result["trigger"][0] is None
    assert 0 <= result["trigger"][1] <= 1


def test_other_pairs_are_another_cell(folder: Path, tmp_path: Path) -> None:
    (cell, *_) = cells_of(folder)
    pairs = folder / "pairs.csv"
    pairs.write_text("first,second,same\nday/00.png,day/01.png,1\nday/00.png,night/00.png,0\n")
    verified = replace(cell, pairs=pairs)
    (result,) = finish(Runner(tmp_path / "out", CPU), [verified])
    assert result["verification"]["pairs"] == 2
    names = {hash_of(identity(one, Library())) for one in (cell, verified)}
    Image.new("RGB", (16, 16)).save(folder / "night" / "00.png")
    names.add(hash_of(identity(verified, Library())))
    assert len(names) == 3
    pairs.write_text("first,second,same\nday/00.png,gone.png,1\nday/00.png,night/00.png,0\n")
    with pytest.raises(WorkError, match=r"names gone\.png"):
        identity(verified, Library())
    with pytest.raises(WorkError, match="cannot be read"):
        identity(replace(cell, pairs=folder / "gone.csv"), Library())


def test_the_shipped_bank_takes_away_what_a_victim_could_learn(cifar10: Path, tmp_path: Path) -> None:
    images = Images(spec=DatasetSpec(source="cifar10", data_dir=cifar10), train_size=2000, test_size=1000)
    training = TrainingSettings(model="resnet10-w16", epochs=3, batch_size=32)
    clean = Cell(images=images, training=training)
    protected = replace(clean, noise=NoisePlan(bank="cifar10"), trigger=True)
    of_clean, of_protected = finish(Runner(tmp_path, CPU), [clean, protected])
    assert of_clean["epochs"][-1]["clean"] > 0.28
    assert of_protected["epochs"][-1]["clean"] < 0.25
    assert of_protected["epochs"][-1]["train"] > 0.8  # it did learn: the noise
    assert min(of_protected["trigger"]) > 0.3  # which names an image of each class by itself; guessing gives 0.1
    assert of_protected["noise"]["sha256"] == open_bank("cifar10").sha256
