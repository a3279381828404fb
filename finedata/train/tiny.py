# pyright: basic, reportMissingImports=false
"""Backbones of a few hundred thousand random weights, with their own tokenizer and processor.

Every family that is supported has one, so that all code that a large model runs through is run by
tests and demos on a CPU, without a download. `tiny:FAMILY` in a recipe names them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from finedata.annotate.checks.verbs import verbs_of
from finedata.schema.dimension import SLOTS
from finedata.train.families import family_of

if TYPE_CHECKING:
    from collections.abc import Sequence

_WORDS = (
    "put the red cup on the plate", "pick up the blue block and place it in the bowl",
    "move the left gripper to the drawer, then open it slowly", "1. reach 2. grasp 3. lift",
    "Please predict the next 16 robot actions:",
    *3 * ("<Observation> <Situation Analysis> <Spatial Reasoning> <Task Planning> <logical_steps> "
          "<1> <2> <sub_action> What action should the robot take to",),
)  # fmt: skip
_SPECIAL = {
    "qwen3_vl": ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"),
    "qwen3_5": ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"),
    "paligemma": ("<bos>", "<eos>"),
    "smolvlm": (
        "<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<global-img>",
    ),
}  # fmt: skip
_PAD, _ACTION = "<pad>", "<|action|>"
_HIDDEN = 64


def tiny_backbone(family: str, *, pictures: int, annotates: bool = False) -> tuple[Any, Any, Any]:
    """A model, its tokenizer and its image processor.

    Args:
        family: One of `FAMILIES`.
        pictures: Height and width of pictures in pixels; 14 of them are a patch.
        annotates: Know the words of annotations too, so that an answer has a tenth of the tokens.

    Returns:
        What `AutoModelForImageTextToText`, `AutoTokenizer` and `AutoImageProcessor` would load.
        The weights are drawn from torch's generator as it stands.

    Raises:
        UsageError: There is no such family.
    """
    known = family_of(family, place=f"tiny:{family}")
    special = (_PAD, _ACTION, known.image_token, *_SPECIAL[family])
    words = (*_WORDS, *_annotations()) if annotates else _WORDS
    tokenizer = _tokenizer(special, words, phrases=annotates)
    make = {"paligemma": _paligemma, "smolvlm": _smolvlm}.get(family, _qwen)
    model, processor = make(family, tokenizer, known.image_token, pictures)
    return model, tokenizer, processor


def _annotations() -> list[str]:
    """Sentences as the motion and the pipeline's answers have them."""
    quantity = '"number":0.12,"unit":"m"'
    facts = [
        f'{{"dimension":"{dimension}","slot":"{slot}","anchor":"step_1","actor":"right",'
        f'"object":"cup","value":"down and left",{quantity},"text":"The right arm moves up."}}'
        for dimension, slots in SLOTS.items()
        for slot in slots
    ]
    moves = [
        f"The {arm} arm {verb} {way} by 0.12 m between 1.40 s and 3.80 s, turning {turn} by 27 "
        f"degrees, the gripper of the {arm} arm {state}, along an arc, in a straight line"
        for arm in ("left", "right")
        for verb in ("moves", "reaches", "carries", "lifts", "lowers", "retracts", "stays still")
        for way in ("left", "right", "up and forward", "down and backward")
        for turn in ("clockwise", "counter-clockwise", "with its upper side going backward")
        for state in ("closes its gripper to grasp", "opens its gripper to release")
    ]
    verbs = [
        f'{{"verb":"{verb}","object":"","arm":"right","text":""}}' for verb in verbs_of("full")
    ]
    frames = ['"start_frame":7,"end_frame":19', "camera image_0, frame 12, 2.40 s", '{"Step1":""']
    keys = ['{"action_sequence":[', '],"main_object":"', '{"steps":[', '{"facts":[', "step_2 ("]
    return [*facts, *moves, *verbs, *20 * (frames + keys)]


