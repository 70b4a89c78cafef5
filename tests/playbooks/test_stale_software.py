"""A machine is rebooted where a service runs what was replaced, and not for a user's programs."""

from __future__ import annotations

import pytest
import stale_software


@pytest.mark.parametrize(
    ("cgroup", "service"),
    [
        ("0::/system.slice/chrony.service\n", "chrony.service"),
        ("0::/init.scope\n", "systemd"),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", ""),
        ("0::/system.slice/slurmstepd.scope/job_7/step_batch\n", ""),
        ("", ""),
    ],
)
def test_services_are_known_by_their_control_group(cgroup: str, service: str) -> None:
    assert stale_software.service_of(cgroup) == service


@pytest.mark.parametrize(
    ("line", "is_replaced"),
    [
        ("7f-80 r-xp 0 08:01 7  /usr/lib/x86_64-linux-gnu/libc.so.6 (deleted)", True),
        ("7f-80 r-xp 0 08:01 7  /usr/sbin/chronyd (deleted)", True),
        ("7f-80 r-xp 0 08:01 7  /usr/lib/x86_64-linux-gnu/libc.so.6", False),
        ("7f-80 rw-s 0 00:01 7  /memfd:pulse (deleted)", False),
        ("7f-80 rw-s 0 00:01 7  /dev/shm/sem (deleted)", False),
        ("7f-80 rw-s 0 08:01 7  /tmp/cache (deleted)", False),
    ],
)
def test_replaced_programs_and_libraries_are_seen(line: str, is_replaced: bool) -> None:
    assert bool(stale_software.REPLACED.search(f"{line}\n")) == is_replaced
