"""Write docs/cli.md from the command line itself, so that the two never disagree.

python docs/generate_cli.py            write it
python docs/generate_cli.py --check    exit 1 if it is out of date
"""

from __future__ import annotations

import inspect
import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from beowulf.cli.main import INTERRUPTED, cli
from beowulf.cli.output import SCHEMA
from beowulf.errors import (
    AccessDenied,
    BeowulfError,
    InvalidInput,
    JobNotFound,
    LaunchError,
    NodeUnreachable,
)
from beowulf.hardware.accounting import Usage
from beowulf.hardware.findings import good
from beowulf.hardware.nodes import parse_reports
from beowulf.hardware.prediction import Prediction
from beowulf.job.drill import Plug
from beowulf.job.paces import Paces, RankPace
from beowulf.job.record import FINAL_STATES, JobRecord, Progress, State
from beowulf.job.recovery import Recovery
from beowulf.lab.machine import Machine
from beowulf.lab.network import Cable
from beowulf.lab.status import NodeStatus
from beowulf.rank.script import COMMAND_NOT_FOUND
from beowulf.runner.explanation import Explanation
from beowulf.runner.outcome import CANCELLED_EXIT_CODE, TIMEOUT_EXIT_CODE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PAGE = Path(__file__).with_name("cli.md")

HEAD = """\
# The command line

<!-- Written by docs/generate_cli.py; edit that or the commands, then run: make docs -->

```text
{usage}
```

{about}

Data goes to standard output, words for people to standard error. Every verb has
`-h` and `--help`; those that tell about jobs have `--json`. The [tutorial](tutorial.md) shows
the verbs at work.

{verbs}
"""

JSON = """\
## JSON

With `--json`, a verb prints one document on standard output, in one line, and nothing
else there. Its `schema` is {schema}; the number changes when a field is removed or
means something else, not when one is added.

| command | document |
|---|---|
| `submit --json` | `{{"schema": {schema}, "job": RECORD}}` |
| `status --json` | `{{"schema": {schema}, "job": RECORD, "burden": {{"host", "gain"}}}}`; the \
host without which steps would certainly be faster, and by which part at least; mostly null |
| `jobs --json`, `cancel --json`, `wait --json` | `{{"schema": {schema}, "jobs": [RECORD, ...]}}` |
| `submit --array ... --json` | the same, each RECORD with the `settings` of its trial |
| `submit --explain --json` | `{{"schema": {schema}, "explanation": EXPLANATION}}` |
| `cluster list --json` | `{{"schema": {schema}, "clusters": [{{"name", "host", "user", "port", \
"fingerprint", "default"}}, ...]}}` |
| `drill --json` | `{{"schema": {schema}, "drill": DRILL}}` |
| `fetch --json` | `{{"schema": {schema}, "fetch": {{"id", "directory", "files", "brought", \
"bytes"}}}}`; of its `files`, `brought` are those that were not there already |
| `nodes --json` | `{{"schema": {schema}, "cluster": NAME, "nodes": [NODE, ...]}}` |
| `history --json` | `{{"schema": {schema}, "cluster": NAME, "since", "of_everybody", \
"users": [USER, ...]}}`; `of_everybody` is false where only one's own jobs are to be seen |
| `check --json` | `{{"schema": {schema}, "cluster": NAME, "ok", "findings": [FINDING, ...]}}` |
| `bench --json` | `{{"schema": {schema}, "cluster": NAME, "job", "measured": MEASURED, \
"findings": [FINDING, ...], "left_out": [{{"name", "state"}}, ...], "picture"}}`; NAME is null on \
this computer |
| `predict --json` | `{{"schema": {schema}, "cluster": NAME, "name", "figures_from", "batch", \
"gradient_bytes", "nodes_per_s", "measured_at", "predictions": [PREDICTION, ...], "advice", \
"picture"}}` |
| `logs --json` | `{{"schema": {schema}, "log": {{"id", "offset", "lines"}}}}`; `offset` is the \
log's size in bytes |

`submit --json` prints its document when the job is over and what the ranks print to
standard error; with `--detach` it prints at once. An error prints no document, only
its line on standard error.

A `RECORD` holds:

{record_fields}

`progress`, unless it is null:

{progress_fields}

`paces`, unless it is null, with medians of the newest steps:

{paces_fields}

and in its `ranks`, for each rank:

{rank_fields}

An `EXPLANATION` holds what is known before a job is submitted:

{explanation_fields}

A `DRILL` holds which plug was pulled:

{plug_fields}

and in its `recovery`, in seconds since then, null for what did not happen:

{recovery_fields}

A `NODE` of a cluster holds:

{cluster_node_fields}

A `USER`, from Slurm's accounts, and a `FINDING`:

{usage_fields}

{finding_fields}

`MEASURED` has `measured_at`, `age_s`, and lists of objects: `nodes` (`name`, `cores`, `flops` in
operations/s, `memory_bytes_per_s`, `ports` as the kernel tells them), `wires` (one per
direction: `source`, `target`, `bytes_per_s`, `both_bytes_per_s` with both directions at once,
`latency_s`) and `allreduce` (`size_bytes`, `seconds`). A `PREDICTION`:

{prediction_fields}

`lab list --json` prints `{{"schema": {schema}, "labs": [{{"name"}}, ...]}}`, and
`lab status --json` prints `{{"schema": {schema}, "lab": LAB}}`, also of a lab that does not exist.
A `LAB` holds `name`, `exists`, `directory`, `user`, the files `ssh_config`, `known_hosts` and
`identity` with which to log in, and `nodes`, each with:

{node_fields}

An example of a job, spread over lines:

```json
{example}
```

### States

{states}
"""

