"""A recipe's digest names its image: the same goes in, the same image; anything else, another."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from beowulf.errors import InvalidInput
from beowulf.lab.image import recipe as module
from beowulf.lab.image.recipe import (
    HERE,
    KINDS,
    Image,
    Kernel,
    Recipe,
    Step,
    digests_below,
    listed,
    recipe_for,
    record_of,
)

SOURCES = ("deb http://mirror.example/debian trixie main",)
KERNEL = Kernel("6.1um4", Path("/usr/lib/uml/modules/6.1.176"))


def recipe(kind: str = "bare") -> Recipe:
    return recipe_for(kind, SOURCES, "trixie", KERNEL)


def test_the_same_goes_in_and_the_digest_is_the_same() -> None:
    assert recipe().digest == recipe().digest
    assert len(recipe().digest) == 16


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "prepared"},
        {"suite": "forky"},
        {"sources": ("deb http://other.example/debian trixie main",)},
        {"packages": ("systemd",)},
        {"kernel": Kernel("6.1um5", KERNEL.modules)},
        {"kernel": Kernel("6.1um4", Path("/usr/lib/uml/modules/6.1.177"))},
        {"kernel": Kernel("6.1um4", KERNEL.modules, "/kernels/7.2-1/linux.uml")},
        {"steps": ()},
        {"steps": (Step("one", ("true",)),)},
    ],
    ids="-".join,
)
def test_whatever_goes_in_changes_the_digest(change: dict[str, object]) -> None:
    assert dataclasses.replace(recipe(), **change).digest != recipe().digest  # type: ignore[arg-type]  # any field


@pytest.mark.parametrize(
    "step", [Step("one", ("true", "-x"), ""), Step("one", ("true",), "2"), Step("two", ("true",))]
)
def test_all_of_a_step_counts(step: Step) -> None:
    before = dataclasses.replace(recipe(), steps=(Step("one", ("true",)),))
    assert dataclasses.replace(recipe(), steps=(step,)).digest != before.digest


def test_the_place_it_is_installed_at_does_not_count(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(HERE, clone, ignore=shutil.ignore_patterns("__pycache__"))
    here = recipe("prepared").digest
    monkeypatch.setattr(module, "HERE", clone)
    elsewhere = recipe("prepared")
    assert str(clone) in elsewhere.steps[0].command[0]
    assert elsewhere.digest == here


def test_the_builder_s_own_files_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(HERE, clone, ignore=shutil.ignore_patterns("__pycache__"))
    with (clone / "tree/etc/fstab").open("a") as file:
        file.write("tmpfs /mnt tmpfs defaults 0 0\n")
    before = recipe().digest
    monkeypatch.setattr(module, "HERE", clone)
    assert recipe().digest != before


def test_a_file_that_can_be_run_is_another_than_one_that_cannot(tmp_path: Path) -> None:
    (tmp_path / "step.sh").write_text("true\n")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/step.pyc").write_text("as Python likes it")
    plain = digests_below(tmp_path)
    (tmp_path / "step.sh").chmod(0o755)
    assert set(plain) == {"step.sh"}
    assert digests_below(tmp_path) != plain


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match="image: no kind 'huge'; choose one of bare, prepared"):
        recipe("huge")


def test_prepared_is_bare_with_a_list_of_packages_before_the_last_step() -> None:
    bare, prepared = recipe("bare"), recipe("prepared")
    assert prepared.packages == bare.packages
    names = [step.name for step in prepared.steps]
    assert [name for name in names if name != "packages"] == [step.name for step in bare.steps]
    assert names.index("packages") == len(names) - 2
    assert "slurmd" in prepared.steps[-2].command[1].split()


@pytest.mark.parametrize("kind", KINDS)
def test_every_step_s_command_is_there_and_can_be_run(kind: str) -> None:
    for step in recipe(kind).steps:
        assert Path(step.command[0]).stat().st_mode & 0o111, step.name


def test_a_list_has_comments_and_empty_lines() -> None:
    assert listed("# why\n\nslurmd\nlibc6  # the rest\n  g++\n") == ("slurmd", "libc6", "g++")


@pytest.mark.parametrize("line", ["two names", "--option", "$(reboot)", "a;b", "../x", "Upper"])
def test_a_line_that_names_no_package_is_refused(line: str) -> None:
    with pytest.raises(InvalidInput, match="is no package"):
        listed(f"slurmd\n{line}\n")


def test_an_image_tells_what_is_in_it_and_how_long_it_took(tmp_path: Path) -> None:
    one = recipe("prepared")
    text = record_of(one, {"slurmd": "24.11.5-1"}, {"packages": 20.04, "disk": 1.5})
    (tmp_path / "image.json").write_text(text)
    image = Image(one.kind, one.digest, tmp_path)
    assert image.disk == tmp_path / "base.raw"
    assert image.built_in_s == 21.5
    assert image.record == json.loads(text)
    assert image.record["packages"] == {"slurmd": "24.11.5-1"}
    assert (image.record["kernel"], image.record["digest"]) == ("6.1.176", one.digest)
