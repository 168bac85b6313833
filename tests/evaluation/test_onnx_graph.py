"""What an ONNX network takes is read from its file, whatever the file is called."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearn_cli.errors import UsageError
from unlearn_cli.evaluation.attackers.onnx_graph import normalises_itself
from unlearn_cli.evaluation.attackers.recognisers import identity_of, open_recogniser

Node = tuple[str, list[str], str]
POOL: list[Node] = [("GlobalAveragePool", ["pixels"], "mean"), ("Flatten", ["mean"], "features")]
SUBTRACT: Node = ("Sub", ["data", "hundred"], "pixels")


def number(value: int) -> bytes:
    low, value = value & 127, value >> 7
    return bytes([low | 128]) + number(value) if value else bytes([low])


def field(of: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return number(of << 3) + number(value)
    return number(of << 3 | 2) + number(len(value)) + value


def tensor_type(name: str, shape: tuple[int, ...]) -> bytes:
    sides = b"".join(field(1, field(1, side)) for side in shape)
    return field(1, name.encode()) + field(2, field(1, field(1, 1) + field(2, sides)))


def network(nodes: list[Node], weights_among_inputs: bool = False) -> bytes:
    """Return an ONNX file of these nodes, from ``data`` to ``features``, with a constant of 100."""
    graph = b"".join(
        field(1, b"".join(field(1, name.encode()) for name in used) + field(2, made.encode()) + field(4, kind.encode()))
        for kind, used, made in nodes
    )
    graph += field(2, b"net") + field(5, field(2, 1) + field(8, b"hundred") + field(9, struct.pack("<f", 100.0)))
    graph += field(11, tensor_type("hundred", ())) if weights_among_inputs else b""
    graph += field(11, tensor_type("data", (1, 3, 112, 112))) + field(12, tensor_type("features", (1, 3)))
    return field(1, 8) + field(8, field(2, 13)) + field(7, graph)


RAW = [SUBTRACT, *POOL]
NORMALISED: list[Node] = [("Relu", ["data"], "pixels"), *POOL]


@pytest.mark.parametrize(
    ("nodes", "raw"),
    [
        (RAW, True),
        (NORMALISED, False),
        ([("Identity", ["data"], "same"), ("Sub", ["same", "hundred"], "pixels"), *POOL], True),
        ([("Neg", ["hundred"], "less"), ("Add", ["less", "data"], "pixels"), *POOL], True),
        ([("Abs", ["hundred"], "more"), *NORMALISED], False),
        ([], False),
    ],
)
@pytest.mark.parametrize("weights_among_inputs", [False, True])
def test_the_first_thing_done_to_the_image_decides(
    tmp_path: Path, nodes: list[Node], raw: bool, weights_among_inputs: bool
) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(network(nodes, weights_among_inputs))
    assert normalises_itself(path) is raw


@pytest.mark.parametrize(("nodes", "name"), [(RAW, "net.onnx"), (NORMALISED, "sface.onnx")])
def test_a_network_gets_what_it_takes_and_the_run_says_so(tmp_path: Path, nodes: list[Node], name: str) -> None:
    pytest.importorskip("onnxruntime", reason="the extra 'recognisers' is not installed")
    path = tmp_path / name
    path.write_bytes(network(nodes))
    images = np.full((2, 112, 112, 3), (200, 250, 130), np.uint8)
    values = images[0, 0, 0].astype(float)
    mean = values - 100 if nodes is RAW else (values - 127.5) / 127.5
    found = open_recogniser(str(path)).embed(images)
    np.testing.assert_allclose(found, [mean / np.linalg.norm(mean)] * 2, atol=1e-5)
    assert ("input" in identity_of(str(path))) is (nodes is RAW)


@given(st.binary(max_size=60), st.integers(0, 200))
def test_a_file_that_is_no_network_raises_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, cut: int
) -> None:
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    for data in (noise, network(RAW)[:cut], network(RAW)[:cut] + noise):
        path.write_bytes(data)
        with suppress(UsageError):
            assert normalises_itself(path) in (True, False)
