"""Datasets, networks, augmentation and training, shared by ``noise`` and ``evaluation``."""
