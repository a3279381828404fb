"""Documents: strict, of one form, and sealed by digests whose preimages the specification gives."""

from __future__ import annotations

import doctest
import json
from hashlib import sha256

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finedata.errors import ConformError, SpecError
from finedata.papers import paper_room
from finedata.schema import bench_summary as bench
from finedata.schema import codecs_file, documents, roles_file, shards_file, stream_receipt
from finedata.schema.documents import (
    FileDigest,
    canonical_json,
    decode_document,
    digest_of,
    encode_document,
)
from finedata.schema.publish import DOCUMENTS

SHA = "a" * 64


def file(path: str, sha: str = SHA) -> FileDigest:
    return FileDigest(path=path, bytes=3, sha256=sha)


def shard_set(name: str = "bridge_v2-main-rep-train", **more) -> shards_file.ShardSet:
    camera = shards_file.ShardCamera(
        name="image_0", member="image_0.jpg", codec="jpeg", height=224, width=224,
        untouched=0, encoded=250, psnr_db=38.5,
    )  # fmt: skip
    given = {
        "source": "bridge_v2",
        "part": "main",
        "tier": "rep",
        "side": "train",
        "embodiment": "widowx",
        "space": "ee",
        "fps": 5.0,
        "licences": ["CC-BY-4.0"],
        "members": ["image_0.jpg", "state.npy", "action.npy", "meta.json"],
        "cameras": [camera],
        "features": [shards_file.ShardFeature(name="action", width=1, names=["right_gripper"])],
        "episodes": 5,
        "frames": 250,
        "samples": 250,
        "tars": [
            shards_file.Shard(
                name="train-000000.tar", bytes=10, sha256="b" * 64, samples=250, index_sha256=SHA
            )
        ],
        "episodes_file": file(f"episodes/{name}.arrow", "c" * 64),
        "frames_file": file(f"frames/{name}.arrow", "d" * 64),
    }
    return shards_file.ShardSet(name=name, **(given | more))


def shards(*sets, **more) -> shards_file.ShardsFile:
    sets = sets or (shard_set(),)
    options = shards_file.ShardOptions(
        cameras=[], height=224, width=224, quality=90, shard_bytes=1 << 28, horizon=16, every=1,
        thin=False, where="", held_out="1/20", held_out_ids_sha256="",
        held_out_by="episode", text_policy="not_contradicted", with_failed=False, bake=[], seed=0,
    )  # fmt: skip
    numbers = {"mean": [0.5], "std": [0.1], "min": [0.0], "max": [1.0], "q01": [0.0], "q99": [None]}
    statistics = shards_file.Statistics(
        embodiment="widowx", space="ee", feature="action", names=["right_gripper"], count=[250],
        **numbers,
    )  # fmt: skip
    files = [file("bridge_v2-main-rep-train/episodes.arrow")]
    digest = shards_file.text_revision(files)
    view = shards_file.ViewCounts(
        view="fg", side="train", policy="not_contradicted", sets=[sets[0].name], episodes=5,
        samples=250,
    )  # fmt: skip
    text = shards_file.TextRevision(
        revision=digest[:16], sha256=digest, files=files, runs=["0" * 16],
        rows={"text_facts": 9}, left_out={"facts: contradicted": 1}, views=[view],
        sets=[shards_file.TextSet(name=sets[0].name, not_contradicted=[250], reviewed=[0])],
    )  # fmt: skip
    lineage = shards_file.Lineage(
        sources=["bridge_v2"], finedata_version="0", converters_sha256=[SHA], options_sha256=[SHA],
        receipts_sha256=SHA, gate_settings_sha256="", clusters_settings_sha256="",
        representatives_settings_sha256="",
    )  # fmt: skip
    given = {
        "identity": shards_file.shards_identity(sets, order="step", sample="step"),
        "finedata_version": "0",
        "libraries": {"simplejpeg": "1.8"},
        "order": "step",
        "sample": "step",
        "options": options,
        "sets": list(sets),
        "left_out": {"failed": 2},
        "statistics": [statistics],
        "texts": [text],
        "lineage": [lineage],
    }
    return shards_file.ShardsFile(**(given | more))


