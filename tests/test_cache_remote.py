"""Stores behind an address: in this process's memory, and on an S3 server on loopback, where moto and s3fs are here."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import zarr
from stores import CLOCKS, PROVENANCE, RECIPE, T, key_of, put, record, same, some_track

from cache import remote_store
from cache.audit import repair, verify
from cache.catalogue import Catalogue
from cache.clock import Clock
from cache.key import SHORT, TrackKey, folder_name
from cache.remote_rows import Span
from cache.remote_store import RemoteStore
from cache.store import VERSION, StoreError, open_store
from cache.zarr_array import Rows

ROOT = Path(__file__).parent.parent
NO_S3 = [name for name in ("s3fs", "moto", "flask") if importlib.util.find_spec(name) is None]
KEYS = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing", "AWS_DEFAULT_REGION": "us-east-1"}


class Server:
    """An S3 server in a process of its own, and how many requests it has answered."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, ROOT / "tests" / "faults" / "s3_server.py"], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.endpoint = f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def requests(self) -> int:
        """Since the last time it was asked."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def end(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    if NO_S3:
        pytest.skip(f"no S3 server here: {', '.join(NO_S3)} not installed")
    server = Server()
    settings = {**KEYS, "FSSPEC_S3_ENDPOINT_URL": server.endpoint, "AWS_EC2_METADATA_DISABLED": "true"}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    fsspec.config.set_conf_env(fsspec.config.conf)  # fsspec reads it when it is imported: users set it before
    fsspec.filesystem("s3").mkdir("bucket")
    yield server
    fsspec.config.conf.pop("s3", None)
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
    server.end()


@pytest.fixture(params=["memory", "s3"])
def address(request: pytest.FixtureRequest) -> str:
    """Where a store is to be made."""
    if request.param == "s3":
        request.getfixturevalue("server")
        return f"s3://bucket/{uuid.uuid4().hex}/x.zarr"
    return f"memory://{uuid.uuid4().hex}/x.zarr"


@pytest.fixture
def memory() -> str:
    return f"memory://{uuid.uuid4().hex}/x.zarr"


def objects(address: str) -> dict[str, bytes]:
    """Every object below an address."""
    files, root = fsspec.core.url_to_fs(address, use_listings_cache=False)
    return {path.removeprefix(root).lstrip("/"): files.cat_file(path) for path in files.find(root)}


def overwrite(address: str, name: str, content: bytes | None) -> None:
    """Put other bytes in the place of an object, or take it away."""
    files, root = fsspec.core.url_to_fs(address, use_listings_cache=False)
    if content is None:
        files.rm_file(f"{root}/{name}")
    else:
        files.pipe_file(f"{root}/{name}", content)


def folder_of(key: TrackKey) -> str:
    return f"tracks/{key.recipe[:SHORT]}/{folder_name(key.clip)}.{key.source[:SHORT]}"


# ------------------------------------------------------------------------------------------------ the contract


@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS)
def test_a_track_comes_back_whole_and_in_parts(address: str, clock: Clock) -> None:
    key, track = key_of("Clip/1"), some_track(clock, width=701)  # more than one block of a megabyte
    store = open_store(address, writable=True)
    assert not store.has(key)
    assert put(store, key, track)
    again = open_store(address)
    assert again.location == address
    assert again.has(key)
    same(again.read(key), track)
    for start, stop in ((0, 1), (2, 1031), (747, 749), (T, T), (5, 5), (0, T)):
        same(again.read(key, slice(start, stop)), track.rows(start, stop))
    same(again.read(key, slice(-3, None)), track.rows(T - 3, T))
    same(again.read(key, slice(7, 3)), track.rows(7, 7))
    assert again.shape(key) == (T, 701)
    assert again.provenance(key) == PROVENANCE
    assert again.recipes() == {key.recipe: RECIPE}
    assert list(again.recipe_keys(key.recipe)) == [key]
    assert again.faults(key) == again.stray() == []
    assert track.values.nbytes < again.size_bytes(key) < track.values.nbytes + 9 * T + 10_000
    with pytest.raises(ValueError, match=r"rows have the step 2; wanted a range of rows \[start, stop\)"):
        again.read(key, slice(0, 10, 2))


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_short_tracks_come_back(address: str, rows: int) -> None:
    for name, clock in (
        ("a", Clock.explicit(3 * np.arange(rows), Fraction(1, 75))),
        ("b", Clock.regular(Fraction(1, 25), rows)),
    ):
        track = some_track(clock, width=1)
        put(open_store(address, writable=True), key_of(name), track)
        same(open_store(address).read(key_of(name)), track)
        assert open_store(address).faults(key_of(name)) == []


def test_a_second_write_of_the_same_key_changes_nothing(address: str) -> None:
    assert put(open_store(address, writable=True), key_of(), some_track(seed=5))
    before = objects(address)
    assert not put(open_store(address, writable=True), key_of(), some_track(seed=6))
    assert objects(address) == before
    with pytest.raises(StoreError, match="recipe given for clip clip has another digest than its key says"):
        open_store(address, writable=True).write(key_of(), some_track(), recipe={}, provenance={})


def test_what_is_not_there_is_said_so(address: str) -> None:
    store = open_store(address, writable=True)
    for asked in (store.read, store.shape, store.size_bytes, store.provenance):
        with pytest.raises(StoreError, match=f"no track of clip clip for recipe {key_of().recipe[:SHORT]}"):
            asked(key_of())
    assert store.faults(key_of()) == store.record_faults("clip", 1) == ["it is not there"]
    assert not store.drop(key_of())
    assert not store.drop_record("clip", 1)
    with pytest.raises(StoreError, match="is not there; the store was changed meanwhile, or never had it"):
        store.read_record("clip", 1)
    assert store.recipes() == {}
    assert store.clips() == store.generations("clip") == list(store.recipe_keys(key_of().recipe)) == []


def test_records_come_back_with_and_without_labels(address: str) -> None:
    store = open_store(address, writable=True)
    labels = some_track(CLOCKS["variable"], "float32", width=2)
    assert store.write_record("Clip/1", 1, {"split": "train", "notes": ["é"]}, labels)
    assert store.write_record("Clip/1", 2, {"split": "test"}, None)
    assert not store.write_record("Clip/1", 2, {"split": "late"}, labels)
    assert store.write_record("another", 1, {}, None)
    again = open_store(address)
    for _ in range(2):  # ahead, then each by itself
        assert again.generations("Clip/1") == [1, 2]
        attributes, back = again.read_record("Clip/1", 1)
        assert (attributes["split"], attributes["notes"]) == ("train", ["é"])
        same(back, labels)
        attributes, back = again.read_record("Clip/1", 2)
        assert (attributes["split"], back) == ("test", None)
        assert again.clips() == ["Clip/1", "another"]
    assert again.record_faults("Clip/1", 1) == again.record_faults("Clip/1", 2) == again.stray() == []
    assert store.drop_record("Clip/1", 2)
    assert (open_store(address).generations("Clip/1"), again.record_faults("Clip/1", 2)) == ([1], ["it is not there"])


def test_a_dropped_track_is_gone_at_once_and_can_be_written_again(address: str) -> None:
    store, reader = open_store(address, writable=True), open_store(address)
    put(store, key_of("a"), some_track(seed=1))
    put(store, key_of("b"), some_track(seed=2))
    assert store.drop(key_of("a"))
    assert not store.drop(key_of("a"))
    assert not reader.has(key_of("a"))
    assert list(reader.recipe_keys(key_of().recipe)) == [key_of("b")]
    assert reader.stray() == []
    assert not [name for name in objects(address) if name.startswith(folder_of(key_of("a")))]
    assert put(store, key_of("a"), some_track(seed=3))
    same(reader.read(key_of("a")), some_track(seed=3))


def test_the_catalogue_and_verify_work_on_it(address: str) -> None:
    store = open_store(address, writable=True)
    for clip in ("a", "B/b", "c"):
        put(store, key_of(clip), some_track(Clock.regular(Fraction(1, 25), 11)))
        for subject in ("s1", "s2"):
            assert Catalogue(store).update(record(clip=clip, source=key_of(clip).source, subject=subject))
    catalogue = Catalogue(open_store(address))
    assert {found.clip: (found.generation, found.subject) for found in catalogue} == dict.fromkeys(
        ("a", "B/b", "c"), (2, "s2")
    )
    audit = verify(open_store(address))
    assert (audit.sound, audit.tracks, audit.records, audit.orphans) == (True, 3, 6, ())


def test_plain_zarr_opens_it(address: str) -> None:
    track = some_track(CLOCKS["variable"])
    put(open_store(address, writable=True), key_of(), track)
    store = zarr.storage.FsspecStore.from_url(address, read_only=True)
    group = zarr.open_group(store=store, mode="r", zarr_format=3)
    assert dict(group.attrs) == {"format": "duet-store-of-objects", "version": VERSION}
    told = group[folder_of(key_of())]
    assert (told.attrs["clip"], told.attrs["provenance"]) == ("clip", PROVENANCE)
    attempt = told[told.attrs["attempt"]]
    np.testing.assert_array_equal(attempt["values"][:], track.values)
    np.testing.assert_array_equal(attempt["valid"][:], track.valid)
    np.testing.assert_array_equal(attempt["tick"][:], track.clock.ticks)
    assert attempt["values"].metadata.dimension_names == ("time", "feature")
    store.close()


# ------------------------------------------------------------------------------------------------ at once


def at_once(*tasks: Callable[[], Any]) -> list[Any]:
    """What each task answers, all begun at the same moment, each in a thread of its own."""
    start, answers = threading.Barrier(len(tasks)), [None] * len(tasks)

    def run(place: int) -> None:
        start.wait()
        answers[place] = tasks[place]()

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(tasks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_of_writers_of_one_track_one_wins_and_nothing_is_mixed(address: str) -> None:
    tracks = [some_track(CLOCKS["variable"], seed=seed) for seed in range(5)]
    stores = [open_store(address, writable=True) for _ in tracks]
    for number in range(3):
        key = key_of(f"clip-{number}")
        won = at_once(
            *(lambda s=store, t=track, k=key: put(s, k, t) for store, track in zip(stores, tracks, strict=True))
        )
        assert sorted(won) == [False, False, False, False, True]
        same(open_store(address).read(key), tracks[won.index(True)])
        assert open_store(address).faults(key) == []
    attempts = {name.split("/")[3] for name in objects(address) if name.count("/") >= 4}
    assert len(attempts) == 3, "who lost has taken its objects away"


def test_of_writers_of_one_generation_one_wins_and_the_others_build_on_it(address: str) -> None:
    stores = [open_store(address, writable=True) for _ in range(5)]
    won = at_once(*(lambda s=store, n=n: s.write_record("clip", 1, {"n": n}, None) for n, store in enumerate(stores)))
    assert sorted(won) == [False, False, False, False, True]
    assert open_store(address).read_record("clip", 1)[0]["n"] == won.index(True)
    assert stores[0].drop_record("clip", 1)  # it says too little for a catalogue
    features = [f"feature{number}" for number in range(5)]
    at_once(
        *(
            lambda s=store, f=feature: Catalogue(s).update(record(clip="B", tracks={f: key_of().recipe}))
            for store, feature in zip(stores, features, strict=True)
        )
    )
    again = open_store(address)
    assert again.generations("B") == [1, 2, 3, 4, 5]
    assert sorted(again.read_record("B", 5)[0]["tracks"]) == features


def test_an_answer_that_was_lost_and_asked_for_again_is_no_defeat(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(memory, writable=True)
    files = fsspec.filesystem("memory")
    pipe_file = type(files).pipe_file

    def twice(self: Any, path: str, value: bytes, mode: str = "overwrite") -> None:
        pipe_file(self, path, value, mode=mode)
        if mode == "create":
            pipe_file(self, path, value, mode=mode)  # as a client does that heard nothing

    monkeypatch.setattr(type(files), "pipe_file", twice)
    assert put(store, key_of(), some_track())
    same(open_store(memory).read(key_of()), some_track())


def test_a_file_system_without_conditional_puts_is_named_and_works_for_one_writer(
    memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_store, "_CONDITIONAL", set())
    with pytest.warns(UserWarning, match=r"memory:// has no conditional put: write to memory://.* from one process"):
        store = open_store(memory, writable=True)
    assert put(store, key_of(), some_track())
    assert not put(store, key_of(), some_track(seed=2))
    same(open_store(memory).read(key_of()), some_track())


# ------------------------------------------------------------------------------------------------ stopped, damaged


class Stopped(Exception):
    """What stops a write at a chosen object."""


def fill(address: str) -> None:
    store = open_store(address, writable=True)
    put(store, key_of(), some_track(CLOCKS["variable"]))
    Catalogue(store).update(record())


@pytest.mark.parametrize("stop_at", range(1, 20))
def test_stopped_at_any_object_the_store_is_readable_and_the_next_run_goes_on(
    memory: str, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    files = type(fsspec.filesystem("memory"))
    pipe_file, put_so_far = files.pipe_file, 0

    def counted(self: Any, path: str, value: bytes, mode: str = "overwrite") -> None:
        nonlocal put_so_far
        put_so_far += 1
        if put_so_far == stop_at:
            raise Stopped
        pipe_file(self, path, value, mode=mode)

    with monkeypatch.context() as patch:
        patch.setattr(files, "pipe_file", counted)
        try:
            fill(memory)
        except (Stopped, StoreError):
            assert put_so_far == stop_at
        else:
            assert put_so_far < stop_at
    if stop_at > 1:
        store = open_store(memory)
        assert verify(store).faults == ()
        for found in Catalogue(store):
            same(store.read(found.key("voice")), some_track(CLOCKS["variable"]))
    fill(memory)
    assert verify(open_store(memory)).sound
    assert len(Catalogue(open_store(memory))) == 1
    monkeypatch.setattr(remote_store, "QUIET_SECONDS", 0.0)
    store = open_store(memory, writable=True)
    for name in store.stray():
        store.drop_stray(name)
    assert store.stray() == []
    assert verify(store).sound
    attempts = {name.split("/")[3] for name in objects(memory) if name.count("/") >= 4}
    assert len(attempts) == 2, "what the stopped run had left is gone"


def test_an_attempt_is_stray_only_when_nobody_can_be_at_work_on_it(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(address, writable=True)
    put(store, key_of(), some_track())
    left = f"{folder_of(key_of('other'))}/0123"
    overwrite(address, f"{left}/values/c.0.0", b"half")
    overwrite(address, "thesis.txt", b"years of work")
    assert store.stray() == ["thesis.txt"]
    with pytest.raises(StoreError, match=r"'tracks/.*/0123' is nothing stray in .*; only what `stray` names"):
        store.drop_stray(left)
    monkeypatch.setattr(remote_store, "QUIET_SECONDS", 0.0)
    assert store.stray() == ["thesis.txt", left]
    assert not store.has(key_of("other"))
    for name in store.stray():
        store.drop_stray(name)
    assert store.stray() == []
    same(store.read(key_of()), some_track())


@pytest.mark.parametrize("harm", ["flipped", "cut", "gone"])
def test_damaged_numbers_are_found_and_what_is_dropped_can_be_written_again(address: str, harm: str) -> None:
    key, store = key_of(), open_store(address, writable=True)
    put(store, key, some_track())
    (name,) = (name for name in objects(address) if name.endswith("values/c.0.0"))
    content = bytearray(objects(address)[name])
    content[101] ^= 1
    overwrite(address, name, {"flipped": bytes(content), "cut": bytes(content[:-7]), "gone": None}[harm])
    with pytest.raises(StoreError, match=r"is damaged \(.*run `duet cache verify --repair`, and extract again"):
        open_store(address).read(key)
    (fault,) = open_store(address).faults(key)
    assert "values/c.0.0 is" in fault
    repair(store, verify(store))
    assert not store.has(key)
    assert put(store, key, some_track())
    same(open_store(address).read(key), some_track())


def test_a_damaged_completion_record_is_stray_and_of_a_record_a_fault(address: str) -> None:
    store = open_store(address, writable=True)
    put(store, key_of(), some_track())
    store.write_record("clip", 1, {"split": "train"}, some_track(width=2, dtype="float32"))
    for name in (f"{folder_of(key_of())}/zarr.json", "catalogue/clip/000001/zarr.json"):
        content = objects(address)[name]
        overwrite(address, name, content.replace(b'"clip": "clip"', b'"clip": "clap"'))
    again = open_store(address, writable=True)
    assert list(again.recipe_keys(key_of().recipe)) == []
    assert again.stray() == [folder_of(key_of())]
    with pytest.raises(StoreError, match=r"is damaged .*the digest of its attributes is wrong"):
        again.read(key_of())
    (fault,) = again.record_faults("clip", 1)
    assert "the digest of its attributes is wrong" in fault
    overwrite(address, "catalogue/clip/000001/zarr.json", b"")
    (fault,) = again.record_faults("clip", 1)
    assert "zarr.json can't be read" in fault
    repair(again, verify(again))
    assert (again.stray(), again.generations("clip")) == ([], [])
    assert put(again, key_of(), some_track())


# ------------------------------------------------------------------------------------------------ costs


def test_a_part_costs_the_bytes_of_its_blocks(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    track = some_track(Clock.regular(Fraction(1, 25), 8209), "float32", width=257)
    put(open_store(memory, writable=True), key_of(), track)
    store, fetched = open_store(memory), 0
    assert isinstance(store, RemoteStore)
    fetch = RemoteStore._fetch

    def counted(self: RemoteStore, parts: Any) -> Any:
        nonlocal fetched
        contents = fetch(self, parts)
        fetched += sum(len(content) for content in contents if isinstance(content, bytes))
        return contents

    monkeypatch.setattr(RemoteStore, "_fetch", counted)
    same(store.read(key_of(), slice(4000, 4001)), track.rows(4000, 4001))
    assert fetched <= 2**20 + 8209 + 4, "one block of a megabyte, and the marks"


def test_a_catalogue_over_s3_is_few_round_trips(server: Server) -> None:
    address = f"s3://bucket/{uuid.uuid4().hex}/x.zarr"
    store = open_store(address, writable=True)
    clips = 23
    for number in range(clips):
        store.write_record(f"clip-{number}", 1, record().content(), record().labels)
    again = open_store(address)
    server.requests()
    assert len(Catalogue(again)) == clips
    # One listing, then a record, and values and marks of the labels of each clip: these at once, in two rounds.
    assert server.requests() <= 1 + 3 * clips
    assert again.generations("clip-1") == [1]


def test_rows_of_a_span_are_checked(tmp_path: Path) -> None:
    array = np.arange(35, dtype="float32").reshape(7, 5)
    from cache.zarr_array import write_array

    rows = write_array(tmp_path / "values", array, ("time", "feature"))
    content = (tmp_path / "values" / rows.file).read_bytes()
    np.testing.assert_array_equal(Span("values", rows, 2, 5).take(content), array[2:5])
    with pytest.raises(ValueError, match=r"bytes \[0, 144\) of values came as 143 bytes; the object is short"):
        Span("values", rows, 2, 5).take(content[:-1])
    with pytest.raises(ValueError, match="the checksum at the end of values is wrong"):
        Span("values", rows, 2, 5).take(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match="the checksum of block 0 of values is wrong"):
        Span("values", rows, 2, 5).take(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(ValueError, match=r"rows \[3, 9\) are not within the 7 of values"):
        Span("values", rows, 3, 9)
    assert Rows.from_attributes(json.loads(json.dumps(rows.attributes()))) == rows


# ------------------------------------------------------------------------------------------------ refusals


def test_an_address_of_the_disk_is_the_store_of_disks(tmp_path: Path) -> None:
    for name in ("x.zarr", "x.h5"):
        if name == "x.zarr":
            put(open_store(f"file://{tmp_path}/{name}", writable=True), key_of(), some_track())
            same(open_store(tmp_path / name).read(key_of()), some_track())


def test_what_can_t_be_opened_says_what_to_do(memory: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no store at memory://.*; make one with `duet extract`"):
        open_store(memory)
    with pytest.raises(StoreError, match=r"x\.h5 is an address; wanted one that ends in \.zarr"):
        open_store("memory://deep/x.h5")
    with pytest.raises(StoreError, match=r"an address that can't be used: Protocol not known: nowhere"):
        open_store("nowhere://deep/x.zarr")
    overwrite(memory, "thesis.txt", b"years of work")
    with pytest.raises(StoreError, match="has other things in it; name a new address"):
        open_store(memory, writable=True)
    overwrite(memory, "zarr.json", json.dumps({"attributes": {"format": "duet-store", "version": 2}}).encode())
    with pytest.raises(StoreError, match=r"no Duet store of objects \(format: 'duet-store'\).*`duet cache import`"):
        open_store(memory, writable=True)
    newer = {"attributes": {"format": "duet-store-of-objects", "version": VERSION + 1}}
    overwrite(memory, "zarr.json", json.dumps(newer).encode())
    with pytest.raises(StoreError, match=f"store of version {VERSION + 1}, this Duet reads up to {VERSION}; update"):
        open_store(memory)
    overwrite(memory, "zarr.json", b"{")
    with pytest.raises(StoreError, match=r"zarr\.json is damaged .*restore it from a copy"):
        open_store(memory)


def test_a_file_system_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any, **__: Any) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(StoreError, match=r"needs s3fs \(Install s3fs to access S3\); pip install s3fs"):
        open_store("s3://bucket/x.zarr")


def test_a_bucket_that_is_not_there_is_said_so(server: Server) -> None:
    del server
    with pytest.raises(StoreError, match=r"s3://nobodys/x\.zarr can't be written .*make the bucket first"):
        open_store("s3://nobodys/x.zarr", writable=True)


# ------------------------------------------------------------------------------------------------ killed


@pytest.mark.slow
def test_writers_to_s3_killed_at_any_moment_lose_nothing(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from test_cache_faults import killed_often, report

    del server
    address = f"s3://bucket/{uuid.uuid4().hex}/x.zarr"
    found = killed_often(address, tmp_path, 20, wait_seconds=0.3)
    report(found, "s3", capsys)
    assert (found["lost"], found["wrong"]) == (0, 0)
    assert found["tracks written"] >= found["tracks told"] > 0
    monkeypatch.setattr(remote_store, "QUIET_SECONDS", 0.0)
    store = open_store(address, writable=True)
    left = store.stray()
    assert left, "somebody was killed in the middle of a track"
    for name in left:
        store.drop_stray(name)
    assert store.stray() == []
    assert verify(store).faults == ()
