"""Whether this computer can hold a lab, for tests that need one that can."""

from __future__ import annotations

import pytest

from beowulf.lab.host import lacking


def skip_where_no_lab_can_run() -> None:
    """Skip a test where there are no rights, programs or devices for a lab."""
    sentence = lacking().sentence()
    if sentence:
        pytest.skip(sentence)
