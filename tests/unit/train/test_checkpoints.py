"""A checkpoint is read exactly as it was written, or not at all, whatever happened to it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beowulf.errors import CheckpointError, Fenced, TrainingError
from beowulf.train.checkpoints import Checkpoint, CheckpointStore, read_checkpoint
from beowulf.train.state import PackedState, pack
from tests.conftest import fill

RUN = {"samples": 1000, "global_batch": 64, "seed": 3}
PLACES = 200  # where each file is damaged, once per bit flip and once per cut


def checkpoint(step: int, size: int = 300) -> Checkpoint:
    """Return a checkpoint whose every number depends on its step."""
    rng = np.random.default_rng(step)
    state = pack(
        {
            "weights": {"hidden": rng.normal(size=size), "bias": rng.normal(size=7)},
            "rng": rng,
            "learning_rate": [0.1 / step, "cosine", None, step],
        }
    )
    return Checkpoint(step, RUN, state)


def is_intact(loaded: Checkpoint, original: Checkpoint) -> bool:
    return (
        (loaded.step, loaded.run, loaded.state.tree)
        == (original.step, original.run, json.loads(json.dumps(original.state.tree)))
        and len(loaded.state.arrays) == len(original.state.arrays)
        and all(
            np.array_equal(mine, other) and mine.dtype == other.dtype
            for mine, other in zip(loaded.state.arrays, original.state.arrays, strict=True)
        )
    )


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints")


def names(store: CheckpointStore) -> list[str]:
    return sorted(path.name for path in store.directory.iterdir())


# --- What is saved ------------------------------------------------------------------------


def test_a_checkpoint_comes_back_as_it_was(store: CheckpointStore) -> None:
    path = store.save(checkpoint(120))
    assert path == store.directory / "step-00000120"
    loaded = store.load()
    assert loaded.checkpoint is not None
    assert is_intact(loaded.checkpoint, checkpoint(120))
    assert loaded.rejected == []


def test_arrays_can_be_read_with_numpy_alone(store: CheckpointStore) -> None:
    path = store.save(checkpoint(5))
    with np.load(path / "arrays.npz", allow_pickle=False) as arrays:
        assert np.array_equal(arrays["0"], checkpoint(5).state.arrays[0])
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["body"]["step"] == 5
    assert manifest["body"]["run"] == RUN


def test_the_two_newest_are_kept(store: CheckpointStore) -> None:
    for step in (10, 20, 30, 40):
        store.save(checkpoint(step))
    assert names(store) == ["step-00000030", "step-00000040"]


def test_more_can_be_kept_but_not_fewer_than_two(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints", keep=3)
    for step in (10, 20, 30, 40):
        store.save(checkpoint(step))
    assert names(store) == ["step-00000020", "step-00000030", "step-00000040"]
    for keep in (1, 0, -1):
        with pytest.raises(CheckpointError, match=r"^keep: "):
            CheckpointStore(tmp_path, keep=keep)


def test_steps_are_ordered_as_numbers(store: CheckpointStore) -> None:
    for step in (99_999_999, 100_000_000):
        store.save(checkpoint(step))
    loaded = store.load()
    assert loaded.checkpoint is not None
    assert loaded.checkpoint.step == 100_000_000


def test_the_same_step_can_be_saved_again(store: CheckpointStore) -> None:
    store.save(checkpoint(10))
    store.save(Checkpoint(20, RUN, checkpoint(10).state))
    store.save(checkpoint(20))
    loaded = store.load()
    assert loaded.checkpoint is not None
    assert is_intact(loaded.checkpoint, checkpoint(20))
    assert names(store) == ["step-00000010", "step-00000020"]


def test_a_job_without_checkpoints(store: CheckpointStore) -> None:
    assert store.load().checkpoint is None
    store.directory.mkdir()
    (store.directory / "notes.txt").touch()
    assert store.load().checkpoint is None
    assert store.load().rejected == []


# --- Damage -------------------------------------------------------------------------------


def assert_right_or_older(store: CheckpointStore, file: str) -> bool:
    """Load; the newest must be whole, or named as damaged and replaced by the older one."""
    loaded = store.load()
    assert loaded.checkpoint is not None
    if loaded.checkpoint.step == 20:
        assert is_intact(loaded.checkpoint, checkpoint(20))
        assert loaded.rejected == []
        return True
    assert is_intact(loaded.checkpoint, checkpoint(10))
    ((name, why),) = loaded.rejected
    assert name == "step-00000020"
    assert file in why
    return False


@pytest.mark.parametrize("file", ["arrays.npz", "manifest.json"])
def test_a_flipped_bit_anywhere_is_found(store: CheckpointStore, file: str) -> None:
    store.save(checkpoint(10))
    path = store.save(checkpoint(20)) / file
    whole = path.read_bytes()
    rng = random.Random(f"flip {file}")
    taken = 0
    for _ in range(PLACES):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        taken += assert_right_or_older(store, file)
    # 1e-05 and 1E-05 are the same number: a flip that changes nothing may be overlooked.
    assert taken <= (0 if file == "arrays.npz" else PLACES // 20)


@pytest.mark.parametrize("file", ["arrays.npz", "manifest.json"])
def test_a_file_cut_off_anywhere_is_found(store: CheckpointStore, file: str) -> None:
    store.save(checkpoint(10))
    path = store.save(checkpoint(20)) / file
    whole = path.read_bytes()
    rng = random.Random(f"cut {file}")
    cuts = {0, 1, len(whole) - 2, *(rng.randrange(len(whole) - 1) for _ in range(PLACES))}
    for cut in cuts:
        path.write_bytes(whole[:cut])
        assert not assert_right_or_older(store, file)


@pytest.mark.parametrize("file", ["arrays.npz", "manifest.json"])
def test_a_missing_or_unreadable_file_is_found(store: CheckpointStore, file: str) -> None:
    store.save(checkpoint(10))
    path = store.save(checkpoint(20)) / file
    path.unlink()
    assert not assert_right_or_older(store, file)
    path.mkdir()
    assert not assert_right_or_older(store, file)


@pytest.mark.parametrize("content", ["null", "[]", "7", '"x"', "{}", '{"sha256": 1, "body": []}'])
def test_another_kind_of_manifest_is_refused(store: CheckpointStore, content: str) -> None:
    path = store.save(checkpoint(10))
    (path / "manifest.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"manifest\.json"):
        read_checkpoint(path)


def test_files_of_two_checkpoints_are_not_mixed(store: CheckpointStore) -> None:
    older, newer = store.save(checkpoint(10)), store.save(checkpoint(20))
    shutil.copy(older / "arrays.npz", newer / "arrays.npz")
    assert not assert_right_or_older(store, "arrays.npz")


def test_a_checkpoint_under_another_step_s_name_is_refused(store: CheckpointStore) -> None:
    store.save(checkpoint(10))
    shutil.copytree(store.directory / "step-00000010", store.directory / "step-00000020")
    assert not assert_right_or_older(store, "manifest.json belongs to step 10")


def test_when_all_are_damaged_there_is_none(store: CheckpointStore) -> None:
    for step in (10, 20):
        (store.save(checkpoint(step)) / "arrays.npz").write_bytes(b"")
    loaded = store.load()
    assert loaded.checkpoint is None
    assert [name for name, _ in loaded.rejected] == ["step-00000020", "step-00000010"]


# --- Interruptions ------------------------------------------------------------------------


@pytest.mark.parametrize("leftover", ["empty", "half", "whole"])
def test_what_a_killed_save_left_behind_is_not_believed(
    store: CheckpointStore, leftover: str
) -> None:
    store.save(checkpoint(10))
    staging = store.directory / ".step-00000020"
    if leftover == "whole":
        shutil.copytree(store.directory / "step-00000010", staging)
    else:
        staging.mkdir()
    if leftover == "half":
        (staging / "arrays.npz").write_bytes(b"PK\x03\x04")
        (staging / ".manifest.json.abc").write_bytes(b"{")
    loaded = store.load()
    assert loaded.checkpoint is not None
    assert (loaded.checkpoint.step, loaded.rejected) == (10, [])
    store.save(checkpoint(20))
    assert assert_right_or_older(store, "")
    assert names(store) == ["step-00000010", "step-00000020"]
    found = sorted(path.name for path in (store.directory / "step-00000020").iterdir())
    assert found == ["arrays.npz", "manifest.json"]


def failing(monkeypatch: pytest.MonkeyPatch, name: str, after: int) -> None:
    """Let one of the operating system's calls fail for want of space, after some that work."""
    real = getattr(os, name)
    calls = 0

    def fail(*arguments: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > after:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments, **more)

    monkeypatch.setattr(os, name, fail)


