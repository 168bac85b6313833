"""``unlearn evaluate``: train on protected images, test on clean ones. There is a command for each use."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unlearn_cli.banks.provenance import Form
from unlearn_cli.cli.console import command_line, err, exits
from unlearn_cli.cli.dataset_options import KNOWN, DataDir, Download
from unlearn_cli.cli.evaluate_options import (
    EXAMPLES,
    FOLDER,
    Attacker,
    Augment,
    Defence,
    Jobs,
    Model,
    OfRecipe,
    OnImages,
    Only,
    OnPeople,
    Optimised,
    Output,
    RandomControl,
    Record,
    ScaleName,
    Seeds,
    Settings,
    Training,
    TripName,
)
from unlearn_cli.cli.help import Command, Group
from unlearn_cli.cli.set_option import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from unlearn_cli.evaluation.cell import Cell
    from unlearn_cli.evaluation.plans import Plan, Victims
    from unlearn_cli.training.datasets import DatasetSpec
    from unlearn_cli.training.trip import Trip

app = typer.Typer(
    cls=Group,
    help="Measure a protection: train networks on clean and on protected images, and test them on clean ones.",
)


@app.command("bank", cls=Command, epilog=EXAMPLES["bank"])
@exits()
def bank(
    name: Annotated[str, typer.Argument(metavar="BANK", help="Name of a shipped bank, or a .safetensors file.")],
    dataset: Annotated[str, typer.Option(help=KNOWN)] = "cifar10",
    data_dir: DataDir = None,
    download: Download = False,
    form: Annotated[
        Form | None,
        typer.Option(help="sample-wise: make noise for each image with the bank's surrogate, as protect does."),
    ] = None,
    model: Model = None,
    augment: Augment = "standard",
    defence: Defence = "none",
    random_control: RandomControl = False,
    record: Record = False,
    output: Output = FOLDER,
    only: Only = None,
    scale: ScaleName = None,
    seeds: Seeds = None,
    jobs: Jobs = 1,
    settings: Settings = None,
) -> None:
    """Measure a bank: train networks on images that it protects, and test them on clean images.

    Training uses SGD with momentum 0.9 and a cosine schedule, as in the paper, and unless --scale or --set says
    otherwise a learning rate of 0.1 and a weight decay of 5e-4, as in its code. After an interruption, run the same
    command again: it continues after the last finished epoch.
    """
    from unlearn_cli.banks.catalog import open_bank

    rare = read_settings(OnImages, settings or ())
    open_bank(name)  # fails before PyTorch is loaded, which takes seconds
    from unlearn_cli.evaluation import plans

    def planned(run: _Run) -> Plan:
        spec = run.spec(dataset, rare, data_dir=data_dir, download=download)
        victims = run.victims(rare, model, augment, defence, seeds or 1, random_control)
        return plans.plan_bank(name, form, victims, spec, rare.train_size, _change(rare))

    _evaluate(planned, rare, output, only, scale, jobs, record=name if record else None)


@app.command("copies", cls=Command, epilog=EXAMPLES["copies"])
@exits()
def copies(
    clean: Annotated[
        Path, typer.Argument(metavar="CLEAN", help="The original photos: a folder with one subfolder for each class.")
    ],
    protected: Annotated[
        Path, typer.Argument(metavar="PROTECTED", help="The copies of these photos that 'unlearn protect' wrote.")
    ],
    bank: Annotated[
        str | None,
        typer.Option(help="The bank that the copies were protected with; --record and --random-control need it."),
    ] = None,
    trip: TripName = None,
    model: Model = None,
    augment: Augment = "standard",
    defence: Defence = "none",
    random_control: RandomControl = False,
    record: Record = False,
    output: Output = FOLDER,
    only: Only = None,
    scale: ScaleName = None,
    seeds: Seeds = None,
    jobs: Jobs = 1,
    settings: Settings = None,
) -> None:
    """Measure photos that 'unlearn protect' wrote: what a network learns from them, tested on clean ones."""
    from unlearn_cli.errors import UsageError

    rare = read_settings(OnImages, settings or ())
    if (record or random_control) != (bank is not None):
        raise UsageError(
            "--record and --random-control need --bank, the bank that the copies were made with. "
            "Without these two, leave out --bank."
        )
    if bank is not None:
        from unlearn_cli.banks.catalog import open_bank

        open_bank(bank)
    from unlearn_cli.evaluation import plans

    def planned(run: _Run) -> Plan:
        spec = run.spec(f"folder:{clean}", rare, trip=trip or rare.trip)
        victims = run.victims(rare, model, augment, defence, seeds or 1, random_control)
        of = plans.Copies(clean=clean, protected=protected, bank=bank)
        return plans.plan_copies(of, victims, spec, rare.train_size, output, run.workers, _change(rare))

    _evaluate(planned, rare, output, only, scale, jobs, record=bank if record else None)


@app.command("people", cls=Command, epilog=EXAMPLES["people"])
@exits()
def people(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with one subfolder of photos for each person.")],
    protect: Annotated[
        str | None,
        typer.Option("--protect", help="People to protect: names of their folders, or patterns, separated by commas."),
    ] = None,
    class_name: Annotated[
        str, typer.Option("--class", help="The --class that their photos are protected with.")
    ] = "person",
    bank: Annotated[str | None, typer.Option(help="Name of a shipped bank, or a .safetensors file.")] = None,
    epsilon: Annotated[
        int | None, typer.Option(min=1, max=127, help="Reduce the noise to this bound, in pixel levels.")
    ] = None,
    together: Annotated[
        int | None,
        typer.Option(
            "--groups-of",
            min=1,
            help="Protect this many people at a time, until each was protected once.  [default: all at once]",
        ),
    ] = None,
    attacker: Attacker = None,
    trip: TripName = "face",
    model: Model = None,
    augment: Augment = "standard",
    defence: Defence = "none",
    random_control: RandomControl = False,
    record: Record = False,
    output: Output = FOLDER,
    only: Only = None,
    scale: ScaleName = None,
    seeds: Seeds = None,
    jobs: Jobs = 1,
    settings: Settings = None,
) -> None:
    """Measure how well a network recognises people among many, some of whom protected their photos.

    The files are protected as by 'unlearn protect', each person with their own key. Then all photos are encoded again
    and cropped, as a platform and a scraper do it (--trip).
    """
    from unlearn_cli.errors import UsageError

    rare = read_settings(OnPeople, settings or ())
    if protect is None:
        raise UsageError(
            "No people were chosen. Name the folders of the people to protect, such as --protect id003,id017."
        )
    if record and bank is None:
        raise UsageError("--record adds the results to a bank's card, so name the --bank.")
    if bank is not None:
        from unlearn_cli.banks.catalog import open_bank

        open_bank(bank)
    from unlearn_cli.evaluation import plans
    from unlearn_cli.evaluation.attackers.parse import parse_attackers

    def planned(run: _Run) -> Plan:
        size = rare.image_size or run.scale.face_size
        spec = run.spec(f"folder:{folder}", replace(rare, image_size=size), trip=trip or "face", views=rare.views or 3)
        named = plans.split("--attacker", attacker) if attacker is not None else []
        victims = run.victims(rare, model or run.scale.face_model, augment, defence, seeds or 3, random_control, 32)
        victims = replace(victims, attackers=parse_attackers(named, plans.split("--defence", defence)))
        of = plans.People(
            root=folder,
            patterns=protect,
            class_name=class_name,
            bank=bank,
            epsilon=epsilon,
            together=together,
            key_seed=rare.key_seed or 0,
            one_key=bool(rare.one_key),
            form=rare.form or "class-wise",
            fit=rare.fit,
        )
        return plans.plan_people(of, victims, spec, output, run.device, run.workers, _change(rare))

    _evaluate(planned, rare, output, only, scale, jobs, record=bank if record else None)


@app.command("recipe", cls=Command, epilog=EXAMPLES["recipe"])
@exits()
def recipe(
    name: Annotated[str | None, typer.Argument(metavar="RECIPE", help="Name of the experiment.")] = None,
    list_recipes: Annotated[bool, typer.Option("--list", help="List the recipes, and exit.")] = False,
    dataset: Annotated[
        str | None, typer.Option(metavar="folder:PATH", help="The photos for a recipe that has no dataset of its own.")
    ] = None,
    data_dir: DataDir = None,
    download: Download = False,
    output: Output = FOLDER,
    only: Only = None,
    scale: ScaleName = None,
    seeds: Seeds = None,
    jobs: Jobs = 1,
    settings: Settings = None,
) -> None:
    """Run one of the paper's experiments, or some of its runs (--only); --list prints their names."""
    from unlearn_cli.errors import UsageError

    if list_recipes:
        from unlearn_cli.cli.evaluate_show import show_recipes

        show_recipes()
        return
    if name is None:
        raise UsageError("Name a recipe. To see all recipes, run 'unlearn evaluate recipe --list'.")
    if dataset is not None and not dataset.startswith("folder:"):
        leave = "Leave out --dataset, or give a folder of photos: --dataset folder:PATH."
        raise UsageError(f"The recipe already decides which dataset is used. {leave}")
    rare = read_settings(OfRecipe, settings or ())
    from unlearn_cli.evaluation import plans

    def planned(run: _Run) -> Plan:
        spec = run.spec(dataset or "cifar10", rare, data_dir=data_dir, download=download)
        victims = run.victims(rare, None, "standard", "none", seeds or 1, random=False)
        return plans.plan_recipe(name, victims, spec, rare.pairs, rare.train_size, rare.policy)

    _evaluate(planned, rare, output, only, scale, jobs, record=None)


