"""The MNIST job learns from files in MNIST's format, and refuses those that are not."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Beowulf
from tests.mpi.example_jobs import assert_every_step_once, assert_is_a_picture, run, start
from tests.mpi.idx_files import write_digits, write_idx

pytest.importorskip("torch", reason="the mnist job needs PyTorch: pip install 'beowulf[torch]'")
pytestmark = pytest.mark.torch

TRAIN_IMAGES = "train-images-idx3-ubyte"
TEST_LABELS = "t10k-labels-idx1-ubyte"


def test_it_learns_to_read_small_files_of_real_digits(beowulf: Beowulf, tmp_path: Path) -> None:
    write_digits(tmp_path / "mnist")
    compress(tmp_path / "mnist" / TRAIN_IMAGES)  # both kinds side by side
    options = ("--data", str(tmp_path / "mnist"), "--epochs", "4", "--global-batch", "32")
    job = run(beowulf, "mnist", *options, ranks=2)
    assert_every_step_once(job, 4 * 45)  # 1437 images, 32 at a time, 4 times
    assert job.result["test_accuracy"] >= 0.95
    assert "1,437 images to learn from, 360 to test with" in job.log
    assert "Warning" not in job.log
    assert_is_a_picture(job.directory.path / "loss.png")
    assert_is_a_picture(job.directory.path / "misread.png")


def refusal_of(beowulf: Beowulf, data: Path) -> str:
    """Return the one line with which the job refuses its data."""
    job = start(beowulf, "mnist", "--data", str(data), ranks=1)
    answer = beowulf("wait", job.id)
    assert answer.returncode in (1, 2), job.log
    assert "Traceback" not in job.log
    (line,) = [line for line in job.log.splitlines() if line.startswith("mnist: ")]
    return line


def test_without_its_files_it_says_where_to_get_them(beowulf: Beowulf, tmp_path: Path) -> None:
    line = refusal_of(beowulf, tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in line
    for name in (
        TRAIN_IMAGES,
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        TEST_LABELS,
        "https://",
        "--data",
    ):
        assert name in line


def compress(path: Path) -> None:
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def cut_in_the_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:6])


def replace_by_a_web_page(path: Path) -> None:
    path.write_text("<!DOCTYPE html><title>Not found</title>")


def compress_and_truncate(path: Path) -> None:
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes())[:-20])
    path.unlink()


def compress_and_damage(path: Path) -> None:
    content = bytearray(gzip.compress(path.read_bytes()))
    content[len(content) // 2] ^= 0xFF
    path.with_name(f"{path.name}.gz").write_bytes(content)
    path.unlink()


def enlarge_images(path: Path) -> None:
    write_idx(path, np.zeros((1437, 32, 32)))


def add_an_image(path: Path) -> None:
    write_idx(path, np.zeros((1438, 28, 28)))


def label_with_letters(path: Path) -> None:
    write_idx(path, np.arange(360) % 26)


@pytest.mark.parametrize(
    ("damage", "file", "words"),
    [
        (Path.unlink, TRAIN_IMAGES, f"lacks {TRAIN_IMAGES};"),
        (truncate, TRAIN_IMAGES, "holds 1126623 bytes, where its header promises 1126624"),
        (cut_in_the_header, TRAIN_IMAGES, "holds 6 bytes"),
        (replace_by_a_web_page, TEST_LABELS, "begins with the bytes 3c 21 44 4f"),
        (compress_and_truncate, TEST_LABELS, "cannot be read"),
        (compress_and_damage, TRAIN_IMAGES, "cannot be read"),
        (enlarge_images, TRAIN_IMAGES, "holds 1437 x 32 x 32 pixels"),
        (add_an_image, TRAIN_IMAGES, "has 1437 labels for 1438 images"),
        (label_with_letters, TEST_LABELS, "has a label 25"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(
    beowulf: Beowulf, tmp_path: Path, damage: Callable[[Path], None], file: str, words: str
) -> None:
    write_digits(tmp_path)
    damage(tmp_path / file)
    line = refusal_of(beowulf, tmp_path)
    assert words in line
    assert str(tmp_path) in line
