"""The room of converter files at a glance: one row a source, and the page that lists them all.

`finedata sources` prints the rows; the page, `converters/README.md`, is generated from the files
(`make schemas`), so that it cannot say something else than they do.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from finedata.schema.converter import OptionSpec, Variant  # noqa: TC001  (msgspec resolves them)
from finedata.schema.converter_file import list_converters

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from finedata.schema.converter import Converter

__all__ = ["SourceRow", "converters_page", "source_rows"]

_INTRO = """# Converter files

<!-- Generated from the TOML files beside it: `make schemas`. Edit those, not this. -->

One TOML file for each source corpus. A file states facts about the bytes of its source: where each
thing is, in which encoding, unit and frame, what a recorded action refers to. It holds no code and
no conditions; the machines in `finedata/` follow it. What a publisher leaves open is written down
as a *doubt*; where the data can be read in two ways, an *option* has a default and lets you choose
the other.

```
finedata sources                                  # this table, on the command line
finedata convert droid --input DIR --out DIR      # by name
finedata convert rt_1 --input DIR --out DIR --option rotation_delta=rotation_vector
finedata sources copy droid ./mine.toml           # a copy to change
finedata convert ./mine.toml --input DIR --out DIR
finedata sources draft DIR > mine.toml            # a first file for data of your own
```

How to read and write such a file is in [docs/converters.md](../docs/converters.md); editors check
it against [schemas/converter.schema.json](../schemas/converter.schema.json).

## Sources

*Rate* is in frames a second: a number where the source has one, `file` where each dataset says its
own, `clock` where it is taken from time stamps. *Gate* is the fewest frames and the threshold that
FineVLA released for the source, *k* its number of clusters, *weights* those of position, rotation
and gripper.

