"""Ansible action: print a table, one row for each machine.

The task gives the columns' titles and the rows. A cell is true (fine), false (broken), null (does
not apply), or a word. Below the table stand remarks, each about one machine. Nothing is
connected to and nothing changes; the task fails if C(failed_when) of the task says so::

    - name: Show it
      report:
        title: What works
        columns: [machine, ssh, time]
        rows:
          - [node1, true, false]
        remarks: ["node1: the clock is off by 600 s; run: ..."]
"""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

WORDS = {True: "✓ ok", False: "✗ fault"}


def cell(value: Any) -> str:
    """Return what stands in the table for a value; a word that begins with ! is a fault."""
    if isinstance(value, bool):
        return WORDS[value]
    if value is None:
        return "-"
    text = str(value)
    return f"✗ {text[1:].strip()}" if text.startswith("!") else text


def table(columns: list[str], rows: list[list[Any]]) -> list[str]:
    """Return the lines of a table, its columns as wide as what is in them."""
    lines = [[name.upper() for name in columns]]
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"the row {row} has {len(row)} cells for {len(columns)} columns")
        lines.append([cell(value) for value in row])
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    return [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """Show the table through Ansible's display, whatever callback shows the tasks."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Print what the task gives."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, wanted = self.validate_argument_spec(
            {
                "title": {"type": "str", "default": ""},
                "columns": {"type": "list", "elements": "str", "required": True},
                "rows": {"type": "list", "elements": "list", "required": True},
                "remarks": {"type": "list", "elements": "str", "default": []},
            }
        )
        lines = table(wanted["columns"], wanted["rows"])
        if wanted["title"]:
            lines = [wanted["title"], "", *lines]
        if wanted["remarks"]:
            lines += ["", *wanted["remarks"]]
        Display().display("\n" + "\n".join(lines) + "\n")
        result["changed"] = False
        return result
