"""A short job on every free node: is the share there, is the software the same, are the clocks?

Each node touches a file in the user's home and reads back its time, which is the file
server's; so its own clock is compared with one clock, however unevenly the nodes start.
"""

from __future__ import annotations

import re
import secrets
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from beowulf.errors import one_line
from beowulf.hardware.checks import PACKAGES
from beowulf.hardware.findings import Finding, good, untried, wrong

if TYPE_CHECKING:
    from collections.abc import Sequence

    from beowulf.transport.connection import Connection

START_S = 30
END_S = 120
MOST_CLOCK_S = 1.0
SOFTWARE = "openmpi-bin libpmix2t64 slurmd libc6 python3"
# What each node does, given the directory to meet in.
TASK = rf"""
name=$SLURMD_NODENAME
token=$(cat "$1/token" 2>&1 | tail -n 1)
before=$(date +%s.%N)
touch "$1/$name" 2>&-
after=$(date +%s.%N)
server=$(stat -c %.9Y "$1/$name" 2>&-)
software=$(dpkg-query -W -f '${{Package}}=${{Version}} ' {SOFTWARE} 2>&-)
libraries=$(ls -d {PACKAGES}/*.dist-info 2>&- | sed 's|.*/||' | cksum | cut -d ' ' -f 1)
printf '%s\n' "node|$name|$token|$before|$server|$after|${{software}}libraries=$libraries"
"""
# $1 is a word that the nodes must read, $2 the nodes' names, $3 how many they are, $4 the task.
SCRIPT = f"""\
export TZ=UTC LC_ALL=C
meeting=$(mktemp -d "$HOME/.beowulf-check.XXXXXX") || exit
trap 'rm -rf "$meeting"' EXIT
trap 'exit 130' HUP INT TERM
echo "$1" > "$meeting/token" || exit
timeout {END_S} srun --quiet --input=none --job-name=beowulf-check --immediate={START_S} --time=5 \
--nodelist="$2" --nodes="$3" --ntasks="$3" --ntasks-per-node=1 --chdir=/ \
sh -c "$4" check "$meeting"
"""


@dataclass(frozen=True)
class NodeTrial:
    """What one node saw. ``clock_s`` is how far its clock is from the file server's, at least."""

    name: str
    token: str
    clock_s: float | None
    software: dict[str, str]


def try_nodes(connection: Connection, names: Sequence[str]) -> list[Finding]:
    """Run the trial on nodes that are free, and return what is right and wrong there.

    Raises:
        Unreachable, AccessDenied: There is no way to the head.
        CommandFailed: It took much too long.
    """
    if not names:
        return [untried("trial", "no node is free, so none was tried; try again later")]
    token = secrets.token_hex(8)
    arguments = ("sh", "-c", SCRIPT, "trial", token, ",".join(names), str(len(names)), TASK)
    done = connection.run(arguments, timeout_s=END_S + START_S, check=False)
    trials = parse_trials(done.output)
    if done.status and re.search(r"are busy|Unable to allocate|Immediate", done.errors):
        return [untried("trial", "others took the nodes meanwhile; try again later")]
    return judge_trials(trials, names, token, done.errors)


def parse_trials(told: str) -> list[NodeTrial]:
    """Return what the nodes printed; lines that make no sense are passed over."""
    found = []
    for line in told.splitlines():
        fields = line.split("|", 6)
        if len(fields) == 7 and fields[0] == "node":
            _, name, token, before, server, after, software = map(one_line, fields)
            versions = dict(pair.split("=", 1) for pair in software.split() if "=" in pair)
            found.append(NodeTrial(name, token, _apart_s(before, server, after), versions))
    return found


def _apart_s(before: str, server: str, after: str) -> float | None:
    """Return by how many seconds a clock is wrong at least, from two readings around the true one.

    >>> _apart_s("10.0", "10.2", "10.3"), _apart_s("10.0", "12.0", "10.5")
    (0.0, 1.5)
    """
    if not all(
        re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", text) for text in (before, server, after)
    ):
        return None
    return max(float(before) - float(server), float(server) - float(after), 0.0)


def judge_trials(
    trials: Sequence[NodeTrial], names: Sequence[str], token: str, errors: str = ""
) -> list[Finding]:
    """Return one finding on each node that was tried, and one on those that differ."""
    by_name = {trial.name: trial for trial in trials}
    usual = _usual_versions(trials)
    return [_judge(name, by_name.get(name), token, usual, errors) for name in names]


def _usual_versions(trials: Sequence[NodeTrial]) -> dict[str, str]:
    """Return of each piece of software the version that most nodes have."""
    kinds = {kind for trial in trials for kind in trial.software}
    return {
        kind: Counter(trial.software.get(kind, "none") for trial in trials).most_common(1)[0][0]
        for kind in kinds
    }


def _judge(
    name: str, trial: NodeTrial | None, token: str, usual: dict[str, str], errors: str
) -> Finding:
    subject = f"{name} trial"
    if trial is None:
        said = one_line(errors.strip().splitlines()[-1])[-200:] if errors.strip() else "no answer"
        remedy = f"on {name}: sudo journalctl -u slurmd"
        return wrong(subject, f"{name} ran nothing: {said}", remedy)
    if trial.token != token:
        words = f"{name} does not see the files in your home: {trial.token[:100] or 'nothing'}"
        return wrong(subject, words, f"on {name}: findmnt -t nfs4; on the head: exportfs -v")
    if trial.clock_s is None or trial.clock_s > MOST_CLOCK_S:
        by = "" if trial.clock_s is None else f" by {trial.clock_s:,.1f} s"
        remedy = f"on {name}: chronyc sources; sudo chronyc makestep"
        return wrong(subject, f"{name}'s clock differs from the file server's{by}", remedy)
    other = [
        f"{kind} {trial.software.get(kind, 'none')} where others have {version}"
        for kind, version in sorted(usual.items())
        if trial.software.get(kind, "none") != version
    ]
    if other:
        remedy = f"run: ansible-playbook playbooks/upgrade.yml --limit {name}"
        return wrong(subject, f"{name} has {'; '.join(other)}", remedy)
    if not usual.get("openmpi-bin"):
        return wrong(
            subject,
            f"{name} has no Open MPI",
            f"run: ansible-playbook playbooks/site.yml --limit {name}",
        )
    return good(
        subject, f"{name} sees your files, has the others' MPI and libraries, and the right time"
    )
