"""A server on this machine that speaks Gemini's and OpenAI's protocols, and goes wrong on purpose.

Requests of the real client libraries come in; answers and faults go out, drawn from a seed, the
question and how often it came, so the order of arrival plays no part. It counts what it delivered,
which is what would have been paid for. As a program it runs in a process of its own:

    python tests/teachers/loopback.py --latency 0.3 --limit 64 --faults 0.3 --seed 1
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import importlib
import json
import subprocess
import sys
import threading
import urllib.request
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

TEMPORARY = ("429_retry_after", "429", "500", "503", "drop", "cut_body", "slow_drip")
"""Faults after which nothing was delivered."""
BAD_ANSWERS = ("truncated_json", "wrong_schema", "empty", "cut", "continued")
"""Faults that are delivered, and paid for, and of no use."""
FAULTS = (*TEMPORARY, *BAD_ANSWERS, "refused", "fenced")
"""All of them; a fenced answer is a good one."""


@dataclass(frozen=True)
class Seen:
    """One question as the server saw it."""

    protocol: str
    model: str
    prompt: str
    system: str
    pictures: tuple[bytes, ...]
    schema: Any
    idempotency_key: str

    @property
    def key(self) -> str:
        return key_of(self.prompt, self.pictures)


@dataclass
class Tally:
    """What was delivered for one question."""

    asked: int = 0
    good: int = 0
    bad: int = 0
    refused: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass
class Stats:
    """What the server saw and did."""

    requests: int = 0
    peak: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    tallies: dict[str, Tally] = field(default_factory=dict)


def key_of(prompt: str, pictures: Sequence[bytes] = ()) -> str:
    """Names a question: its last text and its pictures."""
    digest = hashlib.sha256(prompt.encode())
    for data in pictures:
        digest.update(hashlib.sha256(data).digest())
    return digest.hexdigest()[:32]


def echo(seen: Seen) -> str:
    """The default answer: proves which question it belongs to."""
    return json.dumps({"prompt": seen.prompt, "pictures": len(seen.pictures)})


def rates(share: float) -> dict[str, float]:
    """Every fault with the same share, `share` together; slow drips are a tenth of the others."""
    weights = {name: 0.1 if name == "slow_drip" else 1.0 for name in FAULTS}
    total = sum(weights.values())
    return {name: share * weight / total for name, weight in weights.items()}


class Loopback:
    """The server; `app()` is served by whoever runs it."""

    def __init__(
        self,
        *,
        answer: Callable[[Seen], str] = echo,
        latency_s: float = 0.0,
        limit: int = 1_000_000,
        faults: dict[str, float] | None = None,
        seed: int = 0,
        retry_after_s: int = 1,
        drip_s: float = 60.0,
        knows_schema: bool = True,
        key: str = "",
        input_tokens: int | None = None,
    ) -> None:
        self.answer = answer
        self.latency_s = latency_s
        self.limit = limit
        self.faults = faults or {}
        self.seed = seed
        self.retry_after_s = retry_after_s
        self.drip_s = drip_s
        self.knows_schema = knows_schema
        self.key = key
        self.input_tokens = input_tokens
        self.stats = Stats()
        self.seen: list[Seen] = []
        self.keep_seen = False
        self._busy = 0

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_post("/v1/chat/completions", self._openai)
        for version in ("v1", "v1beta"):  # newer clients ask the first, older ones the second
            app.router.add_post(f"/{version}/models/{{call}}", self._gemini)
        app.router.add_get("/stats", self._stats)
        app.router.add_get("/count", self._count)
        return app

    async def _stats(self, request: web.Request) -> web.Response:
        return web.json_response(asdict(self.stats))

    async def _count(self, request: web.Request) -> web.Response:
        return web.json_response(self.stats.requests)

    async def _openai(self, request: web.Request) -> web.StreamResponse:
        if (body := await _body(request)) is None:
            return web.Response()
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            sent = request.headers.get("Authorization", "")
            return web.json_response(
                {"error": {"message": f"Incorrect API key: {sent}", "code": "invalid_api_key"}},
                status=401,
            )
        if not self.knows_schema and "response_format" in body:
            message = "response_format json_schema is not supported by this model"
            return web.json_response({"error": {"message": message}}, status=400)
        texts = [m["content"] for m in body["messages"] if m["role"] == "system"]
        parts = [m["content"] for m in body["messages"] if m["role"] == "user"][-1]
        if isinstance(parts, str):
            parts = [{"type": "text", "text": parts}]
        urls = [p[p["type"]]["url"] for p in parts if p["type"].endswith("_url")]
        seen = Seen(
            protocol="openai",
            model=body["model"],
            prompt=[p["text"] for p in parts if p["type"] == "text"][-1],
            system="".join(texts),
            pictures=tuple(base64.b64decode(url.partition(",")[2]) for url in urls),
            schema=body.get("response_format", {}).get("json_schema", {}).get("schema"),
            idempotency_key=request.headers.get("Idempotency-Key", ""),
        )
        return await self._serve(request, seen, _openai_body, _openai_error)

    async def _gemini(self, request: web.Request) -> web.StreamResponse:
        if (body := await _body(request)) is None:
            return web.Response()
        sent = request.headers.get("x-goog-api-key", "")
        if self.key and sent != self.key:
            message = f"API key not valid: {sent}. Please pass a valid API key."
            return web.json_response(_gemini_error(400, message), status=400)
        config = body.get("generationConfig", {})
        schema = config.get("responseJsonSchema", config.get("responseSchema"))
        if not self.knows_schema and schema is not None:
            return web.json_response(
                _gemini_error(400, "The specified schema produces a constraint that has too many"),
                status=400,
            )
        parts = body["contents"][-1]["parts"]
        data = [p["inlineData"]["data"] for p in parts if "inlineData" in p]
        system = body.get("systemInstruction", {}).get("parts", [])
        seen = Seen(
            protocol="gemini",
            model=request.match_info["call"].partition(":")[0],
            prompt=[p["text"] for p in parts if "text" in p][-1],
            system="".join(p["text"] for p in system),
            pictures=tuple(_decoded(text) for text in data),
            schema=schema,
            idempotency_key="",
        )
        return await self._serve(request, seen, _gemini_body, _gemini_error)

    async def _serve(
        self,
        request: web.Request,
        seen: Seen,
        body_of: Callable[..., dict[str, Any]],
        error_of: Callable[..., dict[str, Any]],
    ) -> web.StreamResponse:
        stats = self.stats
        tally = stats.tallies.setdefault(seen.key, Tally())
        tally.asked += 1
        stats.requests += 1
        if self.keep_seen:
            self.seen.append(seen)
        fault, tokens = self._drawn(seen.key, tally.asked)
        if fault:
            stats.faults[fault] = stats.faults.get(fault, 0) + 1
        self._busy += 1
        try:
            stats.peak = max(stats.peak, self._busy)
            if self._busy > self.limit:
                return web.json_response(error_of(429, "too many at once"), status=429)
            if fault in ("429", "429_retry_after", "500", "503"):
                return self._refusal(fault, error_of, seen.protocol)
            if fault == "drop":
                _abort(request)
                return web.Response()
            if self.latency_s:
                await asyncio.sleep(self.latency_s)
            text = "" if fault in ("empty", "refused") else _spoilt(self.answer(seen), fault)
            sent = json.dumps(body_of(text, fault, tokens)).encode()
            return await self._deliver(request, sent, fault, tally, tokens)
        except ConnectionError:
            return web.Response()  # the client went away: nothing was delivered
        finally:
            self._busy -= 1

    def _drawn(self, key: str, asked: int) -> tuple[str, tuple[int, int]]:
        digest = hashlib.sha256(f"{self.seed}/{key}/{asked}".encode()).digest()
        drawn = int.from_bytes(digest[:8]) / 2**64
        tokens = (self.input_tokens or 100 + digest[8] * 4, 10 + digest[9])
        for name, rate in self.faults.items():
            if drawn < rate:
                return name, tokens
            drawn -= rate
        return "", tokens

    def _refusal(
        self, fault: str, error_of: Callable[..., dict[str, Any]], protocol: str
    ) -> web.Response:
        status = int(fault[:3])
        body = error_of(status, f"injected {fault}")
        headers = {}
        if fault == "429_retry_after":
            if protocol == "gemini":
                body["error"]["details"] = [
                    {
                        "@type": "type.googleapis.com/google.rpc.RetryInfo",
                        "retryDelay": f"{self.retry_after_s}s",
                    }
                ]
            else:
                headers["Retry-After"] = str(self.retry_after_s)
        return web.json_response(body, status=status, headers=headers)

    async def _deliver(
        self, request: web.Request, sent: bytes, fault: str, tally: Tally, tokens: tuple[int, int]
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.content_length = len(sent)
        await response.prepare(request)
        if fault == "cut_body":
            await response.write(sent[: len(sent) // 2])
            _abort(request)
            return response
        if fault == "slow_drip":
            for at in range(len(sent)):
                await response.write(sent[at : at + 1])
                await asyncio.sleep(self.drip_s / len(sent))
        else:
            await response.write(sent)
        await response.write_eof()
        if fault == "refused":
            tally.refused += 1
        elif fault in BAD_ANSWERS:
            tally.bad += 1
        else:
            tally.good += 1
        tally.input_tokens += tokens[0]
        tally.output_tokens += tokens[1]
        return response


async def _body(request: web.Request) -> Any:
    """What was sent; None where the client went away meanwhile."""
    try:
        return json.loads(await request.read())
    except ConnectionError:
        return None


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _decoded(text: str) -> bytes:
    return base64.b64decode(text.replace("-", "+").replace("_", "/"))


def _spoilt(text: str, fault: str) -> str:
    if fault in ("truncated_json", "cut", "continued"):
        return text[: len(text) * 2 // 3]
    if fault == "fenced":
        return f"Here you are:\n```json\n{text}\n```\nAnything else?"
    return '{"other": [1, 2]}' if fault == "wrong_schema" else text


def _openai_body(text: str, fault: str, tokens: tuple[int, int]) -> dict[str, Any]:
    reasons = {"cut": "length", "continued": "length", "refused": "content_filter"}
    reason = reasons.get(fault, "stop")
    message = {
        "role": "assistant",
        "content": text or None,
        "refusal": "I can't help with that." if fault == "refused" else None,
    }
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": "loopback",
        "choices": [{"index": 0, "message": message, "finish_reason": reason, "logprobs": None}],
        "usage": {
            "prompt_tokens": tokens[0],
            "completion_tokens": tokens[1],
            "total_tokens": sum(tokens),
        },
    }


def _openai_error(status: int, message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "server_error", "code": None, "param": None}}


def _gemini_body(text: str, fault: str, tokens: tuple[int, int]) -> dict[str, Any]:
    reasons = {"cut": "MAX_TOKENS", "continued": "CONTINUATION", "refused": "SAFETY"}
    candidate: dict[str, Any] = {"finishReason": reasons.get(fault, "STOP"), "index": 0}
    if fault == "continued":
        candidate["continuationToken"] = "bW9yZQ=="
    if text:
        candidate["content"] = {"parts": [{"text": text}], "role": "model"}
    return {
        "candidates": [] if fault == "empty" else [candidate],
        "usageMetadata": {
            "promptTokenCount": tokens[0],
            # part of what is charged as output was thought, not said
            "candidatesTokenCount": tokens[1] - 5,
            "thoughtsTokenCount": 5,
            "totalTokenCount": sum(tokens),
        },
        "modelVersion": "loopback",
    }


def _gemini_error(status: int, message: str) -> dict[str, Any]:
    return {"error": {"code": status, "message": message, "status": "INJECTED"}}


@contextmanager
def serving(server: Loopback) -> Iterator[str]:
    """Serve in a thread of this process; gives the address, without `/v1`."""
    loop = asyncio.new_event_loop()
    ready: list[str] = []
    begun = threading.Event()

    async def start() -> web.AppRunner:
        runner = web.AppRunner(server.app(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
        await site.start()
        ready.append(site.name.rstrip("/"))
        assert runner.addresses
        ready[0] = f"http://127.0.0.1:{runner.addresses[0][1]}"
        begun.set()
        return runner

    runner = loop.create_task(start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    if not begun.wait(10):
        message = "the loopback server did not start"
        raise RuntimeError(message)
    try:
        yield ready[0]
    finally:
        asyncio.run_coroutine_threadsafe(runner.result().cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@contextmanager
def serving_process(*options: str) -> Iterator[str]:
    """Serve in a process of its own; options as on the command line."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve()), *options],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def read_stats(url: str) -> Stats:
    """What a server in another process did until now."""
    with urllib.request.urlopen(f"{url}/stats") as reply:
        told = json.load(reply)
    tallies = {key: Tally(**tally) for key, tally in told.pop("tallies").items()}
    return Stats(**told, tallies=tallies)


def read_count(url: str) -> int:
    """How many requests it had until now."""
    with urllib.request.urlopen(f"{url}/count") as reply:
        return json.load(reply)


def _main() -> None:
    parser = argparse.ArgumentParser(description="a loopback teacher")
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--limit", type=int, default=1_000_000)
    parser.add_argument("--faults", type=float, default=0.0, help="share of faulty replies")
    parser.add_argument("--drip", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--answer", default="", help="module:function that makes the text")
    given = parser.parse_args()
    answer = echo
    if given.answer:
        module, _, name = given.answer.partition(":")
        answer = getattr(importlib.import_module(module), name)
    server = Loopback(
        answer=answer,
        latency_s=given.latency,
        limit=given.limit,
        faults=rates(given.faults) if given.faults else {},
        drip_s=given.drip,
        seed=given.seed,
    )
    with serving(server) as url:
        print(url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    _main()
