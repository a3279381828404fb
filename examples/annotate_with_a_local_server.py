"""Annotate with a model on your own machine, behind a server that speaks OpenAI's protocol.

    python examples/annotate_with_a_local_server.py OUT [http://localhost:8000/v1 MODEL]

With the address of a server (vLLM, SGLang, llama.cpp, ...) that one is asked. Without, a stand-in
is started that answers every question alike, so that you see what is sent and what is kept.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import finedata as fd
from finedata.demo.walk import unpack

if TYPE_CHECKING:
    from collections.abc import Iterator

TRACE = """<Observation> A table with an object; the gripper is open above it.
<Situation Analysis> The task has begun, and nothing is in the way.
<Spatial Reasoning> The object is in front of and below the gripper.
<Task Planning> Reach the object and move it.
<logical_steps> <1> reach the object <2> close the gripper <3> move
<sub_action> move forward and down"""


class _StandIn(BaseHTTPRequestHandler):
    """Answers `/v1/chat/completions`; a real server looks at the pictures."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": asked["model"],
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": TRACE},
                }
            ],
            "usage": {"prompt_tokens": 300, "completion_tokens": 60, "total_tokens": 360},
        }
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def stand_in() -> Iterator[str]:
    """The address of a server that runs as long as the context."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _StandIn)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


def annotate(ds: fd.Dataset, base_url: str, model: str) -> None:
    """Traces at every tenth frame, by the server; facts by the motion, which judges all others."""
    os.environ.setdefault("OPENAI_API_KEY", "none")  # local servers want some key, and read none
    teacher = fd.teacher("openai", model=model, base_url=base_url)
    ds.annotate_kinematic(everything=True)
    print(ds.annotate_traces(teacher, every=10, everything=True, dry_run=True))  # calls, tokens
    print(ds.annotate_traces(teacher, every=10, everything=True))
    # The same call again asks nobody: every answer is in the ledger.
    print(ds.annotate_traces(teacher, every=10, everything=True))


def main(out: Path, base_url: str = "", model: str = "stand-in") -> fd.Dataset:
    """Convert four episodes, and have them annotated."""
    unpack(out / "source")
    ds = fd.source("bridge_v2", out / "source/bridge_dataset/1.0.0").convert(
        out / "dataset", max_episodes=4, cameras="image_0"
    )
    if base_url:
        annotate(ds, base_url, model)
    else:
        with stand_in() as address:
            annotate(ds, address, model)
    ds = fd.open(ds.root)
    print(ds.sql("select episode_id, frame_index, sub_action from traces order by all limit 5"))
    print(ds.summarise().all)
    return ds


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:4])
