"""What the modules' tests need: our module_utils where Ansible puts them, and modules to play."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, NoReturn

import ansible.module_utils
import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from tests.conftest import REPOSITORY

# Ansible puts an object of its own in the place of sys.intern, and PyTorch, which other tests
# load into the same process, takes nothing there but a function.
sys.intern = getattr(sys.intern, "unpatched_implementation", sys.intern)

# Before a test imports one of our modules.
ansible.module_utils.__path__.append(str(REPOSITORY / "playbooks" / "module_utils"))

Answer = tuple[int, str, str]


class Failed(Exception):
    """A module ended with fail_json."""


class Ended(BaseException):
    """A module ended with exit_json; no module catches it."""

    def __init__(self, result: dict[str, Any]) -> None:
        self.result = result


class Cut(BaseException):
    """A module was killed."""


class Commands:
    """Stands in for a machine's programs: notes what is run, and does what the test says.

    Set ``cut_at`` to have the module killed instead of its command of that number, from 0.
    """

    def __init__(self, does: Callable[[list[str]], Answer] | None = None) -> None:
        self.does = does
        self.run: list[list[str]] = []
        self.cut_at: int | None = None

    def __call__(self, command: list[str], **_: Any) -> Answer:
        assert all(isinstance(word, str) for word in command), command
        if len(self.run) == self.cut_at:
            raise Cut
        self.run.append(command)
        return self.does(command) if self.does else (0, "", "")


class Play:
    """Runs modules in this process; their arguments are checked as Ansible does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.commands = Commands()
        self.warnings: list[str] = []

    def __call__(
        self, module: ModuleType, *, check_mode: bool = False, **words: Any
    ) -> dict[str, Any]:
        """Return what the module ends with. Raises Failed with its message."""
        play = self

        class AnsibleModule:
            def __init__(self, *, argument_spec: dict[str, Any], **rules: Any) -> None:
                assert rules.pop("supports_check_mode")
                checked = ArgumentSpecValidator(argument_spec, **rules).validate(
                    copy.deepcopy(words)
                )
                if checked.error_messages:
                    raise Failed("; ".join(checked.error_messages))
                self.params = checked.validated_parameters
                self.check_mode = check_mode

            def run_command(self, command: list[str], **options: Any) -> Answer:
                return play.commands(command, **options)

            def warn(self, text: str) -> None:
                play.warnings.append(text)

            def exit_json(self, **result: Any) -> NoReturn:
                raise Ended(result)

            def fail_json(self, **result: Any) -> NoReturn:
                raise Failed(result["msg"])

        self.monkeypatch.setattr(module, "AnsibleModule", AnsibleModule)
        with pytest.raises(Ended) as ended:
            module.main()
        return ended.value.result


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Play:
    """Return a function that runs a module of ours, with programs that only say yes."""
    return Play(monkeypatch)
