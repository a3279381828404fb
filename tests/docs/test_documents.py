"""Every link leads somewhere, and every block of code is one that runs today.

Shell lines are held against the command line itself: the verb is there, every option is one of its
options and has its value. Python is compiled, and what it takes from `finedata` exists. Blocks that
run from beginning to end are in `tests/test_readme.py` and `test_examples.py`.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from docs.documents import FILES, ROOT, Block, anchors_of, blocks_of, inline_code, links_of, name_of

import finedata

sys.path.insert(0, str(ROOT / "docs"))

from _site import verbs

BLOCKS = [block for path in FILES for block in blocks_of(path)]
# What a line of a manual leaves open.
_OPEN = re.compile(r"[A-Z][A-Z_/|.]*|\.\.\.|…")


def commands_in(text: str) -> list[list[str]]:
    """The words behind `finedata` of every shell line that calls it."""
    found: list[list[str]] = []
    lines = text.replace("\\\n", " ").splitlines()
    for line in lines:
        plain = line.strip().removeprefix("$ ")
        if not re.match(r"(\S*/)?finedata |.* -m finedata |torchrun ", plain):
            continue
        lexer = shlex.shlex(plain, posix=True, punctuation_chars="();<>&")
        lexer.whitespace_split = True
        lexer.commenters = "#"
        words: list[str] = []
        started = False
        for word in lexer:
            if word.endswith(("&&", ";", ">", ">>", "<")):
                break
            if started:
                words.append(word)
            started = started or Path(word).name == "finedata"
        if words:
            found.append(words)
    return found


def alternatives(words: list[str]) -> list[list[str]]:
    """`annotate facts|traces DIR` is two commands."""
    for place, word in enumerate(words[:2]):
        if "|" in word and not _OPEN.fullmatch(word):
            return [
                one
                for choice in word.split("|")
                for one in alternatives([*words[:place], choice, *words[place + 1 :]])
            ]
    return [words]


def complaint(words: list[str]) -> str:
    """What is wrong with a command; empty where nothing is."""
    if words[0] in ("--version", "--help", "--verbose") or _OPEN.fullmatch(words[0]):
        return ""
    try:
        command, arguments = verbs.command_of(words)
    except KeyError:
        return f"no verb {words[0]}"
    if hasattr(command, "commands") and arguments and not arguments[0].startswith("-"):
        inner = arguments[0]
        if not _OPEN.fullmatch(inner):
            return f"no verb {words[0]} {inner}"
    context = type(command.make_context("x", [], resilient_parsing=True))(command)
    wanted = [word for word in arguments if word not in ("…", "...", "--help")]
    try:
        command.make_parser(context).parse_args(wanted)
    except Exception as error:  # of the parser's own family, whose place moves between versions
        return f"{' '.join(words)}: {error}"
    return ""


def test_the_walk_finds_the_documents() -> None:
    names = {name_of(path) for path in FILES}
    assert {"README.md", "CONTRIBUTING.md", "docs/gate.md", "docs/how/motion.md"} <= names
    assert sum(len(commands_in(block.text)) for block in BLOCKS) > 130
    assert sum(block.language == "python" for block in BLOCKS) > 15


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text("utf-8")
    dead: list[str] = []
    for link in links_of(text):
        target, _, anchor = link.partition("#")
        there = (path.parent / target).resolve() if target else path
        found = there.is_relative_to(ROOT) and there.exists()
        if not found or (anchor and anchor not in anchors_of(there.read_text("utf-8"))):
            dead.append(link)
    assert not dead


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_shell_blocks_are_commands(path: Path) -> None:
    lines = [words for block in blocks_of(path) for words in commands_in(block.text)]
    wrong = [complaint(one) for words in lines for one in alternatives(words)]
    for code in inline_code(path.read_text("utf-8")):
        if code.startswith("finedata ") and "$ " not in code:
            mentioned = [one for words in commands_in(code) for one in alternatives(words)]
            # `finedata shard --held-out` mentions an option and leaves its value open.
            wrong += [complaint(one) and complaint([*one, "VALUE"]) for one in mentioned]
    assert not [one for one in wrong if one]


# Measurements name what there was when they were taken.
@pytest.mark.parametrize(
    "path", [path for path in FILES if path.parent.name != "benchmarks"], ids=name_of
)
def test_files_that_are_named_exist(path: Path) -> None:
    rooms = "benchmarks|converters|docs|examples|finedata|schemas|tests|trainers"
    named = [
        code
        for code in inline_code(path.read_text("utf-8"))
        if re.fullmatch(rf"({rooms})/(?!.*my_)[a-z0-9_/.\-]+", code)
    ]
    assert not [code for code in named if not (ROOT / code).exists()]


@pytest.mark.parametrize(
    "words",
    ["nonesuch DIR", "gate DIR --nonesuch", "gate DIR --threshold", "annotate nonesuch DIR"],
)
def test_wrong_commands_are_noticed(words: str) -> None:
    assert complaint(words.split())


@pytest.mark.parametrize("kind", ["python", "toml", "json"])
def test_blocks_read(kind: str) -> None:
    for block in BLOCKS:
        if block.language == kind == "toml":
            tomllib.loads(block.text)
        elif block.language == kind == "json":
            json.loads(block.text)
        elif block.language == kind == "python":
            _check_python(block)


def _check_python(block: Block) -> None:
    tree = ast.parse(block.text, filename=block.file)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("finedata"):
            module: Any = import_module(str(node.module))
            for alias in node.names:
                assert hasattr(module, alias.name), f"{block.file}: {node.module}.{alias.name}"
        is_face = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if is_face and node.value.id in ("fd", "finedata"):
            assert node.attr in finedata.__all__, f"{block.file}: fd.{node.attr}"
        # fd.open("x").verb(...) and the like: the noun has the verb.
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Call):
            made = node.value.func
            if (
                isinstance(made, ast.Attribute)
                and isinstance(made.value, ast.Name)
                and made.value.id == "fd"
            ):
                noun = getattr(finedata, _NOUNS.get(made.attr, ""), None)
                assert noun is None or hasattr(noun, node.attr), f"{block.file}: {node.attr}"


_NOUNS = {
    "open": "Dataset",
    "source": "Source",
    "recipe": "Recipe",
    "policy": "Policy",
    "shards": "Shards",
    "benchmark": "Benchmark",
}


def test_pictures_are_small() -> None:
    for path in (ROOT / "docs").rglob("*"):
        if path.suffix in (".png", ".svg"):
            limit = 200_000 if path.suffix == ".png" else 100_000
            assert path.stat().st_size < limit, path
