"""A part's info.json: what is not as finedata writes it is said with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from finedata.errors import ConformError
from finedata.store.lerobot.layout import INFO_PATH, read_features, read_info

GOOD = (
    b'{"fps": 5, "robot_type": "r", "features": {"a": {"dtype": "x", "shape": [1], "names": null}}}'
)


def write(root: Path, text: bytes) -> Path:
    path = root / INFO_PATH
    path.parent.mkdir(parents=True)
    path.write_bytes(text)
    return path


def test_a_good_one_is_read_whole(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    assert read_info(tmp_path)["robot_type"] == "r"
    assert read_features(tmp_path)["a"].shape == (1,)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        GOOD[:-5],
        b"[]",
        b"{}",
        b'{"\xf7": 1}',
        b'{"a": ' + b"[" * 100_000,
        GOOD.replace(b'"x"', b"7"),
        GOOD.replace(b"[1]", b'"1"'),
        GOOD.replace(b', "names": null', b""),
        GOOD.replace(b'"fps": 5', b'"fps": null'),
    ],
)
def test_a_damaged_one_is_named(tmp_path: Path, text: bytes) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConformError) as caught:
        read_info(tmp_path)
    assert caught.value.place == str(path)
    assert "convert again" in (caught.value.next_command or "")


def test_a_missing_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConformError, match="No such file"):
        read_info(tmp_path)
