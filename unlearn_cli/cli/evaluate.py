"""``unlearn evaluate``: train on protected images, test on clean ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from unlearn_cli.cli import dataset as options
from unlearn_cli.cli.console import command_line, exits, out, refuse_given

if TYPE_CHECKING:
    from unlearn_cli.evaluation.cell import Cell
    from unlearn_cli.evaluation.recipe import Planned, Recipe, Scale
    from unlearn_cli.evaluation.report import About
    from unlearn_cli.victims.datasets import DatasetSpec


RUNNING = (
    "recipe", "output", "data_dir", "download", "cells", "scale", "train_size", "epochs", "seeds", "seed", "device",
    "precision", "compile_", "jobs", "engine",
)  # fmt: skip
ON_FOLDERS = (
    "image_size", "crop", "classes", "first_classes", "map_file", "pairs", "protect_classes", "poison_rate", "keep",
    "model", "batch_size", "learning_rate", "augment", "defence",
)  # fmt: skip


@exits()
def evaluate(
    context: typer.Context,
    bank: Annotated[str | None, typer.Option(help="A shipped bank's name or a .safetensors file.")] = None,
    recipe: Annotated[str | None, typer.Option(help="One of the paper's experiments: see --list-recipes.")] = None,
    list_recipes: Annotated[bool, typer.Option("--list-recipes", help="Name the recipes, and leave.")] = False,
    clean: Annotated[
        Path | None, typer.Option(metavar="DIR", help="With --protected: a folder of photos for each class, as it was.")
    ] = None,
    protected: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The same photos as 'unlearn protect' wrote them.")
    ] = None,
    dataset: options.Dataset = "cifar10",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The folder for the report and its cells; an old one goes on.")
    ] = Path("unlearn-evaluation"),
    data_dir: options.DataDir = None,
    download: options.Download = False,
    image_size: options.ImageSize = None,
    crop: options.Crop = None,
    classes: options.Classes = None,
    first_classes: options.FirstClasses = None,
    map_file: options.ClassMap = None,
    pairs: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Also verify people: columns first, second (photos beside it), same (1, 0)."),
    ] = None,
    cells: Annotated[
        str | None,
        typer.Option(metavar="KEY=VALUE,...", help="Run only these cells: 'model=resnet18,form=class-wise'."),
    ] = None,
    form: Annotated[
        Literal["class-wise", "sample-wise"] | None,
        typer.Option(help="sample-wise: make noise for each image with the bank's surrogate, as protect does."),
    ] = None,
    protect_classes: Annotated[
        str | None, typer.Option(help="Protect only these classes, by comma-separated patterns.  [default: all]")
    ] = None,
    poison_rate: Annotated[float, typer.Option(min=0, max=1, help="Protect this share of each class's images.")] = 1.0,
    keep: Annotated[
        Literal["all", "clean"], typer.Option(help="clean: train without the protected images (the paper's D_c).")
    ] = "all",
    trigger: Annotated[bool, typer.Option("--trigger", help="Also lay the noise on clean test images.")] = False,
    scale: Annotated[
        Literal["paper", "cpu", "tiny"] | None,
        typer.Option(
            help="paper: resnet18, all images, 60 epochs; cpu: resnet10-w16, 10000 images, 12 epochs; tiny: only "
            "shows that it runs.  [default: cpu on a CPU, else paper]"
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="The victims, by commas.  [default: the scale's]")] = None,
    train_size: Annotated[int | None, typer.Option(min=1, help="Training images.  [default: the scale's]")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of each training.  [default: the scale's]")] = None,
    batch_size: Annotated[int, typer.Option(min=2)] = 128,
    learning_rate: Annotated[float, typer.Option(min=0.0, help="At the start; it follows a cosine to zero.")] = 0.1,
    augment: Annotated[
        str, typer.Option(help="none, standard (flips and shifts), cutout, mixup, cutmix, autoaugment; by commas.")
    ] = "standard",
    defence: Annotated[
        str,
        typer.Option(
            help="none, jpeg:Q, gray, blur, bit-depth:B, adversarial:E, orthogonal-projection, ueraser-like; by commas."
        ),
    ] = "none",
    seeds: Annotated[int, typer.Option(min=1, help="So many trainings of each.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the first.")] = 0,
    device: options.Device = None,
    precision: Annotated[
        Literal["fp32", "bf16"] | None, typer.Option(help="Of the victims' arithmetic.  [default: bf16 on CUDA]")
    ] = None,
    compile_: Annotated[bool, typer.Option("--compile", help="Compile the victims first.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="So many cells at once: processes here, or Ray's tasks.")] = 1,
    engine: Annotated[Literal["local", "ray"], typer.Option(help="What runs the cells.")] = "local",
    record: Annotated[bool, typer.Option("--record", help="Add the figures to the card beside the bank.")] = False,
) -> None:
    """Measure a protection: train victims on clean and on protected images, test them on clean ones.

    With --bank: a bank on a dataset. With --clean and --protected: photos that were protected already. With --recipe:
    an experiment of the paper. SGD with momentum 0.9, weight decay 5e-4 and a cosine schedule, as the paper has it. Run
    the same command again after an interruption and it goes on at its last finished epoch.
    """
    from unlearn_cli.errors import UsageError

    if list_recipes:
        _list_recipes()
        return
    if sum(given is not None for given in (bank, recipe, protected)) != 1 or (clean is None) != (protected is None):
        raise UsageError("Say what to measure: --bank NAME, --recipe NAME, or --clean DIR and --protected DIR.")
    if bank is not None:
        from unlearn_cli.banks.catalog import open_bank

        open_bank(bank)  # before PyTorch is loaded, which takes seconds
    if recipe is not None:
        refuse_given(context, "A recipe says what is trained", allowed=(*RUNNING, "dataset", "pairs"))
        if dataset != "cifar10" and not dataset.startswith("folder:"):
            raise UsageError("A recipe names its dataset; only --dataset folder:PATH may be said beside it.")
    if protected is not None:
        refuse_given(context, "--protected brings its photos", allowed=(*RUNNING, *ON_FOLDERS, "clean", "protected"))
    from unlearn_cli.evaluation.recipe import SCALES
    from unlearn_cli.victims.workers import join_workers, leave_workers

    workers, where = join_workers(device)
    if workers.count > 1 and (jobs > 1 or engine == "ray"):
        raise UsageError("torchrun shares each training; --jobs and --engine ray run several: choose one of them.")
    size = SCALES[scale or ("cpu" if where.type == "cpu" else "paper")]
    spec = options.dataset_spec(
        dataset if clean is None else f"folder:{clean}",
        data_dir,
        download,
        image_size,
        crop,
        classes,
        first_classes=first_classes,
        map_file=map_file,
    )
    training: dict[str, Any] = {
        "precision": precision or ("bf16" if where.type == "cuda" else "fp32"),
        "compile": compile_,
    }
    if epochs is not None:
        training["epochs"] = epochs
    if recipe is not None:
        planned, about = _plan_recipe(recipe, size, spec, pairs, range(seed, seed + seeds), train_size, training)
    else:
        training |= {"batch_size": batch_size, "learning_rate": learning_rate, "seed": seed}
        cell = _cell(
            spec, size, train_size, training, bank=bank, form=form, protected=protected, protect_classes=protect_classes
        )
        cell = replace(cell, poison_rate=poison_rate, keep=keep, trigger=trigger, pairs=pairs)
        planned, about = _plan_ad_hoc(cell, size, bank, form, protected, model, augment, defence, seeds)
    from unlearn_cli.cli import evaluation
    from unlearn_cli.evaluation.recipe import chosen_cells

    planned = chosen_cells(planned, cells)
    report = evaluation.run(planned, about, output, where, workers, jobs=jobs, engine=engine)
    if workers.rank == 0:
        evaluation.show(report, output)
        if record and bank is not None:
            evaluation.record(report, bank)
    leave_workers()


def _list_recipes() -> None:
    from unlearn_cli.evaluation.recipe import load_recipe, recipe_names

    for name in recipe_names():
        recipe = load_recipe(name)
        out().print(f"[bold]{name}[/]: {recipe.title} ({recipe.source})")


def _plan_recipe(
    name: str,
    scale: Scale,
    spec: DatasetSpec,
    pairs: Path | None,
    seeds: range,
    train_size: int | None,
    training: dict[str, Any],
) -> tuple[list[Planned], About]:
    from unlearn_cli.evaluation.recipe import Source, load_recipe, plan
    from unlearn_cli.evaluation.report import About

    recipe: Recipe = load_recipe(name)
    folder = Path(spec.source.removeprefix("folder:")) if spec.source.startswith("folder:") else None
    planned = plan(
        recipe, scale, Source(folder=folder, data_dir=spec.data_dir, download=spec.download, pairs=pairs), seeds
    )
    sized = [replace(one, cell=_with(one.cell, train_size, training)) for one in planned]
    return sized, About(recipe.title, recipe.source, recipe.about, scale.name, command_line())


def _with(cell: Cell, train_size: int | None, training: dict[str, Any]) -> Cell:
    images = replace(cell.images, train_size=train_size) if train_size is not None else cell.images
    return replace(cell, images=images, training=replace(cell.training, **training))


def _cell(
    spec: DatasetSpec,
    scale: Scale,
    train_size: int | None,
    training: dict[str, Any],
    *,
    bank: str | None,
    form: str | None,
    protected: Path | None,
    protect_classes: str | None,
) -> Cell:
    from unlearn_cli.banks.catalog import open_bank
    from unlearn_cli.errors import UsageError
    from unlearn_cli.evaluation.cell import Cell, Images, NoisePlan
    from unlearn_cli.victims.train import TrainingSettings

    noise = None
    if bank is not None:
        of = open_bank(bank).provenance.form
        if (of, form) == ("sample-wise", "class-wise"):
            raise UsageError(f"The bank '{bank}' is sample-wise: leave out --form.")
        noise = NoisePlan(bank=bank, fitted=of == "class-wise" and form == "sample-wise")
    return Cell(
        images=Images(spec=spec, train_size=train_size or scale.train_size, test_size=scale.test_size),
        noise=noise,
        protected_tree=protected,
        protect_classes=tuple(_split("--protect-classes", protect_classes)) if protect_classes is not None else (),
        training=TrainingSettings(**{"epochs": scale.epochs or 60, **training}),
    )


def _split(option: str, text: str) -> list[str]:
    from unlearn_cli.errors import UsageError

    parts = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not parts:
        raise UsageError(f"{option} names nothing.")
    return parts


def _plan_ad_hoc(
    cell: Cell,
    scale: Scale,
    bank: str | None,
    form: str | None,
    protected: Path | None,
    model: str | None,
    augment: str,
    defence: str,
    seeds: int,
) -> tuple[list[Planned], About]:
    from unlearn_cli.evaluation.ad_hoc import ad_hoc
    from unlearn_cli.evaluation.report import About

    noise = Path(str(protected)).name if bank is None else Path(bank).stem + (f" ({form})" if form else "")
    models = _split("--model", model) if model is not None else [scale.model("resnet18") or "resnet18"]
    planned = ad_hoc(
        cell,
        noise=noise,
        models=models,
        augments=_split("--augment", augment),
        defences=_split("--defence", defence),
        seeds=seeds,
    )
    what = f"the bank {noise}" if bank is not None else f"the photos in {protected}"
    text = "Victims trained on protected images and tested on clean ones, beside the same trained on clean images."
    return planned, About(f"What a victim learns from images protected by {what}", "", text, scale.name, command_line())
