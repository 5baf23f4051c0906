"""``lamppost completion``: click's own completion scripts."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from gateway.cli.main import COMPLETE, cli

WHERE = {
    "bash": 'eval "$(lamppost completion bash)" in ~/.bashrc',
    "zsh": 'eval "$(lamppost completion zsh)" in ~/.zshrc',
    "fish": "lamppost completion fish > ~/.config/fish/completions/lamppost.fish",
}


@click.command("completion", short_help="Print the completion script of a shell.")
@click.argument("shell", type=click.Choice(list(WHERE)))
def command(shell: str) -> None:
    """Print the script that completes `lamppost` commands and options in a SHELL.

    \b
    bash: eval "$(lamppost completion bash)"                       in ~/.bashrc
    zsh:  eval "$(lamppost completion zsh)"                        in ~/.zshrc
    fish: lamppost completion fish > ~/.config/fish/completions/lamppost.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None  # the choice has only shells that click knows
    click.echo(f"# {WHERE[shell]}")
    click.echo(kind(cli, {}, "lamppost", COMPLETE).source())
