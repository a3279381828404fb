"""Which episodes are read for the pose proof: a few of each form, robot and arm, spread out.

They are converted in memory and their evidence is pooled by arm. Cameras and rates do not matter
here, so parts that differ in these alone are one.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from finedata.convert.canonical import canonical_motion
from finedata.convert.checks import motion_flags
from finedata.convert.planning.examine import examine
from finedata.convert.planning.layout_columns import sorted_arms
from finedata.convert.pose.evidence import (
    ArmPose,
    action_in_words,
    arm_evidence,
    judged_together,
    no_arm,
    nothing_yet,
    written_alike,
)
from finedata.convert.source_episode import read_episode
from finedata.errors import SourceError
from finedata.motion.proof.readings import turned_deg

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from finedata.convert.canonical import CanonicalArm, CanonicalMotion
    from finedata.convert.forms import EpisodeView
    from finedata.convert.prepared import PreparedRun
    from finedata.motion import PoseEvidence
    from finedata.readers.episode import Found, RawEpisode, Source
    from finedata.schema.converter import Variant

# A pose that turns by less stands still; one that turns is not stuck, though its unit be wrong.
_STILL_DEG = 0.1
# Episodes looked at for each one wanted: where most stand still, the search ends somewhere.
_PATIENCE = 5
_MESSAGES = 5


@dataclass(slots=True)
class _Tally:
    """What was found of one arm so far."""

    blank: ArmPose
    alike: bool = False
    found: list[PoseEvidence] = field(default_factory=list["PoseEvidence"])
    without_pose: int = 0
    skipped: Counter[str] = field(default_factory=Counter[str])

    def judged(self) -> ArmPose:
        """The evidence of all episodes together."""
        skipped = dict(sorted(self.skipped.items()))
        if not self.found:
            episodes, reason = self.without_pose, self.blank.reason
            if skipped and not episodes:
                reason = f"every episode was skipped: {', '.join(skipped)}"
            return replace(self.blank, episodes=episodes, skipped=skipped, reason=reason)
        pooled = judged_together(self.found, alike=self.alike)
        return replace(
            self.blank,
            episodes=len(self.found),
            skipped=skipped,
            verdict=pooled.verdict,
            reason=pooled.reason,
            parts=pooled.parts,
        )


class PoseSearch:
    """Reads episodes spread over the sources until each arm has its number of them.

    Attributes:
        looked_at: Episodes that were read.
        failed: Episodes among them that the converter cannot read.
        messages: Why, of the first few.
    """

    def __init__(
        self, run: PreparedRun, *, most: int, written: Collection[tuple[str, str, int]] | None
    ) -> None:
        self._run = run
        self._most = most
        self._written = written
        self._tallies: dict[tuple[object, ...], _Tally] = {}
        self._compared: Counter[tuple[object, ...]] = Counter()
        self._group: set[tuple[object, ...]] = set()
        self.looked_at = self.failed = 0
        self.messages: list[str] = []

    def look(self) -> None:
        """Look at every source, and in it at every group of shards that may be of one form."""
        for number, source in enumerate(self._run.sources):
            converter = self._run.converters[number].converter
            reader = self._run.context.sources[number].reader
            variants = [one for one in converter.variants if one.reader == reader]
            files = None
            if self._written is not None:
                files = {file for name, file, _ in self._written if name == converter.name}
            for shards in _alike(source, variants, files):
                self._look_at(number, shards)

    def arms(self) -> tuple[ArmPose, ...]:
        """The evidence of each arm: by source, form and robot; right, then left."""
        order = sorted(self._tallies, key=lambda key: [str(part).rjust(8) for part in key])
        return tuple(self._tallies[key].judged() for key in order)

    def _look_at(self, number: int, shards: list[int]) -> None:
        source = self._run.sources[number]
        name = self._run.converters[number].converter.name
        each = math.ceil(self._most / len(shards))
        last = self.looked_at + _PATIENCE * self._most
        self._group = set()
        for shard in _spread(shards):
            described = source.shards[shard]
            step = max((described.declared_records or 0) // each, 1)
            taken = 0
            try:
                for position, (found, raw) in enumerate(source.scan(shard)):
                    if position < taken * step:
                        continue
                    key = (name, described.file, found.number)
                    if self._written is not None and key not in self._written:
                        continue
                    taken += self._take(number, shard, found, raw)
                    if taken >= each or self._enough() or self.looked_at >= last:
                        break
            except OSError as error:
                self._fail(f"{described.file}: {error.strerror or error}")
            if self._enough() or self.looked_at >= last:
                return

    def _enough(self) -> bool:
        return bool(self._group) and all(self._compared[key] >= self._most for key in self._group)

    def _fail(self, message: str) -> None:
        self.failed += 1
        if len(self.messages) < _MESSAGES:
            self.messages.append(message)

    def _take(self, number: int, shard: int, found: Found, raw: RawEpisode | None) -> bool:
        """Look at one episode; whether it was compared."""
        self.looked_at += 1
        file = self._run.sources[number].shards[shard].file
        if raw is None or found.reason is not None:
            self._fail(f"{file}, record {found.number}: {found.message or found.reason}")
            return False
        try:
            return self._compare(number, shard, found, raw)
        except SourceError as error:
            self._fail(f"{file}, record {found.number}: {error}")
            return False
        finally:
            raw.close()

    def _compare(self, number: int, shard: int, found: Found, raw: RawEpisode) -> bool:
        source, options = self._run.sources[number], self._run.context.options
        converter = self._run.converters[number].converter
        episode = read_episode(
            raw,
            converter,
            options,
            source=source,
            shard=shard,
            reader=self._run.context.sources[number].reader,
            found=found,
        )
        facts = examine(episode, options, folder=source.folder, source_number=number)
        layout, view, variant = facts.layout, episode.view, episode.variant
        form = (number, layout.variant, layout.embodiment)
        if not variant.arms:
            blank = no_arm(converter.name, variant.name, layout.embodiment)
            self._tallies.setdefault((*form, ""), _Tally(blank)).without_pose += 1
            self._count((*form, ""))
            return True
        motion = canonical_motion(view, variant, frames=facts.frames)
        told = [
            self._compare_arm(converter.name, form, view, variant, motion, place, facts.frames)
            for place in range(len(motion.arms))
        ]
        return any(told)

    def _compare_arm(
        self,
        name: str,
        form: tuple[int, int, str],
        view: EpisodeView,
        variant: Variant,
        motion: CanonicalMotion,
        place: int,
        frames: int,
    ) -> bool:
        arm, moved = sorted_arms(variant)[place], motion.arms[place]
        key = (*form, place)
        self._group.add(key)
        if self._compared[key] >= self._most:
            return False
        action = action_in_words(view, arm, frames=frames)
        tally = self._tallies.get((*key, moved.encoding, action))
        if tally is None:
            tally = _Tally(
                nothing_yet(name, variant.name, form[2], arm, moved, action),
                alike=written_alike(view, arm, frames=frames),
            )
            self._tallies[*key, moved.encoding, action] = tally
        still = _stands_still(motion, moved)
        if still is not None:
            tally.skipped[still] += 1
            return False
        evidence = arm_evidence(view, arm, moved, frames=frames)
        if evidence is None:
            tally.without_pose += 1
        else:
            tally.found.append(evidence)
        self._count(key)
        return True

    def _count(self, key: tuple[object, ...]) -> None:
        self._group.add(key)
        self._compared[key] += 1


def _stands_still(motion: CanonicalMotion, moved: CanonicalArm) -> str | None:
    """The flag of an arm that tells nothing, or whose stuck pose tells something wrong."""
    flags = motion_flags(replace(motion, arms=(moved,)))
    if "state_frozen" in flags:
        return "state_frozen"
    quaternion = moved.state.quaternion_xyzw
    turned = 0.0 if quaternion is None else turned_deg(quaternion)
    return "ee_pose_stuck" if "ee_pose_stuck" in flags and turned < _STILL_DEG else None


def _alike(
    source: Source, variants: Sequence[Variant], files: Collection[str] | None
) -> Iterator[list[int]]:
    """Shards in groups whose names allow the same forms, so that none is passed over."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for number, shard in enumerate(source.shards):
        if files is not None and shard.file not in files:
            continue
        patterns = [(one.name, one.when.path) for one in variants]
        name = f"/{shard.file}"
        known = tuple(form for form, path in patterns if path is None or fnmatchcase(name, path))
        groups.setdefault(known, []).append(number)
    yield from groups.values()


def _spread(shards: Sequence[int]) -> list[int]:
    """The same numbers, so that any first few of them lie all over (van der Corput's order)."""
    width = max((len(shards) - 1).bit_length(), 1)
    turned = (int(f"{i:0{width}b}"[::-1], 2) for i in range(1 << width))
    return [shards[i] for i in turned if i < len(shards)]
