"""The structure holds: arrows run one way, torch stays where it belongs, the docs are current."""

from __future__ import annotations

import ast
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "unlearn_cli"

MAY_IMPORT = {
    "errors": set(),
    "files": set(),
    "faces": {"errors"},
    "pixels": set(),
    "kept": set(),
    "banks": {"errors", "files"},
    "photos": {"errors", "files", "faces", "pixels", "banks"},
    "training": {"errors", "files", "faces", "kept"},
    "noise": {"errors", "files", "faces", "pixels", "banks", "training"},
    "evaluation": {"errors", "files", "faces", "pixels", "kept", "banks", "photos", "noise", "training"},
    "cli": {"errors", "files", "banks", "photos", "noise", "evaluation", "training"},
}
NO_TORCH = ("errors", "files", "faces", "pixels", "kept", "banks", "photos")
TERMINAL = ("typer", "rich")


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_arrows_run_one_way(room: str) -> None:
    files = list((PACKAGE / room).rglob("*.py")) or [PACKAGE / f"{room}.py"]
    for path in files:
        for name in imports(path):
            top, *rest = name.split(".")
            if top == "unlearn_cli" and rest:
                assert rest[0] == room or rest[0] in MAY_IMPORT[room], f"{path} imports {name}"
            assert top not in TERMINAL or room == "cli", f"{path} imports {name}"
            assert top not in ("torch", "torchvision") or room not in NO_TORCH, f"{path} imports {name}"


def test_only_the_command_line_prints() -> None:
    for path in PACKAGE.rglob("*.py"):
        if "cli" in path.relative_to(PACKAGE).parts:
            continue
        calls = [n.func for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Call)]
        assert not [f for f in calls if isinstance(f, ast.Name) and f.id == "print"], path


def test_files_fit_their_readers() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert path.read_text(encoding="utf-8").count("\n") <= 400, path


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    yield from (
        node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.FunctionDef)
    )


def is_command(function: ast.FunctionDef) -> bool:
    return any("exits" in ast.unparse(decorator) for decorator in function.decorator_list)


def test_functions_fit_on_a_screen_and_take_few_things() -> None:
    """Commands take their options, which Typer reads from their parameters."""
    for path in PACKAGE.rglob("*.py"):
        for function in functions(path):
            lines = (function.end_lineno or 0) - function.body[0].lineno + 1
            assert lines <= 60, f"{path.name}: {function.name} has {lines} lines"
            taken = [a.arg for a in (*function.args.args, *function.args.kwonlyargs) if a.arg not in ("self", "cls")]
            assert len(taken) <= 7 or is_command(function), f"{path.name}: {function.name} takes {len(taken)} things"


def test_engine_rooms_have_types_and_not_dictionaries_of_anything() -> None:
    for path in PACKAGE.rglob("*.py"):
        if "cli" in path.relative_to(PACKAGE).parts:
            continue
        for function in functions(path):
            said = ast.unparse(function.args) + (ast.unparse(function.returns) if function.returns else "")
            allowed = function.name.startswith("_") or function.name in JSON_OR_KEYWORDS
            assert allowed or "dict[str, Any]" not in said, f"{path.name}: {function.name}"


JSON_OR_KEYWORDS = {"identity", "noise_identity", "hash_of", "state", "restore", "settings_for", "images_at"}
"""Functions that take or give JSON that is hashed, a search's state that PyTorch saves, words that become a dataclass,
or the content of a recipe's TOML file."""


def test_no_two_files_have_one_name() -> None:
    names = [path.name for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
    assert sorted(names) == sorted(set(names))


FRAGMENTS = ("Of ", "Those of ", "What of ", "Whom ", "Without ", "With ")


def test_docstrings_are_no_fragments() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node) or ""
                assert not text.startswith(FRAGMENTS), f"{path.name}: {text.splitlines()[0]}"