EXIT = """\
## Exit statuses

`submit`, as long as it follows the job, and `wait` end with the job's own status.
`wait` for several jobs ends with the first that is not 0, in the order given.

| status of a job | meaning |
|---|---|
| 0 | every rank finished |
| {timeout} | it ran longer than its time limit |
| {launch} | beowulf itself failed once the job was accepted, or its supervisor was lost |
| {not_found} | the job's command could not be started |
| {cancelled} | it was cancelled |
| 128 + N | the rank that failed first was killed by signal N; 137 is `kill -9`, \
also the kernel's when memory runs out |
| anything else | what the rank that failed first ended with; 1 for an exception |

Before a job is accepted, and for every other verb:

| status | meaning |
|---|---|
| 0 | done |
| {failed} | something failed; the message says what to do. |
| {invalid} | a flag, a file or a field is wrong; nothing was started |
| {unreachable} | the cluster's head, or a node of the lab, is off or does not answer |
| {no_job} | no such job, cluster, lab, node or snapshot |
| {denied} | the head takes none of your keys, or its host key is another one |
| {interrupted} | interrupted with Ctrl-C; a job that was being followed goes on |

`check` ends with 1 if anything is wrong that does not keep it from the head. `lab ssh`
ends with the status of the command on the node, or with 255 where ssh itself failed.
"""

RECORD_FIELDS = {
    "id": "the job's ID, a string",
    "name": "the job's name",
    "state": "one of the [states](#states)",
    "reason": "why it is in this state, in plain words; empty if there is nothing to say",
    "directory": "the job directory",
    "exit_code": "the job's exit status, or null while it has none",
    "ranks": "how many ranks the latest attempt has",
    "attempt": "1, and one more with every `--resume`",
    "submitted_at": "when it was first submitted; times are ISO 8601 in UTC",
    "started_at": "when the latest attempt started, or null",
    "ended_at": "when the latest attempt ended, or null",
    "progress": "how far the training is, or null before its first step",
    "checkpoint_step": "the step of the newest checkpoint, or null; `--resume` goes on from it",
    "result": "what `result.json` holds, or null",
    "pictures": "the pictures in the job directory, a list of paths",
    "slurm_job_id": "the latest attempt's number in Slurm's queue; null on this computer",
    "paces": "how fast each rank is, by `status` and for a job that averages; else null",
    "plan": "how the job trains and which machines rest, in sentences, where it chose that itself",
    "story": "what happened, oldest first, by `status`; else empty. Of each its `time`, what is "
    "`said` of it in plain words, and `usual`: whether it happens to every job",
    "left_out": "the nodes that it was submitted without since they lost jobs lately, each as the "
    "`trust` of a node",
    "elapsed_s": "seconds that the latest attempt has run, or null",
}

PROGRESS_FIELDS = {
    "step": "steps done",
    "total_steps": "steps of the whole training, or null",
    "loss": "the newest loss, or null if the script averages none",
    "samples_per_s": "samples per second, all ranks together, or null",
    "time_left_s": "seconds left at this speed, or null",
}

