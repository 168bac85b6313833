"""Make your own photos useless for training image models, before you share them."""

__version__ = "0.1.0"
