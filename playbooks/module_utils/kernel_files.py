"""Read what the kernel and Debian tell in files."""

from __future__ import annotations


def text_of(path: str) -> str:
    """Return what stands in a file, or nothing if it can't be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