PACES_FIELDS = {
    "steps": "how many of the newest steps had these shares",
    "step_s": "seconds that a step takes",
    "wire_s": "seconds of it in which even the slowest rank waits for gradients, or null",
    "ranks": "one for each rank",
}

RANK_FIELDS = {
    "rank": "its number",
    "host": "where it runs, or null",
    "share": "its samples in a step",
    "compute_s": "seconds that it computes on them",
    "samples_per_s": "its samples per second of computing, or null",
}

EXPLANATION_FIELDS = {
    "cluster": "the cluster's name; null on this computer",
    "name": "the job's name",
    "command": "what each rank runs, a list of words",
    "ranks": "how many ranks, or null if that depends on what Slurm has to give",
    "nodes": 'how many nodes, as `"3"` or `"2-4"`; null for any on which there are cores',
    "ranks_per_node": "how many ranks on each, or null",
    "threads_per_rank": "how many threads each rank may use; null for its part of its node's cores",
    "averaging": "how the script averages gradients, and where it says so, in words",
    "settings": "what Open MPI is told: `name`, `value` and `reason` of each parameter",
    "script": "the batch script; `@JOB_ID@` and `@JOB_KEY@` stand for what only a job has",
}

PLUG_FIELDS = {
    "job_id": "the job's ID",
    "attempt": "its attempt",
    "what": "`kill`, `freeze` or `cut`",
    "host": "on which node",
    "ranks": "whose plug it was, a list",
    "pids": "their processes there",
    "left": "how many ranks there were besides",
    "step": "the newest step that was known then, or null",
    "checkpoint_step": "the step of the newest checkpoint then, or null",
    "steps_per_s": "how fast the job was before, or null",
}

RECOVERY_FIELDS = {
    "noticed_s": "when the loss was noticed",
    "carried_on_s": "when the step that was interrupted had been done again, in place",
    "ranks": "how many ranks carried on",
    "step": "the step that was redone",
    "lost_s": "how long that took more than it would have, as the survivors measured",
    "restarting_s": "when the job was being started again instead",
    "restarted_s": "when all its ranks were up again",
    "from_step": "the step of the checkpoint that it went on from; null for the beginning",
    "attempt": "the new attempt's number",
    "steps": "how many steps were done since, of the newest ones",
    "steps_per_s": "how fast the job is after it, or null",
    "state": "the job's state, once it is over; else null",
    "reason": "why it is in this state",
}

CLUSTER_NODE_FIELDS = {
    "name": "the node's name",
    "state": "in plain words: `free`, `partly busy`, `busy`, `off`, `down`, `drained`, ...",
    "slurm_state": "the same in Slurm's words",
    "is_up": "whether it works, or could when a job comes",
    "cores_used": "how many of its cores jobs have",
    "cores": "how many it has",
    "memory_used_mb": "how much of its memory jobs have",
    "memory_mb": "how much jobs may have",
    "load": "how many processes want a core, on average; or null",
    "since": "since when it is in this state, or null",
    "reason": "why it is out of work, as Slurm or a person said; empty if nobody did",
    "reason_by": "who said so",
    "jobs": "what runs there: Slurm's `number`, `user`, `name`, `state`, `started_at`",
    "trust": "`per_cent` is the chance that it lasts a day's work, `why` says why not more; "
    "`losses` in 28 days, `last_lost_at`, and `left_out_until` while new jobs are kept away from "
    "it, else null. Null if that is not known",
}

USAGE_FIELDS = {
    "user": "the user's name",
    "core_hours": "cores times hours",
    "jobs": "jobs that had cores",
    "failures": "how many of them failed, or ran out of time or memory",
    "running": "how many of them still run",
}

FINDING_FIELDS = {
    "subject": "what was looked at",
    "is_good": "true, false, or null if it could not be tried",
    "words": "what was found",
    "remedy": "what to do about it; empty if there is nothing",
}

PREDICTION_FIELDS = {
    "nodes": "how many nodes",
    "strategy": "how gradients are averaged",
    "measured": "how many of these nodes were measured; the others are presumed to be like them",
    "step_s": "seconds per step",
    "compute_s": "seconds that the slowest node computes in it",
    "wire_s": "seconds that the wire is busy in it",
    "samples_per_s": "samples per second, all nodes together",
    "efficiency": "the part of what all nodes would do if none waited",
    "limited_by": "`compute`, `wire` or `latency`",
}