@dataclass(frozen=True)
class _Run:
    """The scale, workers and device, which every command of the group needs once PyTorch is loaded."""

    scale: Any
    workers: Any
    device: Any

    def spec(
        self,
        source: str,
        rare: Any,
        *,
        data_dir: Path | None = None,
        download: bool = False,
        trip: str | None = None,
        views: int | None = None,
    ) -> DatasetSpec:
        """Return the dataset that the options and settings describe. Raises ``UsageError`` for a trip without files."""
        from unlearn_cli.cli.dataset_options import dataset_spec, patterns
        from unlearn_cli.errors import UsageError

        def of(field: str) -> Any:
            return getattr(rare, field, None)

        journey = self._trip(trip or of("trip"))
        spec = dataset_spec(
            source,
            of("map"),
            data_dir=data_dir,
            download=download,
            image_size=of("image_size"),
            crop=of("crop"),
            classes=patterns(of("classes")),
            first_classes=of("first_classes"),
        )
        if of("views") is not None and journey is None:
            raise UsageError("The setting views makes random crops, which only a trip does. Add --set trip=face.")
        if journey is not None and not source.startswith("folder:"):
            raise UsageError("A trip starts from photo files, so it needs a folder of photos: --dataset folder:PATH.")
        return replace(spec, trip=journey, views=views or of("views") or 1)

    def _trip(self, name: str | None) -> Trip | None:
        from unlearn_cli.training.trip import parse_trip

        return parse_trip(name) if name is not None else None

    def victims(
        self,
        rare: Any,
        model: str | None,
        augment: str,
        defence: str,
        seeds: int,
        random: bool,
        batch_size: int | None = None,
    ) -> Victims:
        """Return which victims are trained, and how."""
        from unlearn_cli.evaluation.plans import Victims
        from unlearn_cli.training.devices import precision_on

        # Only what the user said, so that a scale's own values for a network stay where nothing was said.
        said = {"epochs": rare.epochs, "precision": rare.precision or precision_on(self.device)}
        said["learning_rate"] = getattr(rare, "learning_rate", None)
        if isinstance(rare, Optimised):
            said |= {name: getattr(rare, name) for name in ("weight_decay", "weight_average", "alternate_flips")}
            said["batch_size"] = rare.batch_size or batch_size
        training: dict[str, Any] = {"seed": rare.seed or 0, "compile": bool(rare.compile)}
        training |= {name: value for name, value in said.items() if value is not None}
        return Victims(
            scale=self.scale,
            model=model,
            augment=augment,
            defence=defence,
            seeds=seeds,
            training=training,
            random=random,
            command=command_line(),
        )


