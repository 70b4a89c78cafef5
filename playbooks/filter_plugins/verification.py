"""Jinja filter: a table of what works, and what to do about the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

COLUMNS = ["machine", "ssh", "time", "munge", "files", "disk", "memory", "slurm", "job", "mpi"]
# The first word of a check's name, as the health program calls it, and its column.
CHECKS = {"clock": "time", "munge": "munge", "mounts": "files", "disk": "disk", "memory": "memory"}
PLAY = "ansible-playbook -i {inventory} playbooks/site.yml --limit {name}"
REMEDIES = {
    "ssh": "is it on? Try: ping {address}",
    "time": "look there: chronyc sources; set it: sudo chronyc makestep",
    "munge": "give it the cluster's key: " + PLAY,
    "files": "look there: findmnt /opt/beowulf; on {head}: systemctl status nfs-server",
    "disk": "see what fills it, there: sudo du -xh / | sort -h | tail",
    "memory": "a module may have come loose; if it was taken out, measure anew: " + PLAY,
    "slurm": "look on {head}: scontrol show node {name}",
    "configuration": "let it fetch the head's: " + PLAY,
    "inventory": "write Slurm's list anew: " + PLAY.replace("{name}", "{head}"),
    "job": "look there: sudo journalctl -u slurmd",
    "mpi": "look there: sudo ufw status; ip address",
    "health": "look there: sudo /usr/local/sbin/beowulf-node-health --json",
    "queue": "look on {head}: systemctl status slurmctld munge",
}
UP = {"idle", "mixed", "allocated", "completing"}
BUSY = "busy"


class FilterModule:
    """The filters, for Ansible."""

    def filters(self) -> dict[str, Callable[..., dict[str, Any]]]:
        """Return the filters by their names."""
        return {"verification": verification}


def verification(
    machines: Sequence[Mapping[str, Any]],
    cluster: Mapping[str, Any],
) -> dict[str, Any]:
    """Return columns, rows and remarks of a table, and the names of the machines with a fault.

    Args:
        machines: Each with ``name``, ``address``, ``measured`` ({} if it never was), ``computes``
            (whether Slurm may use it) and ``seen`` (what it found; {} if it was not reached).
        cluster: ``head`` (its name), ``inventory``, ``opened`` and ``tried`` (what the head said
            in the stages of that name; {} if it was not reached) and ``known`` (the names of all
            machines that Slurm should have).
    """
    rows, remarks, faulty = [], [], []
    for machine in machines:
        row = Row(machine, cluster)
        row.judge()
        rows.append([machine["name"], *(row.cells[column] for column in COLUMNS[1:])])
        remarks += row.remarks
        if row.remarks:
            faulty.append(machine["name"])
    general = cluster_faults(cluster)
    head = str(cluster["head"])
    return {
        "columns": COLUMNS,
        "rows": rows,
        "remarks": [*general, *remarks, *notes(rows)],
        "faulty": faulty,
        "healthy": not faulty and not general,
        "general": [head] if general else [],
    }


def cluster_faults(cluster: Mapping[str, Any]) -> list[str]:
    """Say what is wrong with the cluster as a whole, rather than with one machine."""
    opened, tried, head = cluster["opened"], cluster["tried"], cluster["head"]
    words = {"head": head, "name": head, "inventory": cluster["inventory"]}
    if not opened:
        return [f"{head}: could not be asked, so nothing that needs it was tried; switch it on"]
    found = []
    if opened["munge_fault"]:
        found.append(
            f"{head}: munge can't sign anything: {opened['munge_fault']}; " + fix("munge", words)
        )
    if not opened["place"]:
        found.append(f"{head}: there is no /opt/beowulf to share; " + PLAY.format(**words))
    if tried.get("fault"):
        found.append(f"{head}: {tried['fault']}; " + fix("queue", words))
    strangers = sorted(set(tried.get("nodes", {})) - set(cluster["known"]))
    if strangers:
        found.append(
            f"{head}: Slurm has {', '.join(strangers)}, which the inventory has not; "
            + fix("inventory", words)
        )
    mpi = tried.get("mpi")
    if mpi and mpi not in ("ok", BUSY):
        over = ", ".join(tried["mpi_nodes"])
        found.append(f"MPI across {over}: {mpi}; {REMEDIES['mpi']}")
    return found


def notes(rows: Sequence[Sequence[Any]]) -> list[str]:
    """Say what is no fault but wants a word."""
    if any(BUSY in row for row in rows):
        return ["busy: other jobs have all of the machine, so none was tried there; no fault"]
    return []


def fix(kind: str, words: Mapping[str, Any]) -> str:
    """Return what to do about a fault."""
    return REMEDIES[kind].format(**words)


class Row:
    """One machine: its cells, and remarks about the bad ones."""

    def __init__(self, machine: Mapping[str, Any], cluster: Mapping[str, Any]) -> None:
        self.machine = machine
        self.cluster = cluster
        self.cells: dict[str, Any] = dict.fromkeys(COLUMNS[1:])
        self.remarks: list[str] = []

    def fault(self, column: str, words: str, kind: str = "", *, short: Any = False) -> None:
        """Note a fault in a cell, and below the table what to do."""
        name = self.machine["name"]
        remedy = fix(
            kind or column,
            {
                "name": name,
                "address": self.machine["address"],
                "head": self.cluster["head"],
                "inventory": self.cluster["inventory"],
            },
        )
        self.cells[column] = short
        self.remarks.append(f"{name}: {words}; {remedy}")

    def judge(self) -> None:
        """Fill the cells, from the left."""
        seen = self.machine["seen"]
        if seen:
            self.cells["ssh"] = True
            self.judge_health(seen)
        else:
            self.fault("ssh", f"does not answer at {self.machine['address']}", short="!unreachable")
        if self.machine["computes"] and self.cluster["tried"].get("nodes") is not None:
            self.judge_slurm(self.cluster["tried"])

    def judge_health(self, seen: Mapping[str, Any]) -> None:
        """Judge what the machine found out about itself."""
        health = seen["health"] or {"checks": {}, "faults": []}
        self.judge_checks(health)
        for column, words in (("files", seen["files"]), ("munge", seen["munge"])):
            if words and self.cells[column] is not False:
                said = f"munge does not believe the head: {words}" if column == "munge" else words
                self.fault(column, said)
            elif self.cells[column] is None and self.cluster["opened"]:
                self.cells[column] = True
        slurm = health["checks"].get("slurm", {}).get("fault")
        # Where munge or the time is wrong, that the head does not believe it is no news.
        if slurm and self.cells["munge"] is not False and self.cells["time"] is not False:
            self.fault("slurm", slurm, "health")
        wanted = self.cluster["opened"].get("slurm_conf_sha256")
        has = health.get("slurm_conf_sha256")
        if wanted and has and wanted != has:
            words = "has another slurm.conf than the head"
            self.fault("slurm", words, "configuration", short="!other slurm.conf")

    def judge_checks(self, health: Mapping[str, Any]) -> None:
        """Judge the health program's checks, and faults that belong to none."""
        explained = []
        for name, check in health["checks"].items():
            column = CHECKS.get(name.partition(" ")[0])
            if check["fault"]:
                explained.append(check["fault"])
            if column and check["fault"]:
                detail = f" ({check['detail']})" if check["detail"] else ""
                self.fault(column, check["fault"] + detail)
            elif column and self.cells[column] is None:
                self.cells[column] = True
        for fault in health["faults"]:
            if fault not in explained:
                self.fault("slurm", fault, "health")

    def judge_slurm(self, tried: Mapping[str, Any]) -> None:
        """Judge what Slurm says of the machine, and how the jobs there ended."""
        name, measured = self.machine["name"], self.machine["measured"]
        node = tried["nodes"].get(name)
        if node is None:
            if measured:
                self.fault("slurm", "Slurm does not know it", "inventory", short="!unknown")
            return
        wrong = misdescribed(node, measured)
        if wrong:
            self.fault("slurm", wrong, "inventory", short="!" + node["state"])
        elif node["state"] not in UP:
            self.judge_down(node)
        elif self.cells["slurm"] is None:
            self.cells["slurm"] = node["state"]
        job = tried["jobs"].get(name)
        if job in ("ok", BUSY):
            self.cells["job"] = True if job == "ok" else BUSY
        elif job:
            self.fault("job", f"a job there failed: {job}")
        if name in tried["mpi_nodes"]:
            mpi = tried["mpi"]
            self.cells["mpi"] = BUSY if mpi == BUSY else mpi == "ok"

    def judge_down(self, node: Mapping[str, Any]) -> None:
        """Say why Slurm does not use it, unless that has been said."""
        state, reason = "!" + node["state"], node["reason"]
        if self.remarks:  # the cause stands there already
            self.cells["slurm"] = state
            return
        because = f": {reason}" if reason else ""
        self.fault("slurm", f"Slurm calls it {node['state']}{because}", short=state)


def misdescribed(node: Mapping[str, Any], measured: Mapping[str, Any]) -> str:
    """Say in what Slurm's description of a machine is not what was measured; empty if right."""
    if not measured:
        return ""
    if node["cpus"] != measured["cpus"]:
        return f"Slurm thinks it has {node['cpus']} CPUs, but it has {measured['cpus']}"
    if not measured["memory_mb"] // 4 <= node["memory_mb"] <= measured["memory_mb"]:
        return (
            f"Slurm thinks it has {node['memory_mb']} MB of memory to give,"
            f" but it has {measured['memory_mb']}"
        )
    return ""
