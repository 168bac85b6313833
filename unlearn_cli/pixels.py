"""Facts about pixel values that several packages need."""

from __future__ import annotations

LUMA = (0.299, 0.587, 0.114)
"""The weights of red, green and blue in the luma of ITU-R BT.601, which Pillow and JPEG use."""
