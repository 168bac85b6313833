"""Counts what makes the code easy or hard to read, at some commits, for the table in docs/explanation/architecture.md.

    python benchmarks/structure.py d0c8e5e HEAD

Options are counted in the signatures of the commands, as Typer reads them; those that several commands of one group
share count once for the group.
"""

from __future__ import annotations

import argparse
import ast
import statistics
import subprocess
from collections.abc import Iterator

MOST_PARAMETERS = 7


def sources(commit: str) -> dict[str, str]:
    """Return the package's Python files at a commit, by path."""
    names = _git("ls-tree", "-r", "--name-only", commit, "unlearn_cli").splitlines()
    return {name: _git("show", f"{commit}:{name}") for name in names if name.endswith(".py")}


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout


def functions(text: str) -> Iterator[ast.FunctionDef]:
    yield from (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef))


def taken(function: ast.FunctionDef) -> list[str]:
    arguments = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    return [argument.arg for argument in arguments if argument.arg not in ("self", "cls")]


def is_command(function: ast.FunctionDef) -> bool:
    return any("exits" in ast.unparse(decorator) for decorator in function.decorator_list)


def options(files: dict[str, str]) -> dict[str, int]:
    """Return how many options each command has; a group's commands share theirs."""
    found: dict[str, set[str]] = {}
    for path, text in files.items():
        for function in functions(text):
            if is_command(function) and "/cli/" in path and function.name != "main":
                group = path.rsplit("/", 1)[1].removesuffix(".py")
                found.setdefault(group, set()).update(
                    name for name in taken(function) if name != "context" and not _is_argument(function, name)
                )
    return {group: len(names) for group, names in found.items()}


def _is_argument(function: ast.FunctionDef, name: str) -> bool:
    (argument,) = [a for a in (*function.args.args, *function.args.kwonlyargs) if a.arg == name]
    return argument.annotation is not None and "typer.Argument" in ast.unparse(argument.annotation)


def measured(commit: str) -> dict[str, str]:
    files = sources(commit)
    every = [function for text in files.values() for function in functions(text)]
    lengths = [(function.end_lineno or 0) - function.body[0].lineno + 1 for function in every]
    inner = [function for function in every if not is_command(function)]
    return {
        "files": str(len(files)),
        "lines": str(sum(text.count("\n") for text in files.values())),
        "functions": str(len(every)),
        "median length of a function": f"{statistics.median(lengths):g} lines",
        "longest function, without its options": f"{max(lengths)} lines",
        f"functions with more than {MOST_PARAMETERS} parameters, commands apart": str(
            sum(len(taken(function)) > MOST_PARAMETERS for function in inner)
        ),
        "`dict[str, Any]`": str(sum(text.count("dict[str, Any]") for text in files.values())),
        "options by command": ", ".join(f"{name} {count}" for name, count in sorted(options(files).items())),
        "options in all": str(sum(options(files).values())),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commits", nargs="+")
    commits = parser.parse_args().commits
    columns = [measured(commit) for commit in commits]
    print("| |", " | ".join(commits), "|")
    print("|---|" + "---|" * len(commits))
    for name in columns[0]:
        print(f"| {name} |", " | ".join(column[name] for column in columns), "|")


if __name__ == "__main__":
    main()