NODE_FIELDS = {
    "name": "the node's name",
    "address": "its address, inside the lab's own network",
    "mac": "its network card's address, which a magic packet must hold to wake it",
    "memory_mb": "its memory",
    "state": "`absent` (never made), `off`, `on` or `paused`",
    "cable": "`connected` or `cut`; null without root, or without the lab",
    "rate": "what the cable was slowed down to, as `100mbit`, or null",
    "image": "`bare` or `prepared`, or null while it is absent",
    "disk_mb": "what the node changed of its image, in MB of this computer's disk",
    "pid": "the process that is the node's kernel, or null",
}

STATES = {
    "QUEUED": "accepted, not started yet",
    "STARTING": "the launcher is starting the ranks",
    "RUNNING": "every rank has started",
    "RECOVERING": "ranks were lost; it goes on without them, or is started again",
    "COMPLETED": "every rank wrote that it finished",
    "FAILED": "a rank failed, or the supervisor was lost; `reason` says which and why",
    "CANCELLED": "ended by `beowulf cancel`",
    "TIMEOUT": "ended by its time limit",
    "UNKNOWN": "somebody is responsible for it, but its events cannot be read",
}


CLUSTER_NODE = "NodeName=node1 CPUTot=4 State=IDLE"


def page() -> str:
    """Return the whole page."""
    context = click.Context(cli, info_name="beowulf")
    names = cli.list_commands(context)
    verbs = [_verb(name, cli.get_command(context, name), context) for name in names]
    about = _help_text(cli)
    links = "\n".join(f"- [`{name}`](#{name}): {_summary(name, context)}" for name in names)
    head = HEAD.format(usage=_usage(cli, context), about=about, verbs=links)
    return "\n".join([head, *verbs, _json_section(), _exit_section()])


def _verb(
    name: str, command: click.Command | None, parent: click.Context, level: str = "##"
) -> str:
    """Return a verb's section, with those of its own verbs below it."""
    if command is None:
        raise KeyError(name)
    context = click.Context(command, info_name=name, parent=parent)
    title = context.command_path.removeprefix("beowulf ")
    parts = [f"{level} {title}", f"```text\n{_usage(command, context)}\n```", _help_text(command)]
    if command.epilog:
        parts.append(_paragraph(command.epilog))
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    records = [option.get_help_record(context) for option in options]
    rows = [(f"`{names}`", " ".join(text.split())) for names, text in filter(None, records)]
    if rows:
        parts.append(_table(("option", "meaning"), rows))
    if isinstance(command, click.Group):
        parts += [
            _verb(verb, command.get_command(context, verb), context, f"{level}#").rstrip()
            for verb in command.list_commands(context)
        ]
    return "\n\n".join(parts) + "\n"


def _usage(command: click.Command, context: click.Context) -> str:
    return " ".join([context.command_path, *command.collect_usage_pieces(context)])


def _summary(name: str, context: click.Context) -> str:
    command = cli.get_command(context, name)
    return _help_text(command).split("\n\n")[0].replace("\n", " ") if command else ""


def _help_text(command: click.Command) -> str:
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    return "\n\n".join(map(_paragraph, paragraphs))


def _paragraph(text: str) -> str:
    """Return a paragraph of help; what click is told not to wrap becomes a block."""
    first, _, rest = text.partition("\n")
    return f"```text\n{rest}\n```" if first == "\b" else text


def _table(head: tuple[str, str], rows: Iterable[tuple[str, str]]) -> str:
    lines = [f"| {head[0]} | {head[1]} |", "|---|---|"]
    for left, right in rows:
        escaped = (cell.replace("|", "\\|") for cell in (left, right))
        lines.append("| {} | {} |".format(*escaped))
    return "\n".join(lines)


def _described(names: Iterable[str], descriptions: Mapping[str, str]) -> list[tuple[str, str]]:
    """Pair names with what they mean; both sides must hold the same ones."""
    listed = list(names)
    if set(listed) != set(descriptions):
        different = ", ".join(sorted(set(listed) ^ set(descriptions)))
        sys.exit(
            f"docs/generate_cli.py: describe there what the code has, and only that: {different}"
        )
    return [(f"`{name}`", descriptions[name]) for name in listed]


