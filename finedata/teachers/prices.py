"""What tokens cost: prices by model, and the cost of a call as a whole number of nano-dollars.

The user's own figures are taken before those of `prices.toml` beside this file. An unknown model
has no price, and an unknown cost is null, never zero. Costs are integers, so the total of a
million calls is exact.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from functools import cache, partial
from importlib.resources import files

import msgspec

from finedata.errors import UsageError

__all__ = [
    "NANO",
    "LongPrice",
    "Price",
    "cost_nano",
    "known_models",
    "nano_of_usd",
    "price_of",
    "usd_of_nano",
]

NANO = 1_000_000_000
"""Nano-dollars in a dollar."""


class LongPrice(msgspec.Struct, frozen=True):
    """What a call with a long prompt costs, from its first token on.

    Attributes:
        above: It is long with more input tokens than this.
        input_pico: Pico-dollars per input token.
        output_pico: The same per output token.
    """

    above: int
    input_pico: int
    output_pico: int


class Price(msgspec.Struct, frozen=True):
    """What one model costs.

    Attributes:
        input_pico: Pico-dollars per input token (a dollar per million tokens is 1,000,000).
        output_pico: The same per output token.
        as_of: Day on which it was published; empty for the user's own figure.
        long: The price of long prompts, where the vendor has another.
    """

    input_pico: int
    output_pico: int
    as_of: str = ""
    long: LongPrice | None = None


class _Long(msgspec.Struct, forbid_unknown_fields=True):
    above: int
    input: str
    output: str


class _Listed(msgspec.Struct, forbid_unknown_fields=True):
    input: str
    output: str
    as_of: str
    source: str
    long: _Long | None = None


class _List(msgspec.Struct, forbid_unknown_fields=True):
    models: dict[str, _Listed]


def price_of(
    model: str,
    *,
    input_usd_per_million: str | float | None = None,
    output_usd_per_million: str | float | None = None,
) -> Price | None:
    """The price of a model: the user's own figures, else the published ones, else None.

    Args:
        model: As the teacher names it; `models/` and an owner before the last `/` are not looked
            at, and `gemini-2.5-flash-001` costs what `gemini-2.5-flash` costs.
        input_usd_per_million: US dollars per million input tokens.
        output_usd_per_million: The same for output; both or neither are given.

    Raises:
        UsageError: Only one of the two is given, or one is no price.

    Example:
        >>> price_of("gemini-2.0-flash").input_pico
        100000
    """
    if (input_usd_per_million is None) != (output_usd_per_million is None):
        raise UsageError(
            parameter="input_price",
            place="input_price, output_price",
            found="only one of them",
            wanted="both, in US dollars per million tokens, or neither",
        )
    if input_usd_per_million is not None and output_usd_per_million is not None:
        return Price(
            _pico("input_price", input_usd_per_million),
            _pico("output_price", output_usd_per_million),
        )
    return _published(model)


def cost_nano(
    price: Price | None, *, input_tokens: int | None, output_tokens: int | None
) -> int | None:
    """Cost in nano-dollars, rounded up to a whole one; None where price or tokens are unknown.

    Example:
        >>> cost_nano(Price(100_000, 400_000), input_tokens=10, output_tokens=1)
        1400
    """
    if price is None or input_tokens is None or output_tokens is None:
        return None
    rate = price
    if price.long is not None and input_tokens > price.long.above:
        rate = price.long
    pico = input_tokens * rate.input_pico + output_tokens * rate.output_pico
    return -(-pico // 1000)


def nano_of_usd(usd: float | str) -> int:
    """Whole nano-dollars of an amount as a person writes it: "1.10" is exactly 1,100,000,000."""
    return int(Decimal(str(usd)) * NANO)


def usd_of_nano(nano: int) -> float:
    """US dollars of whole nano-dollars, the nearest float64."""
    return nano / NANO


def known_models() -> tuple[str, ...]:
    """Models with a published price."""
    return tuple(sorted(_list().models))


@cache
def _list() -> _List:
    text = files("finedata.teachers").joinpath("prices.toml").read_bytes()
    return msgspec.toml.decode(text, type=_List)


@cache
def _published(model: str) -> Price | None:
    name = model.rsplit("/", 1)[-1]
    listed = _list().models
    fitting = [known for known in listed if name == known or _is_version(name, known)]
    if not fitting:
        return None
    found = listed[max(fitting, key=len)]
    pico = partial(_pico, "prices.toml")
    long = found.long and LongPrice(
        found.long.above, pico(found.long.input), pico(found.long.output)
    )
    return Price(pico(found.input), pico(found.output), found.as_of, long)


def _is_version(name: str, known: str) -> bool:
    """Whether only a date or number of a release follows: `-mini` is another model."""
    rest = name.removeprefix(known)
    return rest != name and rest.startswith("-") and rest.replace("-", "").isdigit()


def _pico(parameter: str, usd_per_million: str | float) -> int:
    try:
        pico = Decimal(str(usd_per_million)) * 1_000_000
        whole = int(pico)
    except (InvalidOperation, ValueError, OverflowError):
        pico, whole = Decimal(-1), -1
    if pico < 0 or pico != whole:
        raise UsageError(
            parameter=parameter,
            found=f"{usd_per_million!r}",
            wanted="US dollars per million tokens, zero or more, at most six decimals",
        )
    return whole
