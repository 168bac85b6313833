"""Datasets, networks, augmentation and training, which ``noise`` and ``evaluation`` share."""
