"""From Python, one class does what the command does."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import RunUnlearn
from unlearn_cli import Protector
from unlearn_cli.banks.keys import key_path, known_key
from unlearn_cli.errors import PhotoError, UsageError


def test_it_makes_the_very_copies_that_the_command_makes(
    tmp_path: Path, unlearn: RunUnlearn, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    image = Image.effect_noise((60, 40), 50).convert("RGB")
    for name in ("a.png", "b.jpg"):
        image.save(tmp_path / "in" / name)
    assert unlearn("protect", "in", "--class", "person", "--strength", "low", "-o", "out").returncode == 0
    protector = Protector("person", strength="low")
    for name in ("a.png", "b.jpg"):
        assert protector.protect((tmp_path / "in" / name).read_bytes()) == (tmp_path / "out" / name).read_bytes()
    with Image.open(tmp_path / "out" / "a.png") as copy:
        assert np.array_equal(np.asarray(protector.protect(image)), np.asarray(copy))
    monkeypatch.chdir(tmp_path)
    assert [done.status for done in protector.folder("in")] == ["protected", "protected"]
    assert (tmp_path / "in-protected" / "b.jpg").read_bytes() == (tmp_path / "out" / "b.jpg").read_bytes()


def test_what_cannot_be_done_is_one_of_our_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no class 'unicorn'"):
        Protector("unicorn")
    with pytest.raises(UsageError, match="There is no key file"):
        Protector(key_file=tmp_path / "none")
    with pytest.raises(PhotoError) as failed:
        Protector("cat").protect(b"no photo")
    assert failed.value.code == "damaged"
    data = io.BytesIO()
    Image.new("RGB", (8, 8), "grey").save(data, "PNG")
    assert Protector("cat", epsilon=1).protect(data.getvalue()) != data.getvalue()


def test_no_key_is_made_unnoticed_and_none_replaces_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    (tmp_path / "in").mkdir()
    Image.effect_noise((60, 40), 50).convert("RGB").save(tmp_path / "in" / "a.png")
    with pytest.raises(UsageError, match="unlearn key new"):
        Protector()
    assert not key_path().exists()
    protector = Protector(new_key=True)
    key = known_key()
    assert key is not None
    assert protector.protection.key_fingerprint == key.fingerprint
    assert Protector(new_key=True).protection.key_fingerprint == key.fingerprint
    assert [done.status for done in protector.folder(tmp_path / "in")] == ["protected"]
    key_path().unlink()
    with pytest.raises(UsageError, match=key.fingerprint):
        list(Protector(new_key=True).folder(tmp_path / "in"))
