"""The socket: who is let in, whose turn it is, and what broken clients leave behind."""

from __future__ import annotations

import gc
import os
import socket
import threading
import time
import urllib.request
from collections import Counter
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import msgpack
import numpy as np
import pytest
from serve.conftest import picture
from serve.fake import STATE, FakePredictor, desk
from serve.test_wire import from_openpi, openpi
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect

import finedata as fd
from finedata.errors import FinedataError, UsageError
from finedata.serve.dialects import Talk
from finedata.serve.server import is_loopback, serving

ASKED = msgpack.packb(
    {"observation/front": picture(), "prompt": "go", "observation/state": STATE}, default=openpi
)


@contextmanager
def opened(address: str, **more: Any) -> Any:
    with connect(
        address, compression=None, max_size=None, proxy=None, max_queue=None, **more
    ) as one:
        yield one


def answered(one: Any) -> Any:
    one.send(ASKED)
    said = one.recv(timeout=10)
    assert isinstance(said, bytes), said
    return msgpack.unpackb(said, object_hook=from_openpi)["actions"]


def test_health_and_other_addresses() -> None:
    with serving(desk()) as listening:
        http = listening.address.replace("ws://", "http://")
        for path in ("/healthz", "/health"):
            with urllib.request.urlopen(http + path, timeout=10) as found:
                assert found.status == 200
        with pytest.raises(HTTPError) as refused:
            urllib.request.urlopen(http + "/config?x=1", timeout=10)
        assert refused.value.code == 404
        refused.value.close()
        with pytest.raises(HTTPError) as refused:  # no WebSocket
            urllib.request.urlopen(http + "/", timeout=10)
        assert refused.value.code == 426
        refused.value.close()
        with (
            pytest.raises(InvalidStatus, match="403"),
            opened(listening.address, origin="http://page.example"),
        ):
            pass
        with opened(listening.address) as one:
            one.recv()
            assert answered(one).shape == (4, 8)


def test_a_key_is_asked_for() -> None:
    with serving(desk(), api_key="secret") as listening:
        for headers, query in (
            ({}, ""), ({"Authorization": "Api-Key wrong"}, ""), ({"Authorization": "secret"}, ""),
            ({}, "?key=wrong"), ({"Authorization": "Api-Key secretly"}, "?key=secret"),
            ({"Authorization": "Api-Key sécret".encode().decode("latin1")}, ""),
        ):  # fmt: skip
            for address in (listening.address + "/", listening.vla_eval):
                with (
                    pytest.raises(InvalidStatus, match="401"),
                    opened(address + query, additional_headers=headers),
                ):
                    pass
        for headers, query in (
            ({"Authorization": "Api-Key secret"}, ""), ({"Authorization": "Bearer secret"}, ""),
            ({}, "?key=secret"),
        ):  # fmt: skip
            with opened(listening.address + "/" + query, additional_headers=headers) as one:
                one.recv()
                assert answered(one).shape == (4, 8)
        with pytest.raises(FinedataError, match="401"):
            fd.connect(listening.address, api_key="wrong")
        with fd.connect(listening.address, api_key="secret") as policy:
            assert policy.metadata["env"] == "finedata"


def test_beyond_the_loopback_a_key_is_required() -> None:
    with (
        pytest.raises(UsageError, match=r"host 0\.0\.0\.0: found no key"),
        serving(desk(), host="0.0.0.0"),
    ):
        pass
    assert all(map(is_loopback, ("localhost", "127.0.0.9", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "h.org", "")))


def test_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(UsageError, match=f"port {port} of 127.0.0.1"),
            serving(desk(), port=port),
        ):
            pass


def test_our_client() -> None:
    with serving(desk(FakePredictor(speaks=True))) as listening:
        address = listening.address.removeprefix("ws://")
        with fd.connect(address) as policy:
            said = policy.act({"front": picture(), "prompt": "go", "state": STATE})
            assert said.names[0] == "right_x"
            assert said.actions.shape == (4, len(said.names))
            said.actions[:] = 0  # robots clip in place
            assert said.reasoning is None
            assert said.timing["infer_ms"] >= said.timing["model_ms"]
            policy.reset()
            why = policy.act({"front": picture(), "prompt": "go"}, reasoning=True)
            assert why.reasoning == {"text": "because", "parts": None}
            with pytest.raises(FinedataError, match="prompt: found none"):
                policy.act({"front": picture()})
            with pytest.raises(FinedataError, match="1011"):
                policy.act({"front": picture(), "prompt": "go"})
    with pytest.raises(FinedataError, match="wanted a server that lets us in"):
        fd.connect(listening.address, timeout_s=5)
    with pytest.raises(UsageError, match="no address"):
        fd.connect("http://127.0.0.1:1")