def _tokenizer(special: tuple[str, ...], words: Sequence[str], *, phrases: bool) -> Any:
    """Byte-level BPE, learnt from a few sentences; every byte is a token.

    With `phrases` a token may go over words, so that keys of JSON are one; a digit is always one.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not phrases)
    digits = pre_tokenizers.Digits(individual_digits=True)
    made.pre_tokenizer = pre_tokenizers.Sequence([digits, plain]) if phrases else plain
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2048 if phrases else 512,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(words, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token=_PAD)


def _text(tokenizer: Any, **more: Any) -> dict[str, Any]:
    return {
        "vocab_size": -(-len(tokenizer) // 64) * 64,
        "hidden_size": _HIDDEN,
        "intermediate_size": 2 * _HIDDEN,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "num_hidden_layers": 4,
        "pad_token_id": tokenizer.pad_token_id,
        "max_position_embeddings": 2048,
    } | more


def _qwen(family: str, tokenizer: Any, image: str, pictures: int) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoModelForImageTextToText, Qwen2VLImageProcessorPil

    rope = {
        "rope_type": "default",
        "rope_theta": 10_000.0,
        "mrope_section": [4, 2, 2],
        "mrope_interleaved": True,
    }
    vision: dict[str, Any] = {
        "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "patch_size": 14,
        "out_hidden_size": _HIDDEN, "num_position_embeddings": 64,
    }  # fmt: skip
    if family == "qwen3_vl":
        text = _text(tokenizer, rope_parameters=rope, num_hidden_layers=2)
        vision["deepstack_visual_indexes"] = [0]
    else:
        rope |= {"partial_rotary_factor": 1.0}
        text = _text(
            tokenizer, rope_parameters=rope, linear_key_head_dim=16, linear_value_head_dim=16,
            linear_num_key_heads=2, linear_num_value_heads=4,
        )  # fmt: skip
    config = AutoConfig.for_model(
        family,
        text_config=text,
        vision_config=vision,
        tie_word_embeddings=True,
        image_token_id=tokenizer.convert_tokens_to_ids(image),
        vision_start_token_id=tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=tokenizer.convert_tokens_to_ids("<|vision_end|>"),
    )
    processor = Qwen2VLImageProcessorPil(
        patch_size=14,
        merge_size=2,
        temporal_patch_size=2,
        size={"shortest_edge": pictures**2, "longest_edge": pictures**2},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
    return AutoModelForImageTextToText.from_config(config), processor


def _paligemma(family: str, tokenizer: Any, image: str, pictures: int) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoModelForImageTextToText, SiglipImageProcessorPil

    config = AutoConfig.for_model(
        family,
        text_config={"model_type": "gemma2"}
        | _text(tokenizer, query_pre_attn_scalar=16, sliding_window=1024),
        vision_config={
            "model_type": "siglip_vision_model", "hidden_size": 64, "intermediate_size": 128,
            "num_hidden_layers": 3, "num_attention_heads": 4, "patch_size": 14,
            "image_size": pictures, "projection_dim": _HIDDEN, "vision_use_head": False,
        },
        projection_dim=_HIDDEN,
        image_token_index=tokenizer.convert_tokens_to_ids(image),
    )  # fmt: skip
    model = AutoModelForImageTextToText.from_config(config, attn_implementation="eager")
    return model, SiglipImageProcessorPil(size={"height": pictures, "width": pictures})


def _smolvlm(family: str, tokenizer: Any, image: str, pictures: int) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoModelForImageTextToText, SmolVLMImageProcessorPil

    config = AutoConfig.for_model(
        family,
        text_config={"model_type": "llama"} | _text(tokenizer),
        vision_config={
            "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3,
            "num_attention_heads": 4, "patch_size": 14, "image_size": pictures,
        },
        scale_factor=2,
        tie_word_embeddings=True,
        image_token_id=tokenizer.convert_tokens_to_ids(image),
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    edge = {"longest_edge": pictures}
    processor = SmolVLMImageProcessorPil(
        size=edge, max_image_size=edge, do_image_splitting=False, do_pad=False
    )
    return AutoModelForImageTextToText.from_config(config), processor