def _change(rare: OnImages | OnPeople) -> Callable[[Cell], Cell]:
    """Return a function that adds the remaining settings to the description of a run."""
    from unlearn_cli.evaluation import plans

    changes: dict[str, Any] = {"pairs": rare.pairs}
    changes["poison_rate"] = 1.0 if rare.poison_rate is None else rare.poison_rate
    if isinstance(rare, OnImages):
        changes |= {"keep": rare.keep or "all", "trigger": bool(rare.trigger)}
        if rare.protect_classes is not None:
            changes["protect_classes"] = tuple(plans.split("--set protect-classes", rare.protect_classes))
    return lambda cell: replace(cell, **changes)


def _evaluate(
    planned: Callable[[_Run], Plan],
    rare: Training,
    output: Path,
    only: str | None,
    scale: str | None,
    jobs: int,
    *,
    record: str | None,
) -> None:
    """Plan, run and show an evaluation; its results are added to the card of the bank ``record``, if there is one."""
    from unlearn_cli.cli.evaluate_show import record as write_results
    from unlearn_cli.cli.evaluate_show import show, watch
    from unlearn_cli.errors import UsageError
    from unlearn_cli.evaluation.experiment import Where, evaluate
    from unlearn_cli.evaluation.recipe import chosen_cells
    from unlearn_cli.evaluation.scale import SCALES
    from unlearn_cli.training.workers import join_workers, leave_workers

    engine = rare.engine or "local"
    workers, device = join_workers(rare.device)
    if workers.count > 1 and (jobs > 1 or engine == "ray"):
        raise UsageError(
            "torchrun shares one training among processes, while --jobs and engine=ray run several trainings at once. "
            "Use only one of the two."
        )
    leads = workers.rank == 0
    size = SCALES[scale or ("cpu" if device.type == "cpu" else "paper")].on(device)
    with err().status("Preparing the photos and the trainings") if leads else nullcontext():
        cells, about = planned(_Run(size, workers, device))
    chosen = chosen_cells(cells, only)
    where = Where(output=output, device=device, workers=workers, jobs=jobs, engine=engine)
    report = watch(evaluate(chosen, about, where), chosen, hidden=not leads)
    if leads:
        show(report, output)
        if record is not None:
            write_results(report, record)
    leave_workers()