def test_a_client_that_waits_longer_than_it_wants_to_is_told() -> None:
    slow = FakePredictor()
    says = slow.says
    slow.says = lambda number: (time.sleep(0.5 if number else 0), says(number))[1]
    with (
        serving(desk(slow)) as listening,
        fd.connect(listening.address, timeout_s=0.1) as policy,
    ):
        with pytest.raises(FinedataError, match=r"found nothing in 0.1 s"):
            policy.act({"front": picture(), "prompt": "go"})
        # The late answer must not be taken for that to another observation.
        policy._timeout_s = 10
        with pytest.raises(FinedataError, match="wanted an answer"):
            policy.act({"front": picture(), "prompt": "go"})


def test_twenty_clients_are_served_in_turn() -> None:
    """One that sends all it has at once waits, with its second, behind all who have asked."""
    order: list[str] = []
    fake, go = FakePredictor(), threading.Event()
    predict = fake.predict

    def noted(asked: Any, **more: Any) -> Any:
        order.append(asked[0][1].text)
        if order[-1] != "warm up":
            assert go.wait(20)
        return predict(asked, **more)

    fake.predict = noted
    others = [str(k) for k in range(19)]

    def asking(name: str) -> bytes:
        return msgpack.packb({"front": SMALL, "prompt": name}, default=openpi)

    with serving(desk(fake)) as listening, ExitStack() as stack:
        flood = stack.enter_context(opened(listening.address))
        flood.recv()
        for _ in range(50):
            flood.send(asking("flood"))
        waiting = [stack.enter_context(opened(listening.address)) for _ in others]
        for one, name in zip(waiting, others, strict=True):
            one.recv()
            one.send(asking(name))
        for _ in range(3):  # so the server has read what was sent before
            with opened(listening.address) as one:
                one.recv()
        go.set()
        for one in (*waiting, *[flood] * 50):
            assert isinstance(one.recv(timeout=20), bytes)
    assert order[:2] == ["warm up", "flood"]
    assert sorted(order[2:21]) == sorted(others)
    assert order[21:] == ["flood"] * 49


def test_a_thousand_requests_leave_nothing_behind() -> None:
    fake = FakePredictor()
    predict = fake.predict

    def forgets(asked: Any, **more: Any) -> Any:
        fake.seen.clear()
        return predict(asked, **more)

    fake.predict = forgets
    asked = {"front": picture(height=224, width=448), "prompt": "go", "state": STATE}

    def resident() -> int:
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    with serving(desk(fake)) as listening, fd.connect(listening.address) as policy:
        for _ in range(100):
            policy.act(asked)
        before = resident()
        for _ in range(1_000):
            policy.act(asked)
        # One picture in ten would be 30 MB.
        assert resident() - before < 10e6


