"""The groups of options in the help of each command, by the options' long names without the dashes.

They are here, and not at each option, because several commands share options, and one look tells how a help is ordered.
"""

from __future__ import annotations

IMAGES = "dataset data-dir download image-size crop classes first-classes map train-size"

GROUPS = {
    "verify": {"What to look for": "bank key-file measure", "Work and messages": "jobs json verbose"},
    "preview": {"What to show, and where": "output photo", "Messages": "json"},
    "restore": {"What to put back": "overwrite", "Messages": "dry-run json verbose"},
    "generate": {
        "The images": IMAGES,
        "How the noise is made": "method form preset surrogate through epsilon key-file seed device set list-settings",
        "Output and messages": "output overwrite checkpoint json",
    },
    "evaluate": {
        "What is protected": "form bank protect class epsilon groups-of",
        "The images": IMAGES,
        "Who learns from them, and how": "attacker trip model augment defence",
        "Which trainings there are": "list scale seeds only random-control jobs set",
        "The results": "output record",
    },
    "banks mix": {"What is mixed": "by-colour gain epsilon add-uniform", "Where it is written": "output overwrite"},
}
"""For each command or group of commands, the titles and the options; those of ``protect`` have their titles at them."""


def groups_of(section: str) -> dict[str, str]:
    """Return the groups of a command, such as ``evaluate bank``: the options, separated by spaces, by their title."""
    return GROUPS.get(section) or GROUPS.get(section.split(" ")[0]) or {}


def title_of(section: str, option: str) -> str | None:
    """Return the title of the group of one of a command's options; None if it has none."""
    return next((title for title, names in groups_of(section).items() if option in names.split()), None)
