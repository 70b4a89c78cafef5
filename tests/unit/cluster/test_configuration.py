"""The client's configuration: what is read, refused, chosen and written."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beowulf.cluster.configuration import (
    ClusterEntry,
    Configuration,
    check_name,
    choose,
    configuration_path,
    read_configuration,
    write_configuration,
)
from beowulf.errors import ClusterNotFound, InvalidInput

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFeAoiggZ+s20hb/mt7GkxDNV54ngWrHveHxuXMFgmoV"
LAB = ClusterEntry("lab", "10.77.0.10", "ada", 2222, KEY)
CLOSET = ClusterEntry("closet", "head.local")
BOTH = Configuration({"lab": LAB, "closet": CLOSET}, "lab")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config" / "beowulf" / "config.toml"


def test_what_is_written_is_read_again(path: Path) -> None:
    write_configuration(BOTH, path)
    assert read_configuration(path) == BOTH


def test_only_its_owner_may_read_it(path: Path) -> None:
    write_configuration(BOTH, path)
    path.chmod(0o644)
    write_configuration(BOTH, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["config.toml"]


def test_without_a_file_there_are_no_clusters(path: Path) -> None:
    assert read_configuration(path) == Configuration()


def test_a_disk_that_is_full_leaves_the_old_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_configuration(BOTH, path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InvalidInput, match="No space left on device"):
        write_configuration(Configuration(), path)
    assert read_configuration(path) == BOTH


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("default = ", "it is no TOML"),
        ("\xff", "it is no TOML"),
        ("colour = 1", "colour: there is no such field; remove it; there are: clusters, default"),
        ("clusters = 1", "clusters: it is no table"),
        ("[clusters]\nlab = 1", "clusters.lab: it is no table"),
        ("[clusters.lab]", "clusters.lab.host: it is missing"),
        ("[clusters.lab]\nhost = 1", "clusters.lab.host: '1' can't be right"),
        ("[clusters.lab]\nhost = '-oProxyCommand=id'", "clusters.lab.host: "),
        ("[clusters.lab]\nhost = 'a b'", "clusters.lab.host: "),
        ("[clusters.lab]\nhost = 'h'\nuser = '$(id)'", "clusters.lab.user: "),
        ("[clusters.lab]\nhost = 'h'\nuser = '-l'", "clusters.lab.user: "),
        ("[clusters.lab]\nhost = 'h'\nport = 0", "clusters.lab.port: 0 is no port"),
        ("[clusters.lab]\nhost = 'h'\nport = true", "clusters.lab.port: True is no port"),
        ("[clusters.lab]\nhost = 'h'\nport = '22'", "clusters.lab.port: 22 is no port"),
        ("[clusters.lab]\nhost = 'h'\nhost_key = 'x'", "clusters.lab.host_key: "),
        ("[clusters.lab]\nhost = 'h'\nhostkey = 'x'", "clusters.lab.hostkey: there is no such"),
        ("[clusters.local]\nhost = 'h'", "clusters: local means this computer"),
        ("[clusters.Lab]\nhost = 'h'", "'Lab' is no name"),
        ("[clusters.\"../x\"]\nhost = 'h'", "is no name"),
        ("default = 'lab'", "default: 'lab' is none of its clusters"),
        ("default = 1", "default: '1' is none of its clusters"),
        ("default = []", "default: '[]' is none of its clusters"),
        ("x = " + "[" * 5000, "it is no TOML"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_wrong_is_named_with_its_file(path: Path, text: str, words: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidInput) as caught:
        read_configuration(path)
    assert str(caught.value).startswith(f"{path}")
    assert words in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_directory_in_its_place_is_refused(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(InvalidInput, match="Is a directory"):
        read_configuration(path)


def test_a_huge_file_is_refused(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"#" * 2_000_000)
    with pytest.raises(InvalidInput, match="larger than 1 MB"):
        read_configuration(path)


@pytest.mark.parametrize("name", ["lab", "a", "0", "lab-2", "x" * 32])
def test_names_that_are_fine(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "local",
        "-lab",
        "Lab",
        "x" * 33,
        "la b",
        "lab\n",
        "../lab",
        "lab.x",
        "é",
        "\x1b[31m",
        "a/b",
    ],
)
def test_hostile_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"^NAME: "):
        check_name(name)


@given(
    st.builds(
        ClusterEntry,
        st.from_regex(r"[a-z0-9][a-z0-9-]{0,31}", fullmatch=True).filter(lambda n: n != "local"),
        st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,40}", fullmatch=True),
        st.none() | st.from_regex(r"[a-z][a-z0-9]{0,9}", fullmatch=True),
        st.none() | st.integers(1, 65_535),
    )
)
def test_every_entry_survives_the_file(tmp_path: Path, entry: ClusterEntry) -> None:
    configuration = Configuration().having(entry)
    write_configuration(configuration, tmp_path / "config.toml")
    assert read_configuration(tmp_path / "config.toml") == configuration


def test_the_file_reads_as_the_documentation_shows_it(path: Path) -> None:
    write_configuration(BOTH, path)
    assert tomllib.loads(path.read_text()) == {
        "default": "lab",
        "clusters": {
            "lab": {"host": "10.77.0.10", "user": "ada", "port": 2222, "host_key": KEY},
            "closet": {"host": "head.local"},
        },
    }


@pytest.mark.parametrize(
    ("flag", "environ", "chosen"),
    [
        (None, {}, LAB),
        ("closet", {}, CLOSET),
        (None, {"BEOWULF_CLUSTER": "closet"}, CLOSET),
        ("lab", {"BEOWULF_CLUSTER": "closet"}, LAB),
        ("local", {"BEOWULF_CLUSTER": "closet"}, None),
        (None, {"BEOWULF_CLUSTER": "local"}, None),
        (None, {"BEOWULF_CLUSTER": ""}, LAB),
    ],
)
def test_the_flag_comes_before_the_environment_and_that_before_the_default(
    flag: str | None, environ: dict[str, str], chosen: ClusterEntry | None
) -> None:
    assert choose(BOTH, flag, environ) == chosen


def test_without_a_default_jobs_run_here() -> None:
    assert choose(Configuration({"lab": LAB}), None, {}) is None


def test_a_cluster_that_is_not_there_is_not_found_and_the_others_are_named() -> None:
    with pytest.raises(ClusterNotFound, match="'lub'; there are: closet, lab"):
        choose(BOTH, "lub", {})
    with pytest.raises(ClusterNotFound, match="beowulf cluster add"):
        choose(Configuration(), None, {"BEOWULF_CLUSTER": "lab"})


def test_the_first_cluster_is_the_default_and_the_next_ones_are_not() -> None:
    one = Configuration().having(CLOSET)
    assert one.default == "closet"
    assert one.having(LAB).default == "closet"
    assert one.having(LAB).with_default("lab").default == "lab"
    assert one.with_default("local").default is None


def test_without_its_default_it_has_none() -> None:
    assert BOTH.without("lab") == Configuration({"closet": CLOSET}, None)
    assert BOTH.without("closet").default == "lab"
    with pytest.raises(ClusterNotFound):
        BOTH.without("lub")


def test_its_place_is_where_the_desktop_s_specification_has_it() -> None:
    where = configuration_path({"XDG_CONFIG_HOME": "/somewhere"})
    assert where == Path("/somewhere/beowulf/config.toml")
    assert configuration_path({"XDG_CONFIG_HOME": "not/absolute"}) == configuration_path({})
    assert configuration_path({}).parts[-3:] == (".config", "beowulf", "config.toml")