def raw(listening: Any) -> socket.socket:
    host, port = listening.address.removeprefix("ws://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def test_clients_that_hang_or_leave_in_the_middle() -> None:
    slow = FakePredictor()
    says = slow.says
    slow.says = lambda number: (time.sleep(0.02), says(number))[1]
    with serving(desk(slow)) as listening:
        hanging = []
        for sent in (
            b"",  # connects and says nothing
            b"GET / HTTP/1.1\r\nHo",  # stops in its greeting
            HANDSHAKE,  # greets and is silent
            HANDSHAKE + b"\x82\xfe\xff",  # stops in a frame's head
            HANDSHAKE
            + b"\x82\x7f"
            + (10**18).to_bytes(8, "big")
            + b"mask",  # a frame of 10^18 bytes
            HANDSHAKE + b"\xff\xff\xff\xff",  # no frame
        ):
            one = raw(listening)
            one.sendall(sent)
            hanging.append(one)
        for _ in range(20):  # ask, and are gone
            with opened(listening.address) as one:
                one.recv()
                one.send(ASKED)
                one.socket.shutdown(socket.SHUT_RDWR)
        # reads nothing of what it asked for
        deaf = raw(listening)
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        deaf.sendall(HANDSHAKE)
        with opened(listening.address) as one:
            one.recv()
            assert answered(one).shape == (4, 8)
        for one in (*hanging, deaf):
            one.close()
        with opened(listening.address) as one:
            one.recv()
            assert answered(one).shape == (4, 8)


def test_who_left_in_the_queue_costs_nothing() -> None:
    fake, go = FakePredictor(), threading.Event()
    says = fake.says
    fake.says = lambda number: (number and go.wait(20), says(number))[1]
    with serving(desk(fake)) as listening, opened(listening.address) as first:
        first.recv()
        first.send(ASKED)  # the policy waits for us
        for _ in range(5):
            with opened(listening.address) as one:
                one.recv()
                one.send(ASKED)
        with opened(listening.address) as last:
            last.recv()  # so the server knows that they have gone
            go.set()
            assert isinstance(first.recv(timeout=20), bytes)
            assert answered(last).shape == (4, 8)
    assert len(fake.seen) == 1 + 2, "and once to be warm"


def test_a_message_that_is_too_long() -> None:
    with serving(desk()) as listening:
        with opened(listening.address) as one:
            one.recv()
            one.send(bytes(65 * 2**20))
            with pytest.raises(ConnectionClosedError, match="1009"):
                one.recv(timeout=20)
        with opened(listening.address) as one:
            one.recv()
            assert answered(one).shape == (4, 8)


def test_there_is_room_for_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finedata.serve.server._MOST_CONNECTIONS", 2)
    with serving(desk()) as listening, opened(listening.address), opened(listening.address) as one:
        with pytest.raises(InvalidStatus, match="503"), opened(listening.address):
            pass
        one.close()
        for _ in range(100):
            try:
                with opened(listening.address):
                    break
            except InvalidStatus:
                time.sleep(0.01)
        else:
            pytest.fail("who left takes no room")


SMALL = np.zeros((4, 4, 3), np.uint8)
GOOD = [
    msgpack.packb(message, default=openpi)
    for message in (
        {"front": SMALL, "prompt": "go", "state": STATE},
        {"examples": [{"image": [SMALL], "lang": "go"}]},
        {"type": "infer", "payload": {"examples": [{"image": [SMALL]}]}},
        {"type": "hello", "payload": {}, "seq": 1, "timestamp": 0},
        {"type": "observation", "payload": {"images": {"front": SMALL}}, "seq": 2, "timestamp": 0},
    )
]


def noise(seed: int) -> Any:
    """Frames without end: nothing at all, texts, good messages with bytes exchanged, cut ones."""
    rng = np.random.default_rng(seed)
    while True:
        kind = rng.integers(4)
        message = bytearray(GOOD[rng.integers(len(GOOD))])
        for at in rng.integers(0, len(message), int(rng.integers(1, 5))):
            message[at] = rng.integers(256)
        cut = int(rng.integers(1, len(message) + 1))
        yield (
            rng.bytes(int(rng.integers(0, 80))),
            rng.bytes(20).decode("latin1"),
            bytes(message[:cut]),
            bytes(message),
        )[kind]


def test_ten_thousand_frames_of_noise() -> None:
    """What is made of them is what a client of the dialect can read, and the server is alive."""
    table = desk()
    told = Counter()
    for frame in islice(noise(1), 4_000):
        reply = Talk(table).reply(frame)
        told["openpi" if isinstance(reply.frame, str) else "in band"] += 1
        if isinstance(reply.frame, str):
            assert reply.closes
        else:
            said = msgpack.unpackb(reply.frame, object_hook=from_openpi)
            assert "actions" in said or "ok" in said
        error = reply.frame if isinstance(reply.frame, str) else said.get("error", {})
        assert "error in the policy" not in str(error), (frame, error)
    assert told["openpi"] > 2_000
    assert told["in band"] > 200
    with serving(table) as listening:
        for frame in islice(noise(2), 200):
            with opened(listening.address) as one:
                one.recv()
                one.send(frame)
                assert one.recv(timeout=10)
        with opened(listening.vla_eval) as one:
            for frame in islice(noise(3), 5_800):
                one.send(frame)
        with opened(listening.address) as last:
            last.recv()
            assert answered(last).shape == (4, 8)
        with opened(listening.vla_eval) as last:
            last.send(GOOD[3])
            assert msgpack.unpackb(last.recv())["type"] == "hello"


def test_our_client_asks_other_servers_of_the_dialect() -> None:
    """openpi's own says nothing of finedata, and other keys besides the actions."""
    from websockets.sync.server import serve

    answers = [{"actions": np.ones((2, 7)), "policy_timing": {"infer_ms": 1.0}}, {"status": "ok"}]

    def talk(one: Any) -> None:
        one.send(msgpack.packb({}, default=openpi))
        for answer in answers:
            one.recv()
            one.send(msgpack.packb(answer, default=openpi))

    with serve(talk, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with fd.connect(f"127.0.0.1:{server.socket.getsockname()[1]}") as policy:
                said = policy.act({"observation/image": picture(), "prompt": "go"})
                assert said.actions.tolist() == [[1.0] * 7] * 2
                assert (said.names, said.reasoning, said.timing) == ((), None, {})
                with pytest.raises(FinedataError, match="found an answer of status"):
                    policy.act({"observation/image": picture(), "prompt": "go"})
        finally:
            server.shutdown()
            thread.join()
