"""Fine-tuning starts from weights that are here, and says where to get others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models._api import get_model, get_model_weights

from unlearn_cli.errors import UsageError
from unlearn_cli.evaluation.attackers.parse import parse_attackers
from unlearn_cli.evaluation.attackers.pretrained import find_weights, load_pretrained
from unlearn_cli.evaluation.attackers.recognisers import open_recogniser

SMALL = "shufflenet_v2_x0_5"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with the weights of a small network for seven classes, as torchvision saves them."""
    path = tmp_path_factory.mktemp("weights") / "small.pth"
    torch.save(get_model(SMALL, weights=None, num_classes=7).state_dict(), path)
    return path


def test_the_name_says_which_part(weights: Path) -> None:
    name = f"{SMALL}={weights}"
    assert parse_attackers([f"fine-tune:{name}"]).pretrained == ((name, "last"), (name, "whole"))
    assert parse_attackers([f"fine-tune:{name}:whole"]).pretrained == ((name, "whole"),)
    assert parse_attackers([f"fine-tune:{name}:last", "scratch"]).pretrained == ((name, "last"),)


def test_weights_keep_what_they_know_and_the_head_is_new(weights: Path, tmp_path: Path) -> None:
    name = f"{SMALL}={weights}"
    first, again, other = (load_pretrained(name, 4, seed).state_dict() for seed in (0, 0, 1))
    assert first["network.fc.weight"].shape == (4, 1024)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert {key for key in first if not torch.equal(first[key], other[key])} == {"network.fc.weight", "network.fc.bias"}
    same_size = load_pretrained(name, 7, 0).state_dict()  # The file's own head, for as many classes, is replaced too.
    assert not torch.equal(same_size["network.fc.weight"], torch.load(weights, weights_only=True)["fc.weight"])
    save_file(torch.load(weights, weights_only=True), tmp_path / "small.safetensors")
    images = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3)).astype(np.uint8)
    found = open_recogniser(name).embed(images)
    same = open_recogniser(f"{SMALL}={tmp_path / 'small.safetensors'}").embed(images)
    np.testing.assert_array_equal(found, same)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_a_network_of_timms_needs_a_file(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="the extra 'timm' is not installed")
    network = timm.create_model("mobilenetv3_small_050", pretrained=False)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    name = f"timm:mobilenetv3_small_050={tmp_path / 'weights.pth'}"
    assert parse_attackers([f"fine-tune:{name}:whole"]).pretrained == ((name, "whole"),)
    model, levels = load_pretrained(name).eval(), torch.full((2, 3, 64, 64), 200.0)
    mean, deviation = (torch.tensor(network.pretrained_cfg[key])[:, None, None] for key in ("mean", "std"))
    torch.testing.assert_close(model(levels), network.eval()((levels / 255 - mean) / deviation), rtol=1e-3, atol=1e-3)
    assert load_pretrained(name, classes=5)(levels).shape == (2, 5)
    with pytest.raises(UsageError, match="Name a file with weights of timm:mobilenetv3_small_050"):
        parse_attackers(["fine-tune:timm:mobilenetv3_small_050"])
    with pytest.raises(UsageError, match="timm has no model"):
        parse_attackers(["fine-tune:timm:no_such_network=weights.pth"])


def test_nothing_is_downloaded_and_a_sentence_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: pytest.fail("it downloads"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UsageError, match=r"no weights of mobilenet_v2 here.*weights='DEFAULT'"):
        parse_attackers(["fine-tune:mobilenet_v2"])
    assert parse_attackers(["all"]).pretrained == ()
    cached = tmp_path / "hub" / "checkpoints" / Path(get_model_weights("mobilenet_v2")["DEFAULT"].url).name
    cached.parent.mkdir(parents=True)
    torch.save(get_model("mobilenet_v2", weights=None).state_dict(), cached)
    assert find_weights("mobilenet_v2") == cached
    name = f"mobilenet_v2={cached}"
    assert parse_attackers(["all"]).pretrained == ((name, "last"), (name, "whole"))


def test_what_cannot_be_fine_tuned_is_one_sentence(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("no weights")
    (tmp_path / "text.safetensors").write_text("no weights")
    torch.save([1, 2], tmp_path / "list.pth")
    for name, says in (
        ("moon", "There is no network 'moon'"),
        ("squeezenet1_1", "ends in a linear layer"),
        (f"resnet18={weights}", "does not hold weights of resnet18"),
        (f"{SMALL}={tmp_path / 'text.pth'}", "does not hold weights"),
        (f"{SMALL}={tmp_path / 'text.safetensors'}", "does not hold weights"),
        (f"{SMALL}={tmp_path / 'list.pth'}", "does not hold weights"),
        (f"{SMALL}={tmp_path / 'missing.pth'}", "cannot be read"),
    ):
        with pytest.raises(UsageError, match=says) as caught:
            parse_attackers([f"fine-tune:{name}"])
        assert "\n" not in str(caught.value)
    other = tmp_path / "other.pth"
    other.write_bytes(weights.read_bytes())
    with pytest.raises(UsageError, match="fine-tuned twice"):
        parse_attackers([f"fine-tune:{SMALL}={weights}", f"fine-tune:{SMALL}={other}"])


def test_networks_with_auxiliary_outputs_have_one_while_training(tmp_path: Path) -> None:
    path = tmp_path / "googlenet.pth"
    torch.save(get_model("googlenet", weights=None, init_weights=False).state_dict(), path)
    network = load_pretrained(f"googlenet={path}", 4).train()
    assert network(torch.zeros(2, 3, 64, 64)).shape == (2, 4)
