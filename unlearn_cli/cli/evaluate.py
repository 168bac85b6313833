"""``unlearn evaluate``: train on protected images, test on clean ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from unlearn_cli.cli import dataset as options
from unlearn_cli.cli.console import exits, given_of, out, refuse_given

if TYPE_CHECKING:
    from unlearn_cli.evaluation.cell import Cell


RUNNING = (
    "recipe", "output", "data_dir", "download", "cells", "scale", "train_size", "epochs", "seeds", "seed", "device",
    "precision", "compile_", "jobs", "engine",
)  # fmt: skip
ON_PEOPLE = (
    "identities", "people", "class_name", "trip", "views", "together", "key_seed", "one_key", "bank", "epsilon",
    "image_size", "pairs", "record", "poison_rate", "model", "batch_size", "learning_rate", "augment", "defence",
    "classes", "random_control",
)  # fmt: skip
OF_TREE = ("clean", "protected", "bank", "record", "random_control")
ON_FOLDERS = (
    "image_size", "crop", "classes", "first_classes", "map_file", "pairs", "protect_classes", "poison_rate", "keep",
    "model", "batch_size", "learning_rate", "augment", "defence", "trip", "views",
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
    identities: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A folder of photos for each person, some of whom are protected.")
    ] = None,
    people: Annotated[
        str | None, typer.Option("--protect", help="Whom: comma-separated names or patterns of their folders.")
    ] = None,
    class_name: Annotated[
        str, typer.Option("--class", help="What 'unlearn protect' is told that their photos show.")
    ] = "person",
    epsilon: Annotated[int | None, typer.Option(min=1, max=127, help="Protect with weaker noise.")] = None,
    together: Annotated[
        int | None,
        typer.Option("--groups-of", min=1, help="Protect so many at a time, all of them in turn.  [default: all]"),
    ] = None,
    key_seed: Annotated[int, typer.Option(help="Of the keys that decide the protected people's patterns.")] = 0,
    one_key: Annotated[bool, typer.Option("--one-key", help="Let them all share one key.")] = False,
    trip: Annotated[
        str | None,
        typer.Option(
            help="What happens to photos before a victim has them: none, social, thumbnail, face, hard; face:50 for "
            "another JPEG quality.  [default: face with --identities]"
        ),
    ] = None,
    views: Annotated[
        int | None,
        typer.Option(min=1, help="So many jittered crops of each training photo.  [default: 1; with --identities 3]"),
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
    batch_size: Annotated[
        int | None, typer.Option(min=2, help="[default: 128; with --identities 32]", show_default=False)
    ] = None,
    learning_rate: Annotated[float, typer.Option(min=0.0, help="At the start; it follows a cosine to zero.")] = 0.1,
    augment: Annotated[
        str, typer.Option(help="none, standard (flips and shifts), cutout, mixup, cutmix, autoaugment; by commas.")
    ] = "standard",
    defence: Annotated[
        str,
        typer.Option(
            help="none, jpeg:Q, gray, blur, color-jitter, bit-depth:B, adversarial:E, orthogonal-projection, "
            "ueraser-like; by commas."
        ),
    ] = "none",
    random_control: Annotated[
        bool, typer.Option("--random-control", help="Also train on images with random noise within the same bound.")
    ] = False,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="So many trainings of each.  [default: 1; with --identities 3]")
    ] = None,
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

    With --bank: a bank on a dataset. With --clean and --protected: photos that were protected already. With
    --identities: some people among many, protected now. With --recipe: an experiment of the paper. SGD with momentum
    0.9, weight decay 5e-4 and a cosine schedule, as the paper has it. Run the same command again after an interruption
    and it goes on at its last finished epoch.
    """
    from unlearn_cli.errors import UsageError

    if list_recipes:
        _list_recipes()
        return
    files = identities or protected  # Then a bank may be named beside them.
    kinds = (recipe, protected, identities, None if files is not None else bank)
    if sum(given is not None for given in kinds) != 1 or (clean is None) != (protected is None):
        raise UsageError(
            "Say what to measure: --bank NAME, --recipe NAME, --clean DIR and --protected DIR, or --identities DIR."
        )
    if identities is None and given_of(context, ("people", "class_name", "epsilon", "together", "key_seed", "one_key")):
        raise UsageError("--protect, --class, --epsilon, --groups-of and keys belong to --identities DIR.")
    if identities is not None and people is None:
        raise UsageError("Say who is protected: --protect id003,id017.")
    if bank is not None:
        from unlearn_cli.banks.catalog import open_bank

        open_bank(bank)  # before PyTorch is loaded, which takes seconds
    if recipe is not None:
        refuse_given(context, "A recipe says what is trained", allowed=(*RUNNING, "dataset", "pairs"))
        if dataset != "cifar10" and not dataset.startswith("folder:"):
            raise UsageError("A recipe names its dataset; only --dataset folder:PATH may be said beside it.")
    if protected is not None:
        refuse_given(context, "--protected brings its photos", allowed=(*RUNNING, *ON_FOLDERS, *OF_TREE))
    if identities is not None:
        refuse_given(context, "--identities brings its photos", allowed=(*RUNNING, *ON_PEOPLE))
    if protected is not None and (record or random_control) != (bank is not None):
        raise UsageError(
            "With --protected, --bank names the bank that it was made with, for --record and --random-control."
        )
    if record and bank is None:
        raise UsageError("--record writes into the card beside a bank: name the --bank.")
    from unlearn_cli.cli import planning
    from unlearn_cli.evaluation.recipe import SCALES
    from unlearn_cli.victims.trip import parse_trip
    from unlearn_cli.victims.workers import join_workers, leave_workers

    journey = parse_trip(trip or "face") if trip is not None or identities is not None else None

    workers, where = join_workers(device)
    if workers.count > 1 and (jobs > 1 or engine == "ray"):
        raise UsageError("torchrun shares each training; --jobs and --engine ray run several: choose one of them.")
    size = SCALES[scale or ("cpu" if where.type == "cpu" else "paper")]
    own = clean or identities
    spec = options.dataset_spec(
        dataset if own is None else f"folder:{own}",
        data_dir,
        download,
        image_size or (size.face_size if identities is not None else None),
        crop,
        classes,
        first_classes=first_classes,
        map_file=map_file,
    )
    spec = replace(spec, trip=journey, views=views or (1 if identities is None else 3))
    if views is not None and journey is None:
        raise UsageError("--views are crops that differ by a trip's jitter: name a --trip.")
    if journey is not None and not spec.source.startswith("folder:"):
        raise UsageError("--trip begins with files on the disk: it needs a folder of photos.")
    training: dict[str, Any] = {"seed": seed, "precision": precision or ("bf16" if where.type == "cuda" else "fp32")}
    training |= {"compile": compile_} | ({"epochs": epochs} if epochs is not None else {})
    if recipe is None:
        training |= {"batch_size": batch_size or (128 if identities is None else 32), "learning_rate": learning_rate}
    victims = planning.Victims(
        scale=size,
        model=model,
        augment=augment,
        defence=defence,
        seeds=seeds or (1 if identities is None else 3),
        training=training,
        random=random_control,
    )
    changes: dict[str, Any] = {"poison_rate": poison_rate, "keep": keep, "trigger": trigger, "pairs": pairs}
    if protect_classes is not None:
        changes["protect_classes"] = tuple(planning.split("--protect-classes", protect_classes))

    def change(cell: Cell) -> Cell:
        return replace(cell, **changes)

    if recipe is not None:
        planned, about = planning.plan_recipe(recipe, victims, spec, pairs, train_size)
    elif identities is not None:
        whom = planning.People(
            root=identities,
            patterns=people or "",
            class_name=class_name,
            bank=bank,
            epsilon=epsilon,
            together=together,
            key_seed=key_seed,
            one_key=one_key,
        )
        planned, about = planning.plan_people(whom, victims, spec, output, workers, change)
    elif protected is None and bank is not None:
        planned, about = planning.plan_bank(bank, form, victims, spec, train_size, change)
    else:
        copies = planning.Copies(clean=Path(str(clean)), protected=Path(str(protected)), bank=bank)
        planned, about = planning.plan_copies(copies, victims, spec, train_size, output, workers, change)
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
