"""Reading from an ONNX file whether the network normalises pixel values by itself, without the package onnx.

An ONNX file is a protocol buffer: fields of a number, a wire type and a value. Only the fields that are needed here are
read: of ``ModelProto`` its graph (7), of ``GraphProto`` nodes (1), initializers (5) and inputs (11), of ``NodeProto``
inputs (1), outputs (2) and the operation (4), of ``TensorProto`` (8) and ``ValueInfoProto`` (1) the name.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from unlearn_cli.errors import UsageError

GRAPH = 7
NODE, INITIALIZER, INPUT = 1, 5, 11
NAME_OF = {INITIALIZER: 8, INPUT: 1}
USED, MADE, OPERATION = 1, 2, 4
VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5

SAME_VALUES = ("Identity", "Cast", "Transpose")
ARITHMETIC = ("Sub", "Add", "Mul", "Div", "BatchNormalization")


def normalises_itself(path: Path) -> bool:
    """Return whether the first thing that the network of an ONNX file does to its images is arithmetic.

    Such a network takes pixel values from 0 to 255; one that begins with a convolution takes normalised values. Raises
    ``UsageError`` if the file cannot be read or is no ONNX file.
    """
    try:
        graph = [part for of, model in _fields(memoryview(path.read_bytes())) if of == GRAPH for part in _fields(model)]
        names = {
            kind: [_texts(part, of)[0] for number, part in graph if number == kind] for kind, of in NAME_OF.items()
        }
        nodes = [part for number, part in graph if number == NODE]
        # Older files list the weights among the inputs too; the images come first.
        images = {next(name for name in names[INPUT] if name not in names[INITIALIZER])}
        for node in nodes:  # ONNX sorts the nodes: each comes after those whose results it uses.
            if images.isdisjoint(_texts(node, USED)):
                continue
            (operation,) = _texts(node, OPERATION)
            if operation not in SAME_VALUES:
                return operation in ARITHMETIC
            images.update(_texts(node, MADE))
    except (OSError, IndexError, ValueError, StopIteration) as error:
        raise UsageError(f"{path} is no ONNX network that can be loaded.") from error
    return False


def _texts(message: memoryview, number: int) -> list[str]:
    """Return the texts in the fields of this number."""
    return [bytes(value).decode() for of, value in _fields(message) if of == number]


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield the number and the bytes of each field of a message that holds bytes, and pass over the numbers."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == VARINT:
            _, at = _varint(message, at)
        elif kind in (EIGHT_BYTES, FOUR_BYTES):
            at += 8 if kind == EIGHT_BYTES else 4
        elif kind == LENGTH:
            length, at = _varint(message, at)
            if at + length > len(message):
                raise ValueError("a field is longer than its message")
            yield tag >> 3, message[at : at + length]
            at += length
        else:
            raise ValueError(f"there is no wire type {kind}")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return the number at a place, in groups of seven bits with the lowest first, and the place behind it."""
    value = shift = 0
    while True:
        byte = message[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at
