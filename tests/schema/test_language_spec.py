"""The `[language]` vocabulary: what decodes, and what is refused with its path."""

from __future__ import annotations

import msgspec
import pytest

from finedata.schema.language_spec import LanguageSpec, RunsSpec, SlotsSpec


def _decode(text: str) -> LanguageSpec:
    return msgspec.toml.decode(text, type=LanguageSpec)


def test_every_form_of_steps_decodes_into_its_own_type() -> None:
    spec = _decode(
        """
        instructions = ["tasks[coarse_task_index]"]
        language = "en"
        [[steps]]
        form = "runs"
        feature = "task"
        separator = "@"
        separated = ["original", "text"]
        [[steps]]
        form = "slots"
        feature = "subtask_annotation"
        vocabulary = "annotations/subtask_annotations#subtask"
        ignore = ["null", "End"]
        [[steps]]
        form = "frame_name_ranges"
        files = ["notes/*.json"]
        key = "{path/path}"
        [[steps]]
        form = "label_ranges"
        files = ["{dataset/path}/label/data_annotation.json"]
        key = "{dataset/episode}"
        """
    )
    assert [type(steps).__name__ for steps in spec.steps] == [
        "RunsSpec",
        "SlotsSpec",
        "FrameNameRangesSpec",
        "LabelRangesSpec",
    ]
    assert isinstance(spec.steps[0], RunsSpec)
    assert spec.steps[0].separated == ("original", "text")
    assert isinstance(spec.steps[1], SlotsSpec)
    assert spec.steps[1].ignore == ("null", "End")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('instruction = ["a"]', "unknown field `instruction`"),
        ('separator = "@"', r"`separator` and `separated` go together"),
        ('separated = ["text"]', r"`separator` and `separated` go together"),
        ('separator = "@"\nseparated = ["ignore", "original"]', "exactly one `text`"),
        ('separator = "@"\nseparated = ["text", "text"]', "exactly one `text`"),
        ('clean = ["upper_case"]', "Invalid enum value"),
        ('language = "english please"', "matching regex"),
        ('[[steps]]\nfeature = "task"', "missing required field `form`"),
        ('[[steps]]\nform = "guess"', "Invalid value 'guess'"),
        ('[[steps]]\nform = "runs"\nfeature = "a"\nvocabulary = "b"', "field `vocabulary`"),
        ('[[steps]]\nform = "runs"\nfeature = "a"\nseparator = "@"', r"steps\[0\]"),
        ('[[steps]]\nform = "label_ranges"\nfiles = ["*/a.json"]\nkey = "a"', "only the last part"),
        ('[[lookup]]\nfiles = ["a"]\ntexts = []', r"lookup\[0\].texts"),
        ('[[lookup]]\nfiles = ["a"]\ntexts = ["b"]\nkey_field = "c"', "needs a `key`"),
        ('[[lookup]]\nfiles = ["[a]/b"]\ntexts = ["b"]', "only the last part"),
    ],
)
def test_a_contradiction_is_refused(text: str, message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        _decode(text)


def test_the_brackets_of_a_feature_are_no_pattern() -> None:
    spec = _decode('[[lookup]]\nfiles = ["{tasks[coarse]}/a.json"]\ntexts = ["b"]')
    assert spec.lookup[0].files == ("{tasks[coarse]}/a.json",)