@pytest.mark.parametrize(
    ("call", "after"),
    [("fsync", 0), ("fsync", 1), ("fsync", 2), ("replace", 0), ("mkdir", 0), ("rename", 0)],
)  # fmt: skip
def test_a_save_that_fails_leaves_the_older_ones(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch, call: str, after: int
) -> None:
    for step in (5, 10):
        store.save(checkpoint(step))
    with monkeypatch.context() as patch:
        failing(patch, call, after)
        with pytest.raises(OSError, match="No space left"):
            store.save(checkpoint(20))
    assert names(store) == ["step-00000005", "step-00000010"]
    for step in (5, 10):
        assert is_intact(read_checkpoint(store.directory / f"step-{step:08d}"), checkpoint(step))
    store.save(checkpoint(20))
    assert names(store) == ["step-00000010", "step-00000020"]


@pytest.mark.root
@pytest.mark.parametrize("size", [3000, 6000, 60_000])
def test_a_full_disk_leaves_the_older_ones(small_disk: Path, size: int) -> None:
    store = CheckpointStore(small_disk / "checkpoints")
    for step in (5, 10):
        store.save(checkpoint(step))
    filler = fill(small_disk)
    os.truncate(filler, filler.stat().st_size - 20_000)  # room for a part of it
    with pytest.raises(OSError, match="No space left"):
        store.save(checkpoint(20, size))
    assert names(store) == ["step-00000005", "step-00000010"]
    loaded = store.load()
    assert loaded.checkpoint is not None
    assert is_intact(loaded.checkpoint, checkpoint(10))
    filler.unlink()
    store.save(checkpoint(20))
    loaded = store.load()
    assert loaded.checkpoint is not None
    assert is_intact(loaded.checkpoint, checkpoint(20))


