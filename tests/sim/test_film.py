"""Films: the words alone differ, the last picture is the state that was judged."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from typer.testing import CliRunner

import finedata as fd
from finedata.cli.app import app
from finedata.errors import FinedataError, MissingExtraError, UsageError
from finedata.sim import film as sim_film
from finedata.sim.acting import Scripted
from finedata.sim.camera import Cameras, find_renderer
from finedata.sim.episode import play
from finedata.sim.expert import command
from finedata.sim.factors import usual
from finedata.sim.film import FilmSettings, Instruction, make_film, read_film, wish_of
from finedata.sim.scene import scene_of
from finedata.sim.world import World

SCENE = 1_000_003


@pytest.fixture(scope="module")
def renderer() -> str:
    try:
        return find_renderer()
    except FinedataError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def filmed(renderer: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("av")
    out = tmp_path_factory.mktemp("film") / "film"
    fd.sim_film("expert", out=out, scene=SCENE, pictures=64, strip=4)
    return out


def test_three_instructions_do_three_things(filmed: Path) -> None:
    film = read_film(filmed)
    first, turned, other = film.films
    assert all(one.scored["all"] for one in film.films)
    assert len({one.prompt for one in film.films}) == 3
    assert first.outcome.colour == turned.outcome.colour != other.outcome.colour
    for factor in ("arm", "approach", "rotation", "side"):
        assert getattr(first.outcome, factor) != getattr(turned.outcome, factor)
    begins = [(filmed / one.pictures[0]).read_bytes() for one in film.films]
    ends = [(filmed / one.pictures[-1]).read_bytes() for one in film.films]
    assert len(set(begins)) == 1
    assert len(set(ends)) == 3


def test_a_film_ends_with_the_state_that_is_judged(filmed: Path, renderer: str) -> None:
    # Videos of rollouts often lack their last frame, or show each one an action too late.
    av: Any = pytest.importorskip("av")
    one = read_film(filmed).films[0]
    with av.open(str(filmed / one.video)) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        assert float(video.streams.video[0].average_rate) == 10
    assert len(frames) == one.frames + 1
    assert one.times_s[-1] == one.frames / 10
    scene = scene_of(SCENE)
    wish = usual(scene, one.wish["colour"]) if one.wish else None
    assert wish is not None
    world = World(scene)
    camera = Cameras(world, size=64, renderer=renderer)
    seen = [camera.pixels(world)["front"]]

    def controller(view: Any, frame: int) -> Any:
        if frame:
            seen.append(camera.pixels(world)["front"])
        return command(view, wish, colours=scene.colours)

    play(scene, controller, world=world)
    seen.append(camera.pixels(world)["front"])
    assert len(seen) == len(frames)
    apart = [np.abs(a.astype(int) - b).mean() for a, b in zip(frames, seen, strict=True)]
    late = [np.abs(a.astype(int) - b).mean() for a, b in zip(frames[1:], seen, strict=False)]
    assert max(apart) < 6  # what encoding loses
    assert np.mean(apart) < 0.8 * np.mean(late)
    last = simplejpeg.decode_jpeg((filmed / one.pictures[-1]).read_bytes())
    assert np.abs(last.astype(int) - seen[-1]).mean() < 4


def test_the_same_film_has_the_same_bytes(filmed: Path, tmp_path: Path) -> None:
    fd.sim_film("expert", out=tmp_path / "again", scene=SCENE, pictures=64, strip=4)
    assert _bytes_of(tmp_path / "again") == _bytes_of(filmed)


def test_what_a_policy_sees_is_drawn_beside_the_film(renderer: str, tmp_path: Path) -> None:
    class Looks(Scripted):
        seen: list[np.ndarray]

        def act(self, view: Any, scene: Any, prompt: str, pictures: Any) -> np.ndarray:
            self.seen.append(pictures()["front"])
            return super().act(view, scene, prompt, pictures)

    def drawn(size: int, *, eyes: bool) -> tuple[Looks, Path]:
        mind, out = Looks("expert"), tmp_path / f"{size}-{eyes}"
        mind.seen = []
        make_film(
            mind, out, policy="looks", asked=[Instruction(prompt="x", wish=_WISH)],
            settings=FilmSettings(scene=SCENE, pictures=size, video=False, strip=2),
            draw=lambda world, wide: Cameras(world, size=wide, renderer=renderer),
            eyes=lambda world: Cameras(world, size=48, renderer=renderer),
        )  # fmt: skip
        return mind, out

    small, large = drawn(32, eyes=True)[0], drawn(128, eyes=True)[0]
    assert small.seen[0].shape == (48, 48, 3)
    for a, b in zip(small.seen, large.seen, strict=True):
        assert np.array_equal(a, b)


def test_words_of_ones_own_are_not_scored_and_need_a_policy_that_reads(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="it reads no words"):
        fd.sim_film("usual", out=tmp_path / "film", prompts=["do as you like"], video=False)
    assert not list(tmp_path.iterdir())


_WISH = wish_of("blue,left,above,clockwise,left", scene_of(SCENE))


@pytest.mark.parametrize(
    "written",
    ["red,left", "red,left,above,clockwise,left", "blue,up,above,clockwise,left", "", "blue,,,,"],
)
def test_what_is_no_wish_is_refused(written: str) -> None:
    assert "red" not in scene_of(SCENE).colours
    with pytest.raises(UsageError, match="wanted one of each"):
        wish_of(written, scene_of(SCENE))


def test_a_wish_of_the_mat_names_its_goal_only(renderer: str, tmp_path: Path) -> None:
    made = fd.sim_film(
        "expert", out=tmp_path / "film", scene=SCENE, pictures=32, video=False,
        wishes=["yellow,left,above,clockwise,mat"],
    )  # fmt: skip
    (one,) = made.films
    assert "mat" in one.prompt
    assert "clockwise" not in one.prompt
    assert "side" not in one.scored
    assert one.video == ""


@pytest.mark.parametrize("bad", [{"pictures": 481}, {"strip": 1}, {"camera": "wrist"}])
def test_what_cannot_be_filmed_is_refused(bad: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=next(iter(bad))):
        fd.sim_film("expert", out=tmp_path / "film", **bad)


def test_a_film_is_never_half_there(
    renderer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    with pytest.raises(UsageError, match="something there already"):
        fd.sim_film("expert", out=tmp_path / "mine", pictures=32, video=False)

    def without(*modules: str, **more: Any) -> None:
        if "av" in modules:
            raise MissingExtraError(place="films", found="no av", wanted="the extra `video`")

    monkeypatch.setattr(sim_film, "need", without)
    with pytest.raises(MissingExtraError, match="the extra `video`"):
        fd.sim_film("expert", out=tmp_path / "film", pictures=32)
    monkeypatch.setattr(Scripted, "act", lambda *_: np.zeros((0, 16)))
    with pytest.raises(UsageError, match="wanted \\(steps, 16\\)"):
        fd.sim_film("expert", out=tmp_path / "film", pictures=32, video=False)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_command_tells_what_came_true(filmed: Path, tmp_path: Path) -> None:
    out = tmp_path / "film"
    asked = ["--wish", "blue,left,above,clockwise,left", "--pictures", "32", "--no-video"]
    words = ["sim", "film", "expert", "--scene", str(SCENE), *asked, "--out", str(out)]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["films"][0]["scored"]["all"] is True
    result, page = tmp_path / "usual.jsonl", tmp_path / "page.html"
    fd.sim_evaluate("usual", out=result, scenes=2)
    words = ["sim", "report", str(result), "--film", str(out)]
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, UsageError)
    assert "--html OUT" in str(done.exception)
    done = CliRunner().invoke(app, [*words, "--html", str(page)])
    assert done.exit_code == 0, done.output
    assert page.read_text().count("<img ") == 8


def _bytes_of(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }
