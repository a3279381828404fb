"""Makes a tiny random vision-language model, opens it as a teacher and asks it; prints JSON.

Runs in an environment with torch and transformers (test_local.py starts it there):

    python tests/teachers/local_probe.py FOLDER
"""

from __future__ import annotations

import asyncio
import io
import json
import sys
from pathlib import Path


def write_model(folder: Path) -> None:
    """LLaVA's architecture in miniature, random weights, a tokenizer of single characters."""
    import torch
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
    )

    special = ["<pad>", "<s>", "</s>", "<unk>", "<image>"]
    words = [*special, *(chr(code) for code in range(32, 127)), "\n"]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    core.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<image>"],
    )
    template = (
        "{% for message in messages %}{{ message['role'] }}: {% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
        "{% endfor %}\n{% endfor %}assistant: "
    )
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessor(
            size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}
        ),
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    )
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(
                **sizes, num_attention_heads=2, image_size=16, patch_size=8, projection_dim=16
            ),
            text_config=LlamaConfig(
                **sizes,
                num_attention_heads=2,
                num_key_value_heads=2,
                vocab_size=len(words),
                bos_token_id=1,
                eos_token_id=2,
                pad_token_id=0,
            ),
            image_token_index=words.index("<image>"),
            image_token_id=words.index("<image>"),
        )
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


async def ask(folder: Path) -> dict[str, object]:
    """What came back, as JSON can say it."""
    from PIL import Image

    from finedata.teachers.opening import open_teacher
    from finedata.teachers.protocol import Picture, Request, UnusableAnswerError

    buffer = io.BytesIO()
    Image.new("RGB", (32, 24), (200, 10, 10)).save(buffer, "JPEG")
    picture = Picture(buffer.getvalue(), label="front")
    teacher = open_teacher("local", model=str(folder), device="cpu")
    told: dict[str, object] = {}
    # an untrained model does not end by itself
    ended = {"min_new_tokens": 9, "forced_eos_token_id": 2}
    for name, settings in {
        "greedy": {"temperature": 0.0, "max_output_tokens": 9, **ended},
        "greedy again": {"temperature": 0.0, "max_output_tokens": 9, **ended},
        "seeded": {"temperature": 1.0, "seed": 7, "max_output_tokens": 9, **ended},
        "seeded again": {"temperature": 1.0, "seed": 7, "max_output_tokens": 9, **ended},
        "other seed": {"temperature": 1.0, "seed": 8, "max_output_tokens": 9, **ended},
        "cut": {"temperature": 0.0, "max_output_tokens": 5, "min_new_tokens": 5},
    }.items():
        request = Request(
            episode_id="e", stage="s", model=str(folder), prompt="What is it?",
            system="Be brief.", pictures=(picture, picture), settings=settings,
        )  # fmt: skip
        try:
            answer = await teacher.ask(request)
            told[name] = [answer.text, answer.usage.input_tokens, answer.usage.output_tokens]
        except UnusableAnswerError as error:
            usage = error.usage
            told[name] = [error.found, usage and usage.input_tokens, usage and usage.output_tokens]
    await teacher.close()
    return told


if __name__ == "__main__":
    write_model(Path(sys.argv[1]))
    print(json.dumps(asyncio.run(ask(Path(sys.argv[1])))))