def test_arrays_and_directories_are_flushed_before_a_checkpoint_counts(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    story: list[str] = []

    def remember(name: str, describe: Any) -> None:
        real = getattr(os, name)

        def call(*arguments: Any, **more: Any) -> Any:
            story.append(describe(*arguments))
            return real(*arguments, **more)

        monkeypatch.setattr(os, name, call)

    store.save(checkpoint(10))
    remember("fsync", lambda fd: f"flush {Path(f'/proc/self/fd/{fd}').readlink().name}")
    remember("rename", lambda old, new: f"rename {old.name} {new.name}")
    store.save(checkpoint(20))
    (rename,) = (index for index, entry in enumerate(story) if entry.endswith(" step-00000020"))
    before, after = story[:rename], story[rename + 1 :]
    staging = story[rename].split()[1]
    assert before[0] == "flush arrays.npz"
    assert before[1].startswith("flush .manifest.json.")
    assert before[2:] == [f"flush {staging}"]
    assert after == ["flush checkpoints"]


class Payload:
    """An object that runs when it is unpickled."""

    ran = False

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return setattr, (Payload, "ran", True)


def test_nothing_in_a_checkpoint_runs(store: CheckpointStore) -> None:
    path = store.save(checkpoint(10))
    objects: dict[str, Any] = {"0": np.array([Payload()], dtype=object)}
    np.savez(path / "arrays.npz", **objects)
    body = json.loads((path / "manifest.json").read_text())["body"]
    body["arrays_sha256"] = digest((path / "arrays.npz").read_bytes())
    proof = digest(json.dumps(body, sort_keys=True).encode())
    (path / "manifest.json").write_text(json.dumps({"sha256": proof, "body": body}))
    with pytest.raises(CheckpointError, match="something else than arrays"):
        read_checkpoint(path)
    assert not Payload.ran
    with np.load(path / "arrays.npz", allow_pickle=True) as arrays:
        assert arrays["0"].shape == (1,)
    assert Payload.ran  # so it was dangerous indeed


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_what_only_pickle_could_write_is_refused(store: CheckpointStore) -> None:
    state = PackedState({"$array": 0}, [np.array([Payload()], dtype=object)])
    with pytest.raises(TrainingError, match="objects"):
        store.save(Checkpoint(10, RUN, state))
    assert names(store) == []


def test_a_damaged_newer_checkpoint_does_not_cost_a_valid_one(store: CheckpointStore) -> None:
    for step in (100, 200):
        store.save(checkpoint(step))
    (store.directory / "step-00000200" / "arrays.npz").write_bytes(b"rotten")
    for step in (150, 190):  # the run went on from step 100
        store.save(checkpoint(step))
    assert names(store) == ["step-00000150", "step-00000190"]


# --- Several writers ----------------------------------------------------------------------


def test_two_writers_never_share_a_name(store: CheckpointStore) -> None:
    """One that was frozen while it wrote goes on when another has written the same step."""
    other = CheckpointStore(store.directory)

    def meanwhile() -> bool:
        if len(names(store)) == 1:
            assert other.save(checkpoint(20)).name == "step-00000020"
        return True

    store.save(checkpoint(20), meanwhile)
    loaded = store.load()
    assert loaded.checkpoint is not None
    assert is_intact(loaded.checkpoint, checkpoint(20))
    assert names(store) == ["step-00000020"]


def test_who_was_cut_off_gives_no_checkpoint_its_name(store: CheckpointStore) -> None:
    for step in (5, 30):
        store.save(checkpoint(step))
    with pytest.raises(Fenced, match="after step 20"):
        store.save(checkpoint(20), lambda: False)
    assert names(store) == ["step-00000005", "step-00000030"]


def test_who_is_cut_off_meanwhile_removes_none(store: CheckpointStore) -> None:
    for step in (5, 30):
        store.save(checkpoint(step))
    answers = iter([True, False])
    with pytest.raises(Fenced):
        store.save(checkpoint(20), lambda: next(answers))
    assert names(store) == ["step-00000005", "step-00000020", "step-00000030"]


def test_the_same_step_is_not_replaced_by_who_was_cut_off(store: CheckpointStore) -> None:
    path = store.save(checkpoint(20))
    with pytest.raises(Fenced):
        store.save(Checkpoint(20, RUN, checkpoint(10).state), lambda: False)
    assert is_intact(read_checkpoint(path), checkpoint(20))


def test_only_leftovers_of_earlier_attempts_are_removed(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, attempt=3)
    for name in (".step-00000010", ".step-00000010.2-77-0a", ".step-00000010.3-77-0a",
                 ".step-00000010.4-77-0a", ".another"):  # fmt: skip
        (tmp_path / name).mkdir()
    store.save(checkpoint(20))
    assert names(store) == [
        ".another", ".step-00000010.3-77-0a", ".step-00000010.4-77-0a", "step-00000020",
    ]  # fmt: skip
