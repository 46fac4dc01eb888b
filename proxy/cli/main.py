"""The group of all commands. Exit codes: 0 done, 1 failed (one line on stderr), 2 wrong usage."""

from __future__ import annotations

from collections import UserDict
from importlib import import_module
from typing import Any, Final

import click

# What each command does, in the first line of its own help. They stand here so that `--help` and
# every single command cost the imports of no other command.
_COMMANDS: Final = {
    "check": "Validate the configuration.",
    "connections": "See and close the live connections of a running gateway.",
    "demo": "Run example services and a gateway on loopback, with a key for this run.",
    "doctor": "Dial URL as a client would, and say which hop on the way ate what.",
    "explain": "Say what the gateway would answer to a request, and why.",
    "healthcheck": "Exit 0 when the gateway's /readyz says 200.",
    "keys": "Make, change and end the keys in the store.",
    "schema": "Print the JSON Schema of the configuration, for editors and CI.",
    "serve": "Run the gateway in the foreground.",
    "usage": "Show what each key was used for.",
    "version": "Print the versions of wskeeper and of what it runs on.",
}


class _Imported(UserDict[str, click.Command]):
    """Commands by name; each is imported from its own module when it is asked for."""

    def __init__(self) -> None:
        # Stand-ins, so that what is looked for is found.
        super().__init__({name: click.Command(name) for name in _COMMANDS})

    def __getitem__(self, name: str) -> click.Command:
        command: click.Command = getattr(import_module(f"proxy.cli.{self.data[name].name}"), name)
        return command


class _Commands(click.Group):
    """A group that lists its commands without importing them, and knows where -c belongs."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as wrong:
            mend = "Options stand behind the command, as in `wskeeper serve -c FILE`."
            raise click.UsageError(f"{wrong.format_message()} {mend}", wrong.ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as wrong:
            params = () if wrong.ctx is None else wrong.ctx.command.params
            takes_file = any("--config" in param.opts for param in params)
            if not takes_file or "extra argument" not in wrong.message:
                raise
            mend = "a configuration is named with `-c FILE`"
            raise click.UsageError(f"{wrong.message}; {mend}", wrong.ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(sorted(_COMMANDS.items()))


@click.group(
    cls=_Commands,
    commands=_Imported(),
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="wskeeper", message="%(package)s %(version)s")
def main() -> None:
    """Puts API keys in front of WebSocket services that have no authentication of their own."""