INNER_WORDS = re.compile(r"\b(victim|epoch|seed|surrogate|trip)s?\b", re.IGNORECASE)
SAYS_WHAT_PROTECT_AND_VERIFY_SAY = [
    *(PACKAGE / "photos").rglob("*.py"),
    *(
        PACKAGE / "cli" / f"{name}.py"
        for name in (
            "protect",
            "protect_run",
            "summary",
            "closing",
            "measured",
            "key_use",
            "verify",
            "preview",
            "key",
            "protect_bulk",
            "protect_pipe",
            "protect_sense",
            "several_faces",
        )
    ),
]


def texts(path: Path) -> Iterator[str]:
    """Yield the strings of a file, without its docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node.value


@pytest.mark.parametrize("path", SAYS_WHAT_PROTECT_AND_VERIFY_SAY, ids=lambda path: path.name)
def test_what_protect_and_verify_say_needs_no_words_of_the_field(path: Path) -> None:
    for text in texts(path):
        assert not INNER_WORDS.search(text), text


def test_ci_runs_the_test_command_that_is_documented() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    for name in ("README.md", "CONTRIBUTING.md"):
        commands = re.findall(r"^\$ .*&& (.*pytest.*)$", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
        assert commands, name
        for command in commands:
            assert command in script, f"{name}: {command}"


NOT_FOR_FOLDERS = ("ray", "fsspec", "s3fs", "botocore", "sqlite3", "unlearn_cli.photos.bulk")
"""What a run over a folder, without Ray, does not load."""


def test_protecting_never_imports_torch(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "in").mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "in" / "a.png")
    code = (
        f"import sys\nNOT_FOR_FOLDERS = {NOT_FOR_FOLDERS}\n"
        "from unlearn_cli.cli.app import app\n"
        "app(sys.argv[1:], standalone_mode=False)\n"
        "assert 'unlearn_cli.photos.folder' in sys.modules\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'torchvision', *NOT_FOR_FOLDERS)))\n"
    )
    command = [sys.executable, "-c", code, "protect", "in", "--class", "person"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "in-protected" / "a.png").is_file()
    subprocess.run(
        [sys.executable, "-c", code.replace("photos.folder", "photos.verdicts"), "verify", "in", "in-protected"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip


def test_protecting_works_without_torch_installed_and_training_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules['torch'] = sys.modules['torchvision'] = None\n"
        "from unlearn_cli.cli.app import app\n"
        "app(sys.argv[1:])\n"
    )

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)

    assert run("banks", "list").returncode == 0
    generated = run("generate", "--dataset", "cifar10")
    assert generated.returncode == 1
    assert "pip install '.[train]'" in generated.stderr
    assert "Traceback" not in generated.stderr


def test_help_imports_no_engine() -> None:
    code = (
        "import sys\n"
        "from unlearn_cli.cli.app import app\n"
        "app(['--help'], standalone_mode=False)\n"
        "loaded = [n for n in ('numpy', 'PIL', 'safetensors', 'torch', 'rich', 'ray', 'fsspec') if n in sys.modules]\n"
        "sys.exit(', '.join(loaded) or 0)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_command_reference_is_current() -> None:
    make = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))
    assert (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8") == make["reference"](), (
        "run: python docs/make_reference.py"
    )


def test_the_table_of_what_formats_keep_is_what_is_measured() -> None:
    pytest.importorskip("pillow_heif", reason="the extra 'heic' is not installed")
    make = runpy.run_path(str(ROOT / "docs" / "make_formats.py"))
    text = (ROOT / "docs" / "reference" / "photo-formats.md").read_text(encoding="utf-8")
    assert make["page"](text) == text, "run: python docs/make_formats.py"


def test_the_documented_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    page = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "selfies").mkdir()
    image = Image.effect_noise((50, 50), 50).convert("RGB")
    image.save(tmp_path / "selfies" / "a.png")
    monkeypatch.chdir(tmp_path)
    names = {"image": image, "data": (tmp_path / "selfies" / "a.png").read_bytes()}
    for block in blocks:
        exec(block, names)
    assert len([line for line in blocks[0].splitlines() if line]) == 3
    assert (tmp_path / "protected.png").is_file()
    assert (tmp_path / "selfies-protected" / "a.png").is_file()


def test_the_readme_is_short_and_begins_with_a_picture() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count("\n") <= 120
    picture = re.match(r"!\[[^]]+\]\((.+?)\)\n", text)
    assert picture is not None
    assert (ROOT / picture[1]).stat().st_size < 300_000


def test_the_picture_is_what_protect_writes() -> None:
    from PIL import Image, ImageChops, ImageStat

    make = runpy.run_path(str(ROOT / "docs" / "make_picture.py"))
    with Image.open(ROOT / "docs" / "strengths.jpg") as shown:
        # Means over eight by eight pixels are hardly changed by JPEG: it is 0.2 now, and 1.4 with another key's noise.
        difference = ImageStat.Stat(ImageChops.difference(shown.reduce(8), make["picture"]().reduce(8)))
    assert max(difference.mean) < 0.5, "run: python docs/make_picture.py"


def test_what_helps_is_told_as_the_cards_have_it() -> None:
    make = runpy.run_path(str(ROOT / "docs" / "make_table.py"))
    for path in make["PAGES"]:
        text = path.read_text(encoding="utf-8")
        assert make["page"](text) == text, "run: python docs/make_table.py"
        assert make["table"]() in text
    # The worst attacker of the default comes first, as in the cards.
    head, _, *rows = make["table"]().splitlines()
    of_default = [re.split(r" \| ", row)[re.split(r" \| ", head).index(make["DEFAULT"])] for row in rows]
    lights = [make["LIGHTS"].index(cell[0]) for cell in of_default if cell != make["NOT_MEASURED"]]
    assert lights == sorted(lights, reverse=True)
    assert len(set(lights)) == 3
    assert rows[0].startswith("| face search")


def test_the_attackers_are_told_as_the_cards_have_them() -> None:
    plot = runpy.run_path(str(ROOT / "benchmarks" / "attackers_plot.py"))
    text = plot["PAGE"].read_text(encoding="utf-8")
    assert plot["page"](text) == text, "run: python benchmarks/attackers_plot.py"


def test_the_limits_begin_with_the_worst_and_their_figures_are_those_of_the_card() -> None:
    make = runpy.run_path(str(ROOT / "docs" / "make_table.py"))
    page = (ROOT / "docs" / "explanation" / "limits.md").read_text(encoding="utf-8")
    table = page.split("\n\n")[1].splitlines()
    assert len(table) == 2 + 5
    worst = make["worst_by_attack"]("high")
    found = {
        kind: [round(100 * of.final) for of in (worst[kind].protected, worst[kind].clean)]
        for kind in ("recogniser", "trained without colours", "trained with random changes of colour")
    }
    shown = [[int(number) for number in re.findall(r"\d+", row)] for row in table[2:4]]
    (protected, clean), (bright, without), (changed, also) = found.values()
    assert shown == [[protected, clean], [bright, changed, without, also]]


def test_links_between_the_pages_lead_somewhere() -> None:
    for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")):
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            name, _, anchor = link.partition("#")
            if "://" in name:
                continue
            path = page.parent / name if name else page
            assert path.exists(), f"{page.name}: {link}"
            if anchor:
                text = path.read_text(encoding="utf-8")
                anchors = {
                    re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-") for line in HEADING.findall(text)
                }
                assert anchor in anchors or f'id="{anchor}"' in text, f"{page.name}: {link}"


HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def test_no_card_names_a_folder_of_the_machine_that_measured() -> None:
    for card in (ROOT / "pretrained").glob("*.json"):
        assert not re.search(r"""(?<=[\s"'=:,])/(?:home|root|tmp|work|Users)/""", card.read_text()), card.name
