"""Ansible action: copy several files into a directory of a machine, in few steps.

On old and on virtual machines each file that ansible.builtin.copy takes costs seconds; the
small ones go in one archive here. Large ones go one by one, so that a run that is cut has to
send again at most the one it was sending::

    - name: Copy the wheels
      send_files:
        files: [/var/cache/wheels/click-8.5.1-py3-none-any.whl]
        directory: /opt/wheels     # must exist
"""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

if TYPE_CHECKING:
    from collections.abc import Iterable

BATCH_BYTES = 8 * 2**20


def batches(sizes: Iterable[tuple[Path, int]], limit_bytes: int = BATCH_BYTES) -> list[list[Path]]:
    """Return files in groups of at most so many bytes; a larger file is a group of its own."""
    groups: list[list[Path]] = []
    room = 0
    for path, size in sorted(sizes, key=lambda item: (item[1], item[0])):
        if not groups or size > room:
            groups.append([])
            room = limit_bytes
        groups[-1].append(path)
        room -= size
    return groups


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """Pack here, send, unpack there."""

    TRANSFERS_FILES = True
    _supports_check_mode = True
    _requires_connection = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Send the files that the task names."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, wanted = self.validate_argument_spec(
            {
                "files": {"type": "list", "elements": "path", "required": True},
                "directory": {"type": "path", "required": True},
            }
        )
        files = [Path(path) for path in wanted["files"]]
        lacking = [str(path) for path in files if not path.is_file()]
        if lacking:
            raise AnsibleActionFail(f"no such file here: {', '.join(lacking)}")
        result.update(changed=bool(files), files=[path.name for path in files])
        if self._task.check_mode:
            return result
        for batch in batches((path, path.stat().st_size) for path in files):
            answer = self._send(batch, wanted["directory"], task_vars)
            if answer.get("failed"):
                result.update(answer)
                return result
        return result

    def _send(
        self, paths: list[Path], directory: str, task_vars: dict[str, Any] | None
    ) -> dict[str, Any]:
        """Send some files in one archive; they appear there whole."""
        shell = self._connection._shell  # noqa: SLF001 - so do Ansible's own actions
        if not shell.tmpdir:
            self._make_tmp_path()
        there = shell.join_path(shell.tmpdir, "files.tar")
        with tempfile.NamedTemporaryFile(suffix=".tar") as here:
            pack(paths, here.name)
            self._transfer_file(here.name, there)
        self._fixup_perms2((shell.tmpdir, there))
        answer: dict[str, Any] = self._execute_module(
            module_name="ansible.builtin.unarchive",
            module_args={"src": there, "dest": directory, "remote_src": True},
            task_vars=task_vars,
        )
        return answer


def pack(paths: list[Path], archive: str) -> None:
    """Write files into an archive, as root's, readable by all."""
    with tarfile.open(archive, "w", dereference=True) as tar:
        for path in paths:
            member = tar.gettarinfo(path, path.name)
            member.uid = member.gid = 0
            member.uname = member.gname = "root"
            member.mode = 0o644
            with path.open("rb") as file:
                tar.addfile(member, file)
