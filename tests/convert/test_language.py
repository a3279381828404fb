"""Goal, alternatives and steps: each shape of the vocabulary, each fault, and real annotations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from convert.language_episode import CSV, steps_of, texts_of, words

from finedata.convert.language.read import EpisodeLanguage
from finedata.errors import FeatureError

# Instructions in features


def test_the_first_text_is_the_goal_and_different_ones_are_alternatives() -> None:
    found = words(
        'instructions = ["a", "absent", "b", "c", "d"]\nlanguage = "en"',
        {"a": ["", "", ""], "b": ["pick it"] * 3, "c": [" lift it"] * 3, "d": ["pick it "]},
    )
    assert texts_of(found) == ["pick it", "lift it"]
    assert {entry.language for entry in found.instructions} == {"en"}
    assert not found.varies
    assert found.flags == ()


def test_no_text_is_no_instruction() -> None:
    assert words('instructions = ["a"]', {"a": ["", "  "]}).instructions == ()
    assert words("", {"a": ["x"]}) == EpisodeLanguage()


@pytest.mark.parametrize("texts", [["one", "two", "two"], ["", "one", "one"]])
def test_a_text_that_changes_varies(texts: list[str]) -> None:
    found = words('instructions = ["a"]', {"a": texts})
    assert found.varies
    assert texts_of(found) == [text for text in dict.fromkeys(texts) if text]


def test_later_texts_of_a_feature_that_has_the_steps_are_steps() -> None:
    found = words(
        'instructions = ["a"]\n[[steps]]\nform = "runs"\nfeature = "a"',
        {"a": ["one", "one", "two"]},
        frames=3,
    )
    assert texts_of(found) == ["one"]
    assert found.varies
    assert steps_of(found) == [(0, 2, "one", None), (2, 3, "two", None)]


def test_joined_texts_are_taken_apart() -> None:
    toml = """
    instructions = ["a"]
    separator = "@"
    separated = ["original", "text"]
    ignore = ["null"]
    language = "en"
    """
    (found,) = words(toml, {"a": ["拿起杯子@ Pick up the cup"]}).instructions
    assert (found.text, found.original, found.language) == ("Pick up the cup", "拿起杯子", "en")
    (found,) = words(toml, {"a": ["拿起杯子@"]}).instructions
    assert (found.text, found.original, found.language) == ("拿起杯子", None, "und")
    assert texts_of(words(toml, {"a": ["null"]})) == []
    assert texts_of(words(toml, {"a": ["整理@NULL "]})) == []
    assert texts_of(words(toml, {"a": ["plain"]})) == ["plain"]
    assert texts_of(words(toml, {"a": ["one@two@three"]})) == ["one@two@three"]


def test_the_three_levels_of_a_joined_text_give_goal_and_steps() -> None:
    found = words(
        """
        instructions = ["a"]
        separator = "@"
        separated = ["text", "ignore", "ignore"]
        language = "en"
        [[steps]]
        form = "runs"
        feature = "a"
        separator = "@"
        separated = ["ignore", "original", "text"]
        language = "en"
        """,
        {"a": ["tidy up@拿@take", "tidy up@拿@take", "tidy up@放@put"]},
        frames=3,
    )
    assert texts_of(found) == ["tidy up"]
    assert not found.varies
    assert steps_of(found) == [(0, 2, "take", None), (2, 3, "put", None)]
    assert [step.original for step in found.steps] == ["拿", "放"]


@pytest.mark.parametrize(
    ("clean", "written", "text", "original"),
    [
        ("[]", "pick_it", "pick_it", None),
        ("[]", " pick it ", "pick it", " pick it "),
        ('["underscores"]', "task_stack__basket", "task stack basket", "task_stack__basket"),
        ('["hyphens"]', "pick-up", "pick up", "pick-up"),
        (
            '["underscores", "digit_words"]',
            "place_bottle_1f 50 in b2",
            "place bottle in b2",
            "place_bottle_1f 50 in b2",
        ),
        ('["underscores"]', "pick it", "pick it", None),
    ],
)
def test_cleaning_keeps_what_was_written(
    clean: str, written: str, text: str, original: str | None
) -> None:
    (found,) = words(f'instructions = ["a"]\nclean = {clean}', {"a": [written]}).instructions
    assert (found.text, found.original) == (text, original)


def test_a_text_of_nothing_but_what_is_cleaned_away_is_none() -> None:
    assert texts_of(words('instructions = ["a"]\nclean = ["digit_words"]', {"a": ["50"]})) == []


def test_the_original_may_be_a_feature_of_its_own() -> None:
    toml = 'instructions = ["en"]\noriginal = "zh"\nlanguage = "en"'
    (found,) = words(toml, {"en": ["press"], "zh": ["按"]}).instructions
    assert found.original == "按"
    (found,) = words(toml, {"en": ["press"], "zh": [""]}).instructions
    assert found.original is None


def test_the_fallback_is_for_episodes_that_have_nothing_else() -> None:
    toml = 'instructions = ["a"]\nfallback = "{path/task}"\nclean = ["underscores"]'
    path = {"task": "bread_in_basket"}
    assert texts_of(words(toml, {"a": ["x"]}, path=path)) == ["x"]
    (found,) = words(toml, {"a": [""]}, path=path).instructions
    assert (found.text, found.original) == ("bread in basket", "bread_in_basket")


def test_a_feature_that_is_no_text_is_an_error_of_the_record() -> None:
    with pytest.raises(FeatureError):
        words('instructions = ["a"]', {"a": np.zeros(3)})


def test_a_field_that_the_path_lacks_is_no_error() -> None:
    assert words('fallback = "{path/name}"', path={"task": "x"}) == EpisodeLanguage()
    found = words(CSV, path={"name": "x"})
    assert (texts_of(found), found.flags) == ([], ("annotation_missing",))


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{path/task}", "cup"),
        ("{path/whole}", "given whole"),
        ("{file/path}", "data/episode_7.hdf5"),
        ("{file/folder}", "data"),
        ("{file/name}", "episode_7.hdf5"),
        ("{words} {number}", "first 4"),
    ],
)
def test_fields_of_templates(template: str, text: str) -> None:
    found = words(
        f'fallback = "{template}"',
        {"words": ["first", "second"], "number": np.array([4, 5])},
        path={"task": "cup", "path/whole": "given whole"},
    )
    assert texts_of(found) == [text]


# Lookups


def test_a_lookup_in_a_csv(tmp_path: Path) -> None:
    (tmp_path / "instructions.csv").write_text(',task,instruction\n0,cup,"take, then put"\n1,no,\n')
    found = words(CSV, folder=tmp_path, path={"task": "cup"})
    assert (texts_of(found), found.flags) == (["take, then put"], ())
    for task in ("no", "unknown"):
        found = words(CSV, folder=tmp_path, path={"task": task})
        assert (texts_of(found), found.flags) == ([], ())


def test_a_file_that_is_one_record_lies_beside_the_episode(tmp_path: Path) -> None:
    toml = """
    instructions = ["instruction"]
    [[lookup]]
    files = ["{file/folder}/a.json", "{file/folder}/b.json"]
    texts = ["instruction", "simplified_instruction", "expanded_instruction"]
    """
    record = {
        "instruction": "Pour it.",
        "simplified_instruction": "Pour.",
        "expanded_instruction": ["Pour it all.", "Pour it."],
        "further": {"x": 1},
    }
    (tmp_path / "pour").mkdir()
    (tmp_path / "pour" / "b.json").write_text(json.dumps(record))
    found = words(toml, {"instruction": ["Pour it!"]}, folder=tmp_path, file="pour/episode_0.hdf5")
    assert texts_of(found) == ["Pour it!", "Pour it.", "Pour.", "Pour it all."]
    assert found.flags == ()
    other = words(toml, {"instruction": ["Pour it!"]}, folder=tmp_path, file="x/episode_0.hdf5")
    assert (texts_of(other), other.flags) == (["Pour it!"], ("annotation_missing",))


def test_an_objects_own_keys_may_be_the_keys(tmp_path: Path) -> None:
    (tmp_path / "tasks.json").write_text('{"task_0001": {"english": "press", "chinese": "按"}}')
    toml = '[[lookup]]\nfiles = ["tasks.json"]\nkey = "task_{n}"\ntexts = ["english"]'
    assert texts_of(words(toml, {"n": ["0001"]}, folder=tmp_path)) == ["press"]
    assert texts_of(words(toml, {"n": ["0002"]}, folder=tmp_path)) == []
    assert words(toml, {}, folder=tmp_path).flags == ("annotation_missing",)


@pytest.mark.parametrize(
    "data", ["", "{}", "[]", "null", "{", '"x"', '{"texts": 1}', '{"texts": [1]}', "[" * 50_000]
)
def test_a_damaged_lookup_is_a_flag(tmp_path: Path, data: str) -> None:
    (tmp_path / "a.json").write_text(data)
    toml = 'instructions = ["a"]\n[[lookup]]\nfiles = ["a.json"]\ntexts = ["texts"]'
    found = words(toml, {"a": ["goal"]}, folder=tmp_path)
    assert (texts_of(found), found.flags) == (["goal"], ("annotation_unreadable",))


def test_names_from_data_do_not_leave_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text('{"t": "secret"}')
    (tmp_path / "source").mkdir()
    for escape in ("..", "a/../..", "../source/..", str(tmp_path)):
        found = words(
            '[[lookup]]\nfiles = ["{where}/secret.json"]\ntexts = ["t"]',
            {"where": [escape]},
            folder=tmp_path / "source",
        )
        assert (texts_of(found), found.flags) == ([], ("annotation_missing",))


def test_what_a_field_holds_is_never_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"t": "a"}')
    (tmp_path / "[a].json").write_text('{"t": "bracket"}')
    for name in ("{w}.json", "{w}.js*"):
        toml = f'[[lookup]]\nfiles = ["{name}"]\ntexts = ["t"]'
        assert texts_of(words(toml, {"w": ["[a]"]}, folder=tmp_path)) == ["bracket"]
