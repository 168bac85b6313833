"""A noise bank: bounded patterns, one for each class, and their provenance."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from unlearn_cli.banks.provenance import Provenance, parse_finite_json
from unlearn_cli.errors import BankError, NewerBankError
from unlearn_cli.files import write_atomically

METADATA_KEY = "unlearn"
MAX_BYTES = 4 << 30
"""The largest size of a bank's file; larger files are refused without being read into memory. The largest experiment,
sample-wise noise for a fifth of a hundred classes of ImageNet, needs 3.6 GiB."""


APPLICABLE = ("image", "face")
"""The frames that ``protect`` supports."""


@dataclass(frozen=True, eq=False)
class Bank:
    """A loaded noise bank."""

    name: str
    noise: NDArray[np.int8]
    """The noise ``[K, 3, H, W]``, in pixel levels, ``|noise| <= provenance.epsilon``. In the form ``sample-wise`` there
    is one for each image."""
    provenance: Provenance
    sha256: str
    """The SHA-256 of the whole file, by which cards and reports refer to it."""
    path: Path

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the names of the classes, in the order of the patterns."""
        return self.provenance.classes

    def check_applicable(self) -> None:
        """Raise ``BankError`` if this version cannot apply the bank's noise to photos in the way that it requires."""
        of = self.provenance
        if of.form == "sample-wise":
            raise BankError(
                f"The noise bank {self.path} has noise for {len(self.noise)} images of {of.dataset.get('name')} only "
                "and cannot protect other photos. Use another bank; 'unlearn evaluate' can measure this one."
            )
        if not of.is_plain or of.frame not in APPLICABLE:
            how = "a mixture" if of.variants > 1 or of.uniform else f"made for the frame '{of.frame}'"
            raise BankError(
                f"The noise bank {self.path} is {how}, which cannot be applied to photos by this version. "
                "Use another bank; 'unlearn evaluate' can measure this one."
            )

    @property
    def noise_sha256(self) -> str:
        """Return the SHA-256 of the noise alone; a surrogate's file uses it to name the noise that it belongs to."""
        return hashlib.sha256(np.ascontiguousarray(self.noise).tobytes()).hexdigest()


def save_bank(path: Path, noise: NDArray[np.int8], provenance: Provenance) -> str:
    """Write a bank atomically and return the file's SHA-256.

    The bytes depend on the arguments alone. Raises ``BankError`` if the noise does not fit its provenance (shape, type,
    bound), and ``OSError`` if the file cannot be written.
    """
    provenance.check()
    _check_noise(noise, provenance)
    data = save_tensors({"noise": noise}, metadata={METADATA_KEY: provenance.to_json()})
    write_atomically(path, data)
    return hashlib.sha256(data).hexdigest()


def load_bank(path: Path, expected_sha256: str | None = None) -> Bank:
    """Return the bank in a file, after checking everything about it that can be checked.

    Raises ``BankError`` (one sentence, followed by what to do next) if the file is missing, unreadable, truncated, of a
    newer schema, not what its SHA-256 says, or outside its own bound.
    """
    try:
        data = _read(path)
        digest = hashlib.sha256(data).hexdigest()
        if expected_sha256 is not None and digest != expected_sha256:
            raise BankError("its SHA-256 differs from the one that it was shipped with")
        noise, provenance = _parse(data)
    except BankError as error:
        advice = "Install unlearn again, or make the bank again with 'unlearn generate'."
        told = "" if isinstance(error, NewerBankError) else f" {advice}"
        raise BankError(f"The noise bank {path} cannot be used: {error}.{told}") from error
    return Bank(path.stem, noise, provenance, digest, path)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BankError(f"it is larger than {MAX_BYTES >> 20} MiB, so it is not a noise bank")
        return path.read_bytes()
    except OSError as error:
        raise BankError(error.strerror or str(error)) from error


def _parse(data: bytes) -> tuple[NDArray[np.int8], Provenance]:
    try:
        tensors = load_tensors(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise BankError("it is damaged or not a safetensors file") from error
    # The numpy loader returns no metadata; the header is JSON, preceded by its length in 8 bytes.
    header = parse_finite_json(data[8 : 8 + int.from_bytes(data[:8], "little")])
    metadata = header.get("__metadata__") or {}
    if METADATA_KEY not in metadata:
        raise BankError("it is a safetensors file, but not a noise bank")
    provenance = Provenance.from_json(metadata[METADATA_KEY])
    if set(tensors) != {"noise"}:
        raise BankError("it does not contain exactly one tensor, named 'noise'")
    _check_noise(tensors["noise"], provenance)
    return tensors["noise"], provenance


def _check_noise(noise: NDArray[np.int8], provenance: Provenance) -> None:
    if noise.dtype != np.int8:
        raise BankError(f"its noise is {noise.dtype}, not int8")
    if noise.ndim != 4 or noise.shape[1] != 3 or 0 in noise.shape:
        raise BankError(f"its noise has shape {list(noise.shape)}, not [classes, 3, height, width]")
    wanted = len(provenance.classes) * provenance.variants
    if provenance.form == "class-wise" and len(noise) != wanted:
        raise BankError(f"it has {len(noise)} patterns for {len(provenance.classes)} classes")
    if provenance.frame == "patch" and max(noise.shape[2:]) > provenance.scale:
        raise BankError(f"its patch of {noise.shape[3]} pixels is larger than its images")
    # Not by the absolute values: those need twice the memory, and that of int8's -128 is -128.
    largest = max(int(noise.max()), -int(noise.min()))
    if largest > provenance.epsilon:
        raise BankError(f"its noise reaches {largest} levels, more than its bound of {provenance.epsilon}")