"""


class SourceRow(msgspec.Struct, frozen=True, kw_only=True):
    """One converter file, as `finedata sources --json` prints it.

    Attributes:
        name: What `finedata convert` takes.
        title: What people call it.
        readers: File families, in the order of the variants.
        robots: Embodiments of the variants; `(named by the source)` where the data say.
        fps: Rates: numbers, `file`, `clock`.
        spaces: Spaces of the packed vectors: `ee`, `joint`, `undeclared`.
        licence: SPDX identifier.
        home: Its page.
        revision: Which releases the file describes.
        citation: What to cite.
        story: What it is.
        options: What the user may decide.
        doubts: What nobody could say.
        variants: Its forms, whole.
    """

    name: str
    title: str
    readers: tuple[str, ...]
    robots: tuple[str, ...]
    fps: tuple[str, ...]
    spaces: tuple[str, ...]
    licence: str
    home: str
    revision: str
    citation: str
    story: str
    options: dict[str, OptionSpec]
    doubts: tuple[str, ...]
    variants: tuple[Variant, ...]


def source_rows(converters: Iterable[Converter] | None = None) -> list[SourceRow]:
    """One row a converter.

    Args:
        converters: Decoded files; all of the converters/ room where none are given.

    Returns:
        Rows by name.

    Raises:
        SpecError: A file of the room does not decode.
    """
    known = [file.converter for file in list_converters()] if converters is None else converters
    return [_row(converter) for converter in sorted(known, key=lambda each: each.name)]


def converters_page(converters: Iterable[Converter] | None = None) -> str:
    """The text of `converters/README.md`.

    Args:
        converters: Decoded files; all of the converters/ room where none are given.

    Returns:
        Markdown, ending in one newline; the same for the same files.

    Raises:
        SpecError: A file of the room does not decode.
    """
    known = [file.converter for file in list_converters()] if converters is None else converters
    ordered = sorted(known, key=lambda each: each.name)
    header = (
        *("Name", "Source", "Reader", "Forms", "Robots", "Rate", "Space"),
        *("Licence", "Gate", "k", "Weights"),
    )
    table = _table(header, [_cells(converter) for converter in ordered])
    sections = [_section(converter) for converter in ordered]
    return _INTRO + table + "\n" + "\n".join(sections)


def _row(converter: Converter) -> SourceRow:
    variants = converter.variants
    return SourceRow(
        name=converter.name,
        title=converter.title,
        readers=_distinct(variant.reader for variant in variants),
        robots=_distinct(_robot(variant) for variant in variants),
        fps=_distinct(_rate(variant) for variant in variants),
        spaces=_distinct(variant.space for variant in variants),
        licence=converter.licence,
        home=converter.home,
        revision=converter.revision,
        citation=converter.citation,
        story=" ".join(converter.story.split()),
        options=converter.options,
        doubts=converter.doubts,
        variants=variants,
    )


def _distinct(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _robot(variant: Variant) -> str:
    if variant.embodiment_feature is not None and variant.embodiment == "unknown":
        return "(named by the source)"
    return variant.embodiment


def _rate(variant: Variant) -> str:
    if variant.time.rate == "from_timestamps":
        return "clock"
    return "file" if variant.time.fps is None else f"{variant.time.fps:g}"


def _cells(converter: Converter) -> Sequence[str]:
    row = _row(converter)
    gate, cluster = converter.gate, converter.cluster
    threshold = None if gate is None else gate.released_threshold
    gated = "" if gate is None else f"{gate.minimum_frames} frames"
    weights = (
        ""
        if cluster is None
        else " / ".join(
            f"{weight:g}"
            for weight in (
                cluster.position_weight,
                cluster.rotation_weight,
                cluster.gripper_weight,
            )
        )
    )
    return (
        f"[`{row.name}`]({row.name}.toml)",
        f"[{_plain(row.title)}]({row.home})" if row.home else _plain(row.title),
        ", ".join(row.readers),
        f"{len(row.variants)}",
        ", ".join(row.robots),
        ", ".join(row.fps),
        ", ".join(row.spaces),
        row.licence,
        gated if threshold is None else f"{gated}, {threshold:g}",
        "" if cluster is None or cluster.k is None else f"{cluster.k}",
        weights,
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _plain(text: str) -> str:
    """Text in a cell of a table."""
    return re.sub(r"([\\|\[\]<>])", r"\\\1", " ".join(text.split()))


def _prose(text: str) -> str:
    """Text outside a table: one line, and nothing that a browser takes for a tag."""
    return " ".join(text.split()).replace("<", "&lt;")


def _section(converter: Converter) -> str:
    lines = [f"### {_prose(converter.title)}", "", _prose(converter.story), ""]
    lines += [f"Revision {_prose(converter.revision)}. {_prose(converter.citation)}", ""]
    lines.append("**Forms**")
    lines.append("")
    lines += [_form(variant) for variant in converter.variants]
    lines.append("")
    if converter.options:
        lines += ["**Options**", ""]
        lines += [_option(name, option) for name, option in sorted(converter.options.items())]
        lines.append("")
    if converter.doubts:
        lines += ["**Doubts**", ""]
        lines += [f"- {_prose(doubt)}" for doubt in converter.doubts]
        lines.append("")
    left = _left_out(converter)
    if left:
        lines += ["**Not converted**", ""]
        lines += [f"- {kind}: {', '.join(f'`{name}`' for name in left[kind])}" for kind in left]
        lines.append("")
    return "\n".join(lines)


def _form(variant: Variant) -> str:
    arms = ", ".join(arm.name for arm in variant.arms)
    cameras = ", ".join(camera.feature for camera in variant.cameras if camera.name == "*")
    named = ", ".join(camera.name for camera in variant.cameras if camera.name != "*")
    seen = "; ".join(part for part in (named, cameras and f"all of `{cameras}`") if part)
    parts = [
        variant.reader,
        _robot(variant),
        f"{_rate(variant)}{'' if _rate(variant) in ('file', 'clock') else ' Hz'}",
        variant.space,
    ]
    text = f"- `{variant.name}`: {', '.join(parts)}"
    text += f"; arms: {arms}" if arms else ""
    text += f"; cameras: {seen}" if seen else ""
    return text


def _option(name: str, option: OptionSpec) -> str:
    choices = ", ".join(
        f"`{choice}`{' (default)' if choice == option.default else ''}" for choice in option.choices
    )
    return f"- `--option {name}=...`: {choices}. {_prose(option.why)}"


def _left_out(converter: Converter) -> dict[str, tuple[str, ...]]:
    """Patterns that are knowingly left out, by kind, over all forms."""
    found: dict[str, tuple[str, ...]] = {}
    for variant in converter.variants:
        for kind, patterns in variant.not_converted.items():
            found[kind] = _distinct([*found.get(kind, ()), *patterns])
    return dict(sorted(found.items()))