MIX = [
    stream_receipt.Asked(
        view=view, weight=weight, policy=policy,
        sources=[
            stream_receipt.AskedSource(source="bridge_v2", sets=["a"], weight="1/1", samples=250)
        ],
    )
    for view, weight, policy in (("fg", "1/3", "reviewed"), ("raw", "2/3", None))
]  # fmt: skip


def receipt(**more) -> stream_receipt.StreamReceipt:
    sequence = stream_receipt.sequence_digest(shards=SHA, mix=MIX, seed=7, group=4)
    words, numbers = {"fg": "fine_grained"}, {"horizon": "16"}
    content = stream_receipt.content_digest(roles=SHA, text="", words=words, numbers=numbers)
    bad = stream_receipt.BadSample(
        n=3, view="raw", episode_id="e", frame_index=0, tar="t", reason="crc",
        replaced_by_episode_id=None, replaced_by_frame_index=None,
    )  # fmt: skip
    given = {
        "finedata_version": "0", "sequence": sequence, "content": content, "shards": SHA,
        "roles": SHA, "text": "", "seed": 7, "group": 4, "mix": MIX, "words": words,
        "numbers": numbers, "first": 0, "stop": 9, "bad": [bad],
        "drawn": [
            stream_receipt.Drawn(view="fg", source="bridge_v2", text="", epoch=0, samples=3)
        ],
        "chain": [stream_receipt.Link(n=9, sha256=SHA)],
    }  # fmt: skip
    return stream_receipt.StreamReceipt(**(given | more))


JUDGE = bench.Speaker(teacher="openai", model="j", settings={"temperature": "0.0"}, prompts={})
BENCHMARK = bench.Benchmark(
    name="robofine", revision="r", samples_sha256=SHA, items_sha256=SHA, samples=500, items=11_631
)


NOISE = bench.Noise(
    of="judge", metric="overall", mode="strict", within_sd=0.1, between_sd=0.2, trials=3, videos=50
)
CUT = bench.BenchFile(
    finedata_version="0", name="b", samples_sha256=SHA, items_sha256=SHA, samples=2, items=9,
    seed=0, annotators=["human/anna"], heldout_sha256=SHA, notes=[],
)  # fmt: skip


def summary(**more) -> bench.BenchSummary:
    usage = bench.Usage(calls=1, retries=0, input_tokens=None, output_tokens=None, cost_usd=None)
    score = bench.Score(
        metric="overall", mode="strict", average="macro", by="all", group="", value=0.5, low=0.4,
        high=0.6, level=0.95, method="cluster_t", items=22, clusters=2, unrankable=True,
    )  # fmt: skip
    asked = bench.asked_digest(BENCHMARK, track="caption", setting="hard", judge=JUDGE)
    given = {
        "finedata_version": "0", "libraries": {}, "asked": asked, "benchmark": BENCHMARK,
        "track": "caption", "setting": "hard", "trials": 1, "seed": 0, "answerer": JUDGE,
        "judge": JUDGE, "statuses": {"ok": 1}, "judge_statuses": {}, "scores": [score],
        "noise": [NOISE], "notes": ["one video is broken"], "usage": usage, "judge_usage": usage,
    }  # fmt: skip
    return bench.BenchSummary(**(given | more))


CODECS = codecs_file.CodecsFile(
    horizon=16, stride=1, history=0,
    codecs=(
        codecs_file.VectorCodec(
            source="s", part="p", embodiment="e", role="action", kind="action",
            names=("right_gripper",), given_names=("right_gripper",), filled=(True,),
            action="absolute", rotation="6d", normalise="min-max", centre=(0.5,), half=(0.5,),
        ),
    ),
)  # fmt: skip