def _json_section() -> str:
    example = _example().to_json()
    states = _described(get_args(State), STATES)
    final = [(name, f"{text} (over)" if name.strip("`") in FINAL_STATES else text)
             for name, text in states]  # fmt: skip
    return JSON.format(
        schema=SCHEMA,
        record_fields=_table(("field", "meaning"), _described(example, RECORD_FIELDS)),
        paces_fields=_table(("field", "meaning"), _described(example["paces"], PACES_FIELDS)),
        rank_fields=_table(
            ("field", "meaning"), _described(example["paces"]["ranks"][0], RANK_FIELDS)
        ),
        progress_fields=_table(
            ("field", "meaning"), _described(example["progress"], PROGRESS_FIELDS)
        ),
        explanation_fields=_table(
            ("field", "meaning"),
            _described((one.name for one in fields(Explanation)), EXPLANATION_FIELDS),
        ),
        plug_fields=_table(
            ("field", "meaning"), _described((one.name for one in fields(Plug)), PLUG_FIELDS)
        ),
        recovery_fields=_table(
            ("field", "meaning"),
            _described((one.name for one in fields(Recovery)), RECOVERY_FIELDS),
        ),
        cluster_node_fields=_table(
            ("field", "meaning"),
            _described(parse_reports(CLUSTER_NODE)[0].to_json(), CLUSTER_NODE_FIELDS),
        ),
        usage_fields=_table(
            ("field", "meaning"), _described(Usage("ada", 1.0, 1, 0, 0).to_json(), USAGE_FIELDS)
        ),
        finding_fields=_table(
            ("field", "meaning"), _described(good("slurm", "").to_json(), FINDING_FIELDS)
        ),
        prediction_fields=_table(
            ("field", "meaning"), _described(_prediction().to_json(), PREDICTION_FIELDS)
        ),
        node_fields=_table(("field", "meaning"), _described(_node().to_json(), NODE_FIELDS)),
        example=json.dumps({"schema": SCHEMA, "job": example}, indent=2),
        states=_table(("state", "meaning"), final),
    )


def _example() -> JobRecord:
    directory = "/home/ada/.local/state/beowulf/jobs/7"
    return JobRecord(
        id="7",
        name="digits",
        state="COMPLETED",
        reason="",
        directory=directory,
        exit_code=0,
        ranks=2,
        attempt=1,
        submitted_at="2026-11-22T17:41:12.693+00:00",
        started_at="2026-11-22T17:41:12.773+00:00",
        ended_at="2026-11-22T17:41:21.708+00:00",
        progress=Progress(11240, 11240, 0.004033, 250144.2, 0.0),
        checkpoint_step=11240,
        result={
            "final_loss": 0.004033,
            "steps": 11240,
            "samples_per_s": 266504.7,
            "world_size": 2,
            "test_accuracy": 0.9889,
        },
        pictures=(f"{directory}/loss.png",),
        paces=Paces(
            steps=32,
            step_s=0.001023,
            wire_s=0.000112,
            ranks=(
                RankPace(0, "laptop", 128, 0.00081, 158024.7),
                RankPace(1, "laptop", 128, 0.00083, 154216.9),
            ),
        ),
    )


def _prediction() -> Prediction:
    return Prediction(1, "dense", 1, 1.0, 1.0, 0.0, 1.0, 1.0, "compute")


def _node() -> NodeStatus:
    machine = Machine("node1", "10.77.0.11", "02:be:0f:77:00:11", 1024)
    return NodeStatus(machine, "on", Cable(), "bare", 4.2, 4711)


def _exit_section() -> str:
    return EXIT.format(
        timeout=TIMEOUT_EXIT_CODE,
        launch=LaunchError.exit_status,
        not_found=COMMAND_NOT_FOUND,
        cancelled=CANCELLED_EXIT_CODE,
        failed=BeowulfError.exit_status,
        invalid=InvalidInput.exit_status,
        no_job=JobNotFound.exit_status,
        unreachable=NodeUnreachable.exit_status,
        denied=AccessDenied.exit_status,
        interrupted=INTERRUPTED,
    )


def main() -> None:
    """Write the page, or check it."""
    text = page()
    if sys.argv[1:] == ["--check"]:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
            sys.exit("docs/cli.md is out of date; run: make docs")
    elif sys.argv[1:]:
        sys.exit("usage: python docs/generate_cli.py [--check]")
    else:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
