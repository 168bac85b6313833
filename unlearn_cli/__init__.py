"""Make your own photos useless for training image models, before you share them."""

__version__ = "0.1.0"

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unlearn_cli.photos.folder import protect_folder
    from unlearn_cli.photos.one import protect_bytes, protect_image
    from unlearn_cli.photos.protector import Protector

__all__ = ["Protector", "__version__", "protect_bytes", "protect_folder", "protect_image"]


def __getattr__(name: str) -> Any:
    """Return a public name, imported only on demand: the command line's help needs none of them."""
    from importlib import import_module

    homes = {"Protector": "protector", "protect_folder": "folder", "protect_bytes": "one", "protect_image": "one"}
    if name not in homes:
        raise AttributeError(f"module 'unlearn_cli' has no attribute '{name}'")
    return getattr(import_module(f"unlearn_cli.photos.{homes[name]}"), name)