MADE = {
    "shards": shards(),
    "stream-receipt": receipt(),
    "stream-state": stream_receipt.StreamState(n=2**40, sequence=SHA, content=SHA),
    "vector-codecs": CODECS,
    "bench-summary": summary(),
    "bench": CUT,
}
HEADED = ("vector-codecs", "shards", "stream-receipt", "bench-summary", "bench")

ROLES = """
version = 1
cameras = ["main", "left_wrist"]

[vectors.state]
names = ["right_x", "left_x"]

[[parts]]
source = "bridge_v2"
part = "main"
cameras = { main = "image_0" }
vectors.state = { right_x = "observation.state:right_x" }
"""


def published(name: str):
    return json.loads((paper_room("schemas") / "v1" / f"{name}.schema.json").read_text())


@pytest.mark.parametrize("name", MADE)
def test_a_document_reads_back_and_keeps_its_published_schema(name):
    document = MADE[name]
    text = encode_document(document)
    assert msgspec.json.decode(text, type=DOCUMENTS[name][0]) == document
    jsonschema.validate(json.loads(text), published(name))
    assert text.endswith(b"}\n")


@pytest.mark.parametrize("name", HEADED)
def test_a_document_of_another_kind_or_version_is_told_apart_from_a_damaged_one(name):
    kind, text = DOCUMENTS[name][0], encode_document(MADE[name])
    assert decode_document(text, kind, place="here") == MADE[name]
    tree = json.loads(text)
    for change, words in (
        ({"finedata.version": 2}, "version 2"),
        ({"finedata.schema": "other"}, "document 'other'"),
        ({"colour": 1}, "colour"),
        ({"finedata.version": "1"}, "Expected `int`"),
    ):
        with pytest.raises(ConformError) as error:
            decode_document(json.dumps(tree | change), kind, place="here")
        assert error.value.place == "here"
        assert words in error.value.found
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(tree | change, published(name))
    del tree["finedata.schema"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tree, published(name))
    for damaged in (text[:-9], b"", b"[]", b"\xff{}", json.dumps(tree)):
        with pytest.raises(ConformError):
            decode_document(damaged, kind, place="here")


def test_a_newer_document_says_how_to_read_it():
    tree = json.loads(encode_document(MADE["shards"])) | {"finedata.version": 2}
    with pytest.raises(ConformError) as error:
        shards_file.decode_shards(json.dumps(tree), place="shards.json")
    assert error.value.next_command == "pip install --upgrade finedata"


def test_canonical_json_is_what_another_program_writes():
    value = {"b": [1, None, True, {"z": "ä\n"}], "a": "é", "": -5}
    plain = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert canonical_json(value) == plain.encode()
    assert digest_of(value) == sha256(plain.encode()).hexdigest()
    with pytest.raises(ConformError, match=r"\$\.a\[1\]"):
        canonical_json({"a": ["x", 0.5]})
    with pytest.raises(ConformError, match=r"\$\[0\]"):
        canonical_json((0.5,))


def test_the_identity_of_shards_is_that_of_the_specification():
    first, second = shard_set("a-rest"), shard_set("b-rep")
    preimage = {
        "finedata.schema": "shards",
        "finedata.version": 1,
        "order": "step",
        "sample": "step",
        "sets": [
            {
                "name": one.name,
                "members": one.members,
                "tars": [["train-000000.tar", "b" * 64]],
                "episodes": "c" * 64,
                "frames": "d" * 64,
            }
            for one in (first, second)
        ],
    }
    text = json.dumps(preimage, sort_keys=True, separators=(",", ":"))
    wanted = sha256(text.encode()).hexdigest()
    for sets in ((first, second), (second, first)):
        assert shards_file.shards_identity(sets, order="step", sample="step") == wanted


