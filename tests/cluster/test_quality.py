from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finedata.cluster.choose.quality import episode_quality, motion_measures

unit = st.floats(0, 1)


def one(**known):
    return float(episode_quality(count=1, **{name: [value] for name, value in known.items()})[0])


def measured(*tracks):
    offsets = np.cumsum([0, *(len(track) for track in tracks)])
    return motion_measures(np.concatenate(tracks), offsets)


@given(
    known=st.fixed_dictionaries(
        {"score": st.floats(0, 9), "frozen_share": unit, "roughness": st.floats(0, 2)},
        optional={"flags": st.integers(0, 5)},
    ),
    name=st.sampled_from(["score", "frozen_share", "roughness", "flags"]),
    more=unit,
)
def test_in_range_and_monotone(known, name, more):
    known = {"flags": 0, "threshold": 0.5} | known
    better = one(**known)
    worse = one(
        **known | {name: min(known[name] + more, {"frozen_share": 1, "roughness": 2}.get(name, 99))}
    )
    assert 0 <= worse <= better <= 1
    assert name == "flags" or more < 1e-9 or worse < better or known[name] + more > 1


def test_formula():
    assert one(score=0.0, threshold=0.5, frozen_share=0, roughness=0, flags=0) == 1
    assert one(score=0.5, threshold=0.5) == 0.5
    assert one(frozen_share=0.25) == 0.75
    assert one(roughness=1.0) == 0.5
    assert one(flags=3) == 0.25
    assert one(score=1.5, threshold=0.5, frozen_share=1.0, roughness=2.0, flags=1) == pytest.approx(
        (5 * 0.25 + 1 * 0.5) / 10
    )


def test_what_is_unknown_is_left_out():
    assert one() == 0.5
    assert one(score=np.nan, frozen_share=0.0) == 1
    assert one(score=np.inf, threshold=1.0) == 0
    without = episode_quality(count=3, score=[1.0, 2.0, 4.0], threshold=np.nan)
    np.testing.assert_allclose(without, [2 / 3, 1 / 2, 1 / 3])
    assert episode_quality(count=2, score=[0.0, 0.0]).tolist() == [1, 1]
    assert episode_quality(count=0).shape == (0,)


def test_measures():
    line = np.arange(11.0)[:, None] * [1.0, 2.0]
    halting = np.repeat(line, 2, axis=0)
    to_and_fro = np.tile([[0.0, 0.0], [1.0, 0.0]], (50, 1))
    still = np.zeros((5, 2))
    broken = line.copy()
    broken[3] = np.nan
    found = measured(line, halting, to_and_fro, still, line[:1], line[:2], broken, line)
    np.testing.assert_allclose(found.frozen_share[:4], [0, 11 / 21, 0, 1])
    np.testing.assert_allclose(found.roughness[:3], [0, 2, 2 * 98 / 99], atol=1e-9)
    assert np.isnan(found.roughness[[3, 4, 5, 6]]).all()
    assert np.isnan(found.frozen_share[[4, 6]]).all()
    assert (found.frozen_share[5], found.frozen_share[7], found.roughness[7]) == (0, 0, 0)


def test_rougher_with_noise():
    rng = np.random.default_rng(0)
    path = np.cumsum(np.sin(np.linspace(0, 6, 200)))[:, None] * [1.0, 0.5, 0.2]
    rough = [path + rng.normal(size=path.shape) * noise for noise in (0.0, 0.05, 0.2, 1.0)]
    found = measured(*rough).roughness
    assert (np.diff(found) > 0).all()
    assert found.max() <= 2


def test_neighbours_do_not_matter():
    rng = np.random.default_rng(1)
    tracks = [rng.normal(size=(n, 3)) for n in (5, 1, 17, 2, 30)]
    together = measured(*tracks)
    for k, track in enumerate(tracks):
        alone = measured(track)
        np.testing.assert_allclose(together.roughness[k], alone.roughness[0])
        np.testing.assert_allclose(together.frozen_share[k], alone.frozen_share[0])
