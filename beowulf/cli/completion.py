"""``beowulf completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  beowulf completion bash >> ~/.bashrc
    zsh:   beowulf completion zsh >> ~/.zshrc
    fish:  beowulf completion fish > ~/.config/fish/completions/beowulf.fish
    """  # noqa: D301 - click wants the character itself before lines to keep
    from beowulf.cli.main import cli  # noqa: PLC0415 - imports this module in turn

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    script = kind(cli, {}, "beowulf", "_BEOWULF_COMPLETE").source()
    # Silent where beowulf is not to be found, as in a terminal without its environment.
    click.echo(script.replace("$1)", "$1 2>/dev/null)") if shell == "bash" else script)
