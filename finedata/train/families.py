"""What differs between families of backbones, as a table: the prompt's tokens and where parts are.

A prompt is pictures first, then the words, then (for action queries) one token for each action to
come. It follows each family's own chat template as its processor writes it for one picture without
tiling, so a pretrained model meets what it knows.
"""

from __future__ import annotations

from dataclasses import dataclass

from finedata.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Family:
    """One family.

    Attributes:
        image_token: Stands for one visual token.
        begin: Before the first picture.
        before_picture: Before the tokens of each picture.
        after_picture: Behind them.
        before_text: Between pictures and words.
        after_text: Behind the words.
        end: Token that ends an answer.
        positions: `mrope`: time, height and width of a token, as Qwen-VL counts them; `plain`.
        first_position: Of the first token.
        patches: Pictures go in as patches in merge order (Qwen), not as planes.
        vision: Path of the vision encoder in the base model.
        blocks: Path of the language model's blocks.
    """

    image_token: str
    begin: str
    before_picture: str
    after_picture: str
    before_text: str
    after_text: str
    end: str
    positions: str
    first_position: int
    patches: bool
    vision: str
    blocks: str


_QWEN = Family(
    image_token="<|image_pad|>",
    begin="<|im_start|>user\n",
    before_picture="<|vision_start|>",
    after_picture="<|vision_end|>",
    before_text="",
    after_text="<|im_end|>\n<|im_start|>assistant\n",
    end="<|im_end|>",
    positions="mrope",
    first_position=0,
    patches=True,
    vision="visual",
    blocks="language_model.layers",
)
FAMILIES: dict[str, Family] = {
    "qwen3_vl": _QWEN,
    "qwen3_5": _QWEN,
    "paligemma": Family(
        image_token="<image>",
        begin="",
        before_picture="",
        after_picture="",
        before_text="<bos>",
        after_text="\n",
        end="<eos>",
        positions="plain",
        first_position=1,
        patches=False,
        vision="vision_tower",
        blocks="language_model.layers",
    ),
    "smolvlm": Family(
        image_token="<image>",
        begin="<|im_start|>User:",
        before_picture="<fake_token_around_image><global-img>",
        after_picture="<fake_token_around_image>",
        before_text="",
        after_text="<end_of_utterance>\nAssistant:",
        end="<end_of_utterance>",
        positions="plain",
        first_position=0,
        patches=False,
        vision="vision_model",
        blocks="text_model.layers",
    ),
}
"""`model_type` of a configuration to its family."""


def family_of(model_type: str, *, place: str) -> Family:
    """The family of a model type.

    Raises:
        UsageError: There is none.
    """
    found = FAMILIES.get(model_type)
    if found is None:
        raise UsageError(
            parameter="backbone",
            place=f"backbone {place}",
            found=f"a model of type {model_type!r}",
            wanted=f"one of {', '.join(FAMILIES)}",
        )
    return found
