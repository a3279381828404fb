"""What the tests of the scheduler share: requests with a known answer, and a client to be killed.

python tests/teachers/asking.py TEACHER URL ROOT COUNT [BUDGET_USD]
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

sys.path.insert(0, str(Path(__file__).parent.parent))  # where this file is run by itself

from teachers.ask_all import ask_all

from finedata.schema.json_schema import json_schema
from finedata.teachers.calls.ledger import CallLedger
from finedata.teachers.opening import open_teacher
from finedata.teachers.parsing import parse_answer
from finedata.teachers.prices import Price
from finedata.teachers.protocol import Answer, Picture, Request, UnusableAnswerError

if TYPE_CHECKING:
    from collections.abc import Iterator

PRICE = Price(100_000, 400_000)
KEY = "sk-do-not-write-me-down"


class Echoed(msgspec.Struct, forbid_unknown_fields=True):
    """What the loopback server answers by default."""

    prompt: str
    pictures: int


def request_of(number: int, *, pictures: tuple[Picture, ...] = ()) -> Request:
    return Request(
        episode_id=f"test-{number:016d}",
        stage="test",
        model="loopback",
        prompt=f"question {number}",
        pictures=pictures,
        schema=json_schema(Echoed),
        settings={"temperature": 0.0, "max_output_tokens": 200},
    )


def requests_of(count: int) -> Iterator[Request]:
    return (request_of(number) for number in range(count))


def check_echo(request: Request, answer: Answer) -> Echoed:
    value = parse_answer(answer.text, Echoed)
    if value.prompt != request.prompt:
        raise UnusableAnswerError(place="test", found=value.prompt, wanted=request.prompt)
    return value


def address(teacher: str, url: str) -> str:
    return f"{url}/v1" if teacher == "openai" else url


async def _main(name: str, url: str, root: Path, count: int, budget_usd: float | None) -> None:
    teacher = open_teacher(name, base_url=address(name, url))
    with CallLedger(root) as calls:
        async for _ in ask_all(
            requests_of(count),
            teacher=teacher,
            calls=calls,
            check=check_echo,
            price=PRICE,
            timeout_s=2.0,
            backoff_s=0.1,
            budget_usd=budget_usd,
        ):
            pass
    await teacher.close()


if __name__ == "__main__":
    asyncio.run(
        _main(
            sys.argv[1],
            sys.argv[2],
            Path(sys.argv[3]),
            int(sys.argv[4]),
            float(sys.argv[5]) if len(sys.argv) > 5 else None,
        )
    )
