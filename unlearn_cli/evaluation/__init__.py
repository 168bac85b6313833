"""Measure what a victim learns from protected images."""