def test_words_and_options_do_not_enter_the_identity_and_bytes_do():
    own = shards().identity
    assert shards(texts=[]).identity == own
    assert shards(shard_set(licences=[], fps=6.0)).identity == own
    others = (
        shard_set(name="other"),
        shard_set(members=["meta.json"]),
        shard_set(tars=[]),
        shard_set(frames_file=file("frames/x", "e" * 64)),
        shard_set(episodes_file=file("episodes/x", "e" * 64)),
    )
    changed = {shards_file.shards_identity([one], order="step", sample="step") for one in others}
    changed |= {
        shards_file.shards_identity([shard_set()], order="episode", sample="step"),
        shards_file.shards_identity([shard_set()], order="step", sample="episode"),
    }
    assert len(changed | {own}) == 8


def test_a_text_revision_is_named_by_its_files_in_any_order():
    files = [file("b", "b" * 64), file("a")]
    wanted = json.dumps([["a", SHA], ["b", "b" * 64]], separators=(",", ":"))
    assert shards_file.text_revision(files) == sha256(wanted.encode()).hexdigest()
    assert shards_file.text_revision(files[::-1]) == shards_file.text_revision(files)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (shards(identity="0" * 64), "identity"),
        (shards(shard_set(), shard_set()), "two sets"),
        (shards(shard_set(members=["meta.json"])), "camera 'image_0'"),
    ],
)
def test_shards_that_contradict_themselves_are_refused(document, words):
    text = encode_document(document)
    assert shards_file.decode_shards(encode_document(shards()), place="p") == shards()
    with pytest.raises(ConformError, match=words):
        shards_file.decode_shards(text, place="p")


def test_roles_are_read_and_named_by_what_they_say():
    roles = roles_file.decode_roles(ROLES, place="roles.toml")
    assert roles.vectors["state"].fill == 0.0
    assert roles.parts[0].vectors["state"] == {"right_x": "observation.state:right_x"}
    jsonschema.validate(json.loads(msgspec.json.encode(roles)), published("roles"))
    preimage = {
        "version": 1,
        "cameras": ["main", "left_wrist"],
        "vectors": {"state": {"names": ["right_x", "left_x"], "fill": "0.0"}},
        "parts": [
            {
                "source": "bridge_v2",
                "part": "main",
                "cameras": {"main": "image_0"},
                "vectors": {"state": {"right_x": "observation.state:right_x"}},
            }
        ],
    }
    text = json.dumps(preimage, sort_keys=True, separators=(",", ":"))
    assert roles_file.roles_digest(roles) == sha256(text.encode()).hexdigest()
    commented = roles_file.decode_roles(f"# mine\n{ROLES}", place="roles.toml")
    assert roles_file.roles_digest(commented) == roles_file.roles_digest(roles)
    other = roles_file.decode_roles(ROLES.replace("image_0", "image_1"), place="roles.toml")
    assert roles_file.roles_digest(other) != roles_file.roles_digest(roles)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("version = 1", "version = 2", "version"),
        ("version = 1", "version =", "nvalid"),
        ('"left_wrist"]', '"main"]', "two cameras 'main'"),
        ('"left_x"]', '"right_x"]', "two numbers 'right_x'"),
        ("{ main =", "{ top =", "camera role 'top'"),
        ("{ right_x =", "{ middle_x =", "'middle_x' of vector 'state'"),
        ("vectors.state = {", "vectors.pose = {", "vector role 'pose'"),
        ("observation.state:right_x", "observation.state", "not `<feature>:<name>`"),
        ("part =", "piece =", "piece"),
        ("[[parts]]", '[[parts]]\nsource = "bridge_v2"\npart = "main"\n[[parts]]', "two entries"),
    ],
)
def test_roles_that_make_no_sense_are_refused(old, new, words):
    assert old in ROLES
    with pytest.raises(SpecError) as error:
        roles_file.decode_roles(ROLES.replace(old, new, 1), place="roles.toml")
    assert words in error.value.found


