"""The command `completion`: what a shell needs so that Tab knows our commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

#: What is completed, and the variable by which a script asks.
NAME, VARIABLE = "fleetcast", "_FLEETCAST_COMPLETE"
#: How each shell is told, for good.
KEPT = {
    "bash": "fleetcast completion bash > ~/.local/share/bash-completion/completions/fleetcast",
    "zsh": "fleetcast completion zsh > ~/.zfunc/_fleetcast, with ~/.zfunc in fpath before compinit",
    "fish": "fleetcast completion fish > ~/.config/fish/completions/fleetcast.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(sorted(KEPT)))
@click.pass_context
def completion_command(context: click.Context, shell: str) -> None:
    """Print the script that completes commands and options in SHELL.

    For this shell alone: `eval "$(fleetcast completion bash)"`, or in fish `fleetcast completion fish | source`.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    template = kind(context.find_root().command, {}, NAME, VARIABLE).source_template
    script = template % {"complete_func": "_fleetcast_completion", "complete_var": VARIABLE, "prog_name": NAME}
    click.echo(f"{script.strip()}\n# To keep it: {KEPT[shell]}")
