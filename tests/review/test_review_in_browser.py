"""Reviewing in a real browser: by keyboard, by two people at once, through a kill."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from review.conftest import page_of, running

from finedata.store.dataset import open_dataset


@pytest.fixture
def root(looked_at: Path, tmp_path: Path) -> Path:
    shutil.copytree(looked_at, tmp_path / "bridge")
    return tmp_path / "bridge"


def fact_on(page) -> str:
    page.wait_for_selector("[data-review=ready]")
    return page.url.split("/review/")[1].split("?")[0]


def act(page, press: Callable[[], None]) -> None:
    """Do what leads to another page; a new address of the same page is none."""
    page.evaluate("() => { document.documentElement.dataset.old = 'yes' }")
    press()
    page.wait_for_selector("html[data-review=ready]:not([data-old])")


def call_me(page, name: str) -> None:
    page.wait_for_selector("[data-review=ready]")
    page.fill("#reviewer", name)
    act(page, lambda: page.keyboard.press("Tab"))


def test_two_review_by_keyboard_and_a_kill_loses_nothing(root: Path, browser) -> None:
    with running(root, "--reviewer", "ana", verb="review") as (address, process):
        with page_of(browser) as ana, page_of(browser) as ben:
            ana.goto(f"{address}/review")
            ben.goto(f"{address}/review")
            call_me(ben, "Ben ☃")
            accepted, rejected = fact_on(ana), fact_on(ben)
            assert accepted != rejected
            act(ana, lambda: ana.keyboard.press("a"))
            act(ben, lambda: ben.keyboard.press("r"))

            edited = fact_on(ana)
            ana.keyboard.press("e")
            ana.keyboard.press("Control+A")
            ana.keyboard.type("The arm <b>first</b> moves left.")
            ana.keyboard.press("Escape")
            handle = ana.locator("#edge-end_frame")
            box, lane = handle.bounding_box(), ana.locator("#timeline").bounding_box()
            dataset = open_dataset(root)
            [row] = dataset.facts.filter(fact_id=edited).collect().to_dicts()
            length = int(dataset.episode(row["episode_id"]).row["length"])
            steps = dataset.steps.filter(episode_id=row["episode_id"]).collect()
            wanted = sorted({*steps["end_frame"].to_list()})[1]
            ana.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
            ana.mouse.down()
            x = lane["x"] + lane["width"] * wanted / length + 3  # near enough to snap
            ana.mouse.move(x, box["y"] + 5, steps=5)
            ana.mouse.up()
            assert ana.inner_text("#judge .range") == f"0 to {wanted}"
            act(ana, lambda: ana.keyboard.press("Control+Enter"))

            act(ana, lambda: ana.keyboard.press("a"))
            act(ana, lambda: ana.keyboard.press("u"))  # and that one is taken back

            ana.keyboard.press("s")
            assert "say why" in ana.inner_text("#told")
            ana.keyboard.type("too dark")
            ana.keyboard.press("Enter")
            skipped = fact_on(ana)
            act(ana, lambda: ana.keyboard.press("s"))
        process.send_signal(signal.SIGKILL)
        process.wait()
    with running(root, "--reviewer", "ana", verb="review") as (address, _):
        dataset = open_dataset(root)
        rows = {row["fact_id"]: row for row in dataset.facts.collect().to_dicts()}
        assert rows[accepted]["review_status"] == "accepted"
        assert rows[rejected]["review_status"] == "rejected"
        assert rows[edited]["text"] == "The arm <b>first</b> moves left."
        assert rows[edited]["end_frame"] == wanted
        reviews = dataset.table("reviews").sort("decided_at").collect()
        said = list(zip(reviews["reviewer"], reviews["decision"], strict=True))
        assert sorted(said) == sorted(
            [("ana", one) for one in ("accept", "edit", "accept", "undo", "skip")]
            + [("Ben ☃", "reject")]
        )
        assert [row["target_id"] for row in reviews.to_dicts()][-1] == skipped
        with page_of(browser) as page:
            page.goto(f"{address}/review/{edited}")
            assert fact_on(page) == edited
            assert page.input_value("#edit-text") == "The arm <b>first</b> moves left."


def steps_on(page) -> list[str]:
    return page.locator("#steps .step").all_inner_texts()


def told(page, press: Callable[[], None], words: str) -> None:
    page.evaluate("() => { document.getElementById('told').textContent = '' }")
    press()
    page.wait_for_selector(f"#told:has-text('{words}')")


def test_steps_and_missing_facts_by_keyboard_and_all_taken_back(root: Path, browser) -> None:
    dataset = open_dataset(root)
    facts = dataset.facts.filter(origin="kinematic").collect()
    fact_id = str(facts["fact_id"][0])
    server = running(root, "--reviewer", "ana", verb="review")
    with server as (address, _), page_of(browser) as page:
        page.goto(f"{address}/review/{fact_id}?frame=0")
        page.wait_for_selector("[data-review=ready]")
        steps = steps_on(page)
        press = page.keyboard.press
        for _ in range(3):
            press("ArrowRight")
        page.wait_for_selector("#clock:has-text('frame 3 of')")
        told(page, lambda: press("/"), "saved: split")
        assert steps_on(page) == [steps[0], *steps]
        press("ArrowLeft")
        press("ArrowLeft")
        told(page, lambda: press(">"), "saved: move")
        told(page, lambda: press("m"), "saved: merge")
        assert steps_on(page) == steps
        for back in ("merge", "move", "split"):
            told(page, lambda: press("u"), f"taken back: {back}")
        assert steps_on(page) == steps
        told(page, lambda: press("u"), "nothing of yours")
        # the edge between the first two, dragged
        rows = dataset.steps.filter(episode_id=str(facts["episode_id"][0])).collect()
        first, second = rows.sort("step_index").to_dicts()[:2]
        length = int(dataset.episode(first["episode_id"]).row["length"])
        lane = page.locator("#timeline").bounding_box()
        top = page.locator("#steps").bounding_box()["y"] + 12
        at = [lane["x"] + lane["width"] * k / length for k in range(length + 1)]
        wanted = (second["start_frame"] + second["end_frame"]) // 2
        page.mouse.move(at[first["end_frame"]] + 1, top)
        page.mouse.down()
        page.mouse.move(at[wanted], top, steps=4)
        told(page, page.mouse.up, "saved: move")
        widths = [page.locator(".step").nth(k).evaluate("e => e.style.left") for k in (0, 1)]
        assert float(widths[1].rstrip("%")) == pytest.approx(100 * wanted / length, abs=0.01)
        told(page, lambda: press("u"), "taken back: move")

        press("n")
        page.wait_for_selector("#add:not([hidden])")
        page.select_option("#add-slot", "color")
        page.keyboard.press("Tab")
        page.keyboard.type("red")
        page.keyboard.press("Tab")
        page.keyboard.type("The cup is red, said a person.")
        act(page, lambda: press("Control+Enter"))
        added = page.locator("#facts li:has-text('said a person')")
        assert "human ana" in added.inner_text()
        act(page, lambda: press("u"))
        assert "rejected" in added.inner_text()
        press("n")
        press("Escape")
        page.wait_for_selector("#judge:not([hidden])")
        act(page, lambda: press("a"))
    said = dataset.table("reviews").sort("decided_at").collect()["decision"].to_list()
    changes = ["split", "move", "merge", *["undo"] * 3, "move", "undo"]
    assert said == [*changes, "add", "undo", "accept"]


PRESSED = """init => document.activeElement.dispatchEvent(
new KeyboardEvent('keydown', {bubbles: true, cancelable: true, ...init}))"""


def test_keys_that_belong_to_whoever_types(root: Path, browser) -> None:
    """What people reported of other tools: input methods, AltGr, a key that is held down."""
    dataset = open_dataset(root)
    server = running(root, "--reviewer", "ana", verb="review")
    with server as (address, _), page_of(browser) as page:
        page.goto(f"{address}/review")
        fact_id = fact_on(page)
        # a word is being composed: neither Enter nor a letter is a command
        page.keyboard.press("e")
        page.keyboard.type("Changed. ")
        composing = {"isComposing": True}
        page.evaluate(PRESSED, {"key": "Enter", "ctrlKey": True} | composing)
        page.evaluate(PRESSED, {"key": "Escape"} | composing)
        assert page.evaluate("document.activeElement.id") == "edit-text"
        page.keyboard.press("Escape")
        page.evaluate(PRESSED, {"key": "r"} | composing)
        page.evaluate(PRESSED, {"key": "r", "repeat": True})
        page.evaluate(PRESSED, {"key": "r", "ctrlKey": True})  # the browser's own
        # braces need AltGr on many keyboards, which some systems call Ctrl and Alt
        page.keyboard.press("Home")
        page.keyboard.press("ArrowRight")
        brace = {"key": "{", "ctrlKey": True, "altKey": True, "modifierAltGraph": True}
        page.evaluate(PRESSED, brace)
        assert page.inner_text("#judge .range").startswith("1 to ")
        assert fact_on(page) == fact_id
        assert dataset.table("reviews").collect().height == 0
        act(page, lambda: page.keyboard.press("Control+Enter"))
        assert dataset.table("reviews").collect()["decision"].to_list() == ["edit"]


def test_a_page_outlives_its_server(root: Path, browser) -> None:
    dataset = open_dataset(root)
    context = browser.new_context()
    page = context.new_page()
    with running(root, "--reviewer", "ana", verb="review") as (address, process):
        page.goto(f"{address}/review")
        fact_id = fact_on(page)
        page.fill("#edit-text", "Typed before the server went.")
        act(page, lambda: page.keyboard.press("Control+Enter"))
        undone = fact_on(page)
        page.fill("#edit-text", "Typed while it was away.")
        process.send_signal(signal.SIGKILL)
        process.wait()
        page.keyboard.press("Control+Enter")
        page.wait_for_selector("#told:has-text('not saved')")
    port = address.rsplit(":", 1)[1]
    with running(root, "--reviewer", "ana", "--port", port, verb="review"):
        page.keyboard.press("Control+Enter")
        page.wait_for_url(lambda url: undone not in url)
        page.wait_for_selector("[data-review=ready]")
    context.close()
    texts = dict(dataset.facts.select("fact_id", "text").collect().iter_rows())
    assert texts[fact_id] == "Typed before the server went."
    assert texts[undone] == "Typed while it was away."


def test_a_write_comes_from_our_own_page(root: Path) -> None:
    client = httpx2.Client(timeout=120)  # a busy machine is no failure
    with client, running(root, "--reviewer", "ana", verb="review") as (address, _):
        page = client.get(f"{address}/episodes").text
        token = page.split('name="csrf" content="')[1].split('"')[0]
        [fact, *_] = open_dataset(root).facts.collect().to_dicts()
        url = f"{address}/review/{fact['fact_id']}/decide"
        body = {"review_id": "x", "revision": 0, "decision": "accept"}
        ours = {"origin": address, "x-finedata": token}
        for wrong in (
            {},
            {"origin": address},
            {"x-finedata": token},
            ours | {"origin": "http://evil.example"},
            ours | {"origin": "null"},
            ours | {"x-finedata": "guessed"},
        ):
            assert client.post(url, json=body, headers=wrong).status_code == 403
        assert client.post(url, json=body | {"more": 1}, headers=ours).status_code == 404
        assert client.post(url, json=body, headers=ours).json()["fact"]["revision"] == 1
        again = client.post(url, json=body | {"review_id": "y"}, headers=ours)
        assert again.status_code == 409
        assert "revision 1 of it, accepted" in again.text
    [now] = open_dataset(root).facts.filter(fact_id=fact["fact_id"]).collect().to_dicts()
    assert now["review_status"] == "accepted"  # its end, not killed, wrote the revision
