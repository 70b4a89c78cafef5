"""Files that the kernel and Debian tell things in are read, whatever is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible.module_utils.kernel_files import text_of

if TYPE_CHECKING:
    from pathlib import Path


def test_what_cannot_be_read_is_nothing(tmp_path: Path) -> None:
    assert text_of(str(tmp_path / "none")) == ""
    assert text_of(str(tmp_path)) == ""


def test_bytes_that_are_no_text_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "product_name").write_bytes(b"Opti\xffPlex\n")
    assert text_of(str(tmp_path / "product_name")) == "Opti\ufffdPlex\n"
