"""Every error that beowulf raises on purpose, in one tree.

::

    BeowulfError            1   something failed; the message says what to do
    ├── InvalidInput        2   a flag, file or field is wrong; nothing was started
    ├── JobNotFound         4   no such job
    ├── LaunchError       125   beowulf itself failed once the job was accepted
    ├── CommandFailed       1   a program that beowulf called failed, or is not installed
    ├── Unreachable         3   the cluster's head does not answer, or its name is unknown
    │   └── ConnectionLost  3   it answered, and is gone; nothing is known of what it does
    ├── AccessDenied        5   the head refused, or is not the machine that it was
    │   ├── AuthenticationFailed    it takes none of the user's keys
    │   └── HostKeyMismatch         its host key is another one, or not known yet
    ├── ClusterNotFound     4   no cluster has this name in the configuration
    ├── LabError            1   the lab, or this computer, cannot do what was asked
    │   ├── LabNotFound     4   no such lab, or no such node or snapshot in it
    │   └── NodeUnreachable 3   a node of the lab is off, or does not answer
    └── TrainingError       1   inside a rank: the training library refuses to go on
        ├── WorldSizeError      MPI started another number of ranks than promised
        ├── CheckpointError     no checkpoint can be read, or it belongs to another run
        └── RanksLost      75   other ranks are gone, and this one cannot go on without them

The number is the exit status that the command line turns the error into.
"""


class BeowulfError(Exception):
    """A failure with a message for a person: what, why, and the next command to type."""

    exit_status = 1


class InvalidInput(BeowulfError):
    """A flag, a file or a field cannot be used; nothing was started."""

    exit_status = 2

    def __init__(self, field: str, problem: str, remedy: str) -> None:
        self.field = field
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{one_line(field)}: {one_line(problem)}; {one_line(remedy)}")


class JobNotFound(BeowulfError):
    """No job has this ID."""

    exit_status = 4


class LaunchError(BeowulfError):
    """The job was accepted but beowulf could not start or watch it."""

    exit_status = 125


class CommandFailed(BeowulfError):
    """A program that beowulf called failed, took too long, or is not installed."""


class Unreachable(BeowulfError):
    """The computer does not answer, or there is no such name."""

    exit_status = 3


class ConnectionLost(Unreachable):
    """The computer answered and is gone: whether the command there was done is not known."""


class AccessDenied(BeowulfError):
    """The computer lets this user not in, or cannot be believed."""

    exit_status = 5


class AuthenticationFailed(AccessDenied):
    """The computer takes none of the keys that this user has."""


class HostKeyMismatch(AccessDenied):
    """The computer's host key is not the one that was pinned, or none is pinned yet."""


class ClusterNotFound(BeowulfError):
    """No cluster has this name in the client's configuration."""

    exit_status = 4


class LabError(BeowulfError):
    """The lab, or the computer it runs on, cannot do what was asked."""


class LabNotFound(LabError):
    """No lab has this name, or the lab has no such node or snapshot."""

    exit_status = 4


class NodeUnreachable(LabError):
    """A node of the lab is off, or does not answer."""

    exit_status = 3


class TrainingError(BeowulfError):
    """The training library refuses to go on."""


class WorldSizeError(TrainingError):
    """MPI started another number of ranks than the job was promised."""


class CheckpointError(TrainingError):
    """No checkpoint can be read, or it belongs to another run."""


class RanksLost(TrainingError):
    """Other ranks are gone, and this one cannot go on without them, or not any more."""

    exit_status = 75  # EX_TEMPFAIL of sysexits.h: to be tried again


def one_line(text: str) -> str:
    """Return ``text`` with control characters spelled out, so that it stays on one line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
