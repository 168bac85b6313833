"""Noise banks: their format, their provenance, and where they are stored. This package never imports torch."""
