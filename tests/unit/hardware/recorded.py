"""What a real cluster printed, put together as the commands of ``beowulf.hardware`` print it."""

from __future__ import annotations

from tests.conftest import REPOSITORY

RECORDINGS = REPOSITORY / "tests" / "recordings"
NODES = (RECORDINGS / "slurm" / "nodes_two_busy.txt").read_text()
JOBS = (RECORDINGS / "slurm" / "jobs_two_busy.txt").read_text()
DRAINING = (RECORDINGS / "slurm" / "nodes_draining.txt").read_text()
ADA = (RECORDINGS / "slurm" / "accounting_of_ada.txt").read_text()
ALL = (RECORDINGS / "slurm" / "accounting_of_all.txt").read_text()
FACTS = (RECORDINGS / "check" / "facts.txt").read_text()
TRIAL = (RECORDINGS / "check" / "trial.txt").read_text()
TRIAL_TOKEN = "00c0ffee"  # noqa: S105 - no secret: what the nodes had to read, when it was recorded
BUSY = f"{NODES}@@jobs\n{JOBS}"
AWAY = "slurm_load_node error: Unable to contact slurm controller (connect failure)\n"