def test_the_chain_is_that_of_the_specification():
    samples = [(0, "fg", "bridge_v2-1", 5), (1, "raw", "é-2", 0)]
    text = "0" * 64 + "\n0 fg bridge_v2-1 5\n1 raw é-2 0\n"
    assert stream_receipt.CHAIN_START == "0" * 64
    link = stream_receipt.chain_link(stream_receipt.CHAIN_START, samples)
    assert link == sha256(text.encode()).hexdigest()


@given(st.integers(0, 30), st.integers(0, 29))
def test_the_chain_is_the_same_from_any_whole_link_on_and_sees_every_change(stop, changed):
    samples = [(n, "fg", f"e-{n % 7}", n % 3) for n in range(stop)]
    half = stop // 2
    first = stream_receipt.chain_link(stream_receipt.CHAIN_START, samples[:half])
    whole = stream_receipt.chain_link(first, samples[half:])
    assert whole == stream_receipt.chain_link(first, iter(samples[half:]))
    if half <= changed < stop:
        other = [*samples[half:]]
        n, view, episode, frame = other[changed - half]
        other[changed - half] = (n, view, episode, frame + 1)
        assert stream_receipt.chain_link(first, other) != whole


def test_what_is_drawn_and_what_is_shown_have_digests_of_their_own():
    own = {"shards": SHA, "mix": MIX, "seed": 7, "group": 4}
    named = stream_receipt.sequence_digest(**own)
    preimage = {"finedata.schema": "stream-sequence", "finedata.version": 1}
    preimage |= own | {"mix": msgspec.to_builtins(MIX)}
    text = json.dumps(preimage, sort_keys=True, separators=(",", ":"))
    assert named == sha256(text.encode()).hexdigest()
    for change in ({"seed": 8}, {"group": 5}, {"mix": MIX[:1]}, {"shards": "b" * 64}):
        assert stream_receipt.sequence_digest(**(own | change)) != named
    shown = {"roles": SHA, "text": "", "words": {"fg": "a"}, "numbers": {"horizon": "16"}}
    preimage = {"finedata.schema": "stream-content", "finedata.version": 1} | shown
    text = json.dumps(preimage, sort_keys=True, separators=(",", ":"))
    assert stream_receipt.content_digest(**shown) == sha256(text.encode()).hexdigest()


def test_a_state_is_less_than_300_bytes():
    assert len(msgspec.json.encode(MADE["stream-state"])) < 300


@pytest.mark.parametrize("weight", ["0.5", "1/0", "-1/2", "1"])
def test_weights_are_exact_fractions(weight):
    tree = json.loads(encode_document(MADE["stream-receipt"]))
    tree["mix"][0]["weight"] = weight
    with pytest.raises(ConformError, match="weight"):
        decode_document(json.dumps(tree), stream_receipt.StreamReceipt, place="p")


def test_results_are_compared_by_what_was_asked_and_who_judged():
    own = {"track": "caption", "setting": "hard", "judge": JUDGE}
    named = bench.asked_digest(BENCHMARK, **own)
    preimage = {
        "finedata.schema": "bench-asked",
        "finedata.version": 1,
        "samples_sha256": SHA,
        "items_sha256": SHA,
        **own,
        "judge": msgspec.to_builtins(JUDGE),
    }
    text = json.dumps(preimage, sort_keys=True, separators=(",", ":"))
    assert named == sha256(text.encode()).hexdigest()
    renamed = msgspec.structs.replace(BENCHMARK, name="mine")
    assert bench.asked_digest(renamed, **own) == named
    other = msgspec.structs.replace(JUDGE, model="k")
    assert bench.asked_digest(BENCHMARK, **(own | {"judge": other})) != named


def test_items_are_named_by_sample_track_and_name():
    wanted = sha256(b'["a#b","vqa","q1"]').hexdigest()[:16]
    assert bench.item_id("a#b", track="vqa", name="q1") == wanted
    assert bench.item_id("a", track="vqa", name="b#q1") != wanted


def test_the_examples_hold():
    assert doctest.testmod(documents).failed == 0
