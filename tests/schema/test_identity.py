from __future__ import annotations

import subprocess
import sys
import unicodedata
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finedata.errors import FeatureError, SpecError
from finedata.schema.identity import (
    broken_episode_id,
    episode_id,
    hash16,
    normalise_instruction,
    task_id,
)

# every character that UTF-8 can write
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
words = st.lists(st.text("abcdefxyzäéñ", min_size=1, max_size=8), min_size=1, max_size=6)


def test_hash16_is_a_known_digest():
    assert hash16("") == "e3b0c44298fc1c14"
    assert hash16("é") == sha256(b"\xc3\xa9").hexdigest()[:16]


@settings(deadline=None)
@given(texts)
def test_hash16_has_sixteen_hex_digits(text):
    assert len(hash16(text)) == 16
    assert set(hash16(text)) <= set("0123456789abcdef")


def test_hash16_refuses_a_lone_surrogate():
    with pytest.raises(FeatureError) as error:
        hash16("ab\ud83d")
    assert error.value.place == "text to hash, character 2"


@pytest.mark.parametrize(
    ("instruction", "folded"),
    [
        ("Pick up the can", "pick up the can"),
        ("  pick\tup\n the\u00a0 CAN ", "pick up the can"),
        ("pick up the can.", "pick up the can"),
        ("pick up the can!?. .", "pick up the can"),
        ("put it at 3.5 cm, then stop.", "put it at 3.5 cm, then stop"),
        ("Stra\u00dfe", "strasse"),
        ("cafe\u0301", "caf\u00e9"),
        (". ! ?", ""),
        ("", ""),
        ("...pick", "...pick"),
    ],
)
def test_normalise_instruction(instruction, folded):
    assert normalise_instruction(instruction) == folded
    assert task_id(instruction) == (hash16(folded) if folded else None)


@settings(deadline=None)
@given(
    words, st.sampled_from(["", ".", "!", " ?", "...", ". "]), st.sampled_from([" ", "\t", "  \n"])
)
def test_task_id_ignores_writing(parts, ending, space):
    plain = " ".join(parts)
    assert task_id(space + space.join(parts).upper() + ending + space) == task_id(plain)
    assert task_id(unicodedata.normalize("NFD", plain)) == task_id(plain)


@settings(deadline=None)
@given(words, words)
def test_task_id_tells_other_words_apart(first, second):
    assert (task_id(" ".join(first)) == task_id(" ".join(second))) == (first == second)


@settings(deadline=None)
@given(texts)
def test_task_id_is_none_only_where_nothing_is_left(text):
    nothing = all(character.isspace() or character in ".!?" for character in text)
    assert (task_id(text) is None) == nothing


def test_episode_id():
    assert episode_id("bridge", "a/b.h5#3") == f"bridge-{hash16('a/b.h5#3')}"
    assert broken_episode_id("bridge", relative_file="a/b.h5", record=3) == (
        f"bridge-x{hash16('a/b.h5#3')}"
    )


@settings(deadline=None)
@given(st.from_regex(r"[a-z0-9_]{1,12}", fullmatch=True), texts.filter(bool), st.integers(0, 10**9))
def test_episode_ids_are_keys_and_never_meet_broken_ones(source, locator, record):
    readable = episode_id(source, locator)
    broken = broken_episode_id(source, relative_file=locator, record=record)
    assert readable != broken
    for name in (readable, broken):
        assert "." not in name
        assert "/" not in name
        assert name.isascii()


@pytest.mark.parametrize("source", ["", "a.b", "a/b", "a b", "-a", "ä", "a\n"])
def test_a_source_name_that_is_no_key_is_refused(source):
    with pytest.raises(SpecError) as error:
        episode_id(source, "x")
    assert error.value.found == repr(source)
    with pytest.raises(SpecError):
        broken_episode_id(source, relative_file="x", record=0)


def test_an_empty_locator_is_refused():
    with pytest.raises(FeatureError, match="locator of source 'bridge'"):
        episode_id("bridge", "")


def test_light_modules_do_not_load_pyarrow():
    code = (
        "import sys, finedata.schema, finedata.schema.identity, finedata.schema.enums;"
        "import finedata.schema.dimension, finedata.schema.columns, finedata.schema.tables.dataset;"
        "import finedata.schema.tables.curation, finedata.schema.tables.annotation;"
        "heavy = {'pyarrow', 'polars', 'numpy', 'msgspec'} & set(sys.modules);"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
