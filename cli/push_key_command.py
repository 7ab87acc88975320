"""The operator's command `push-key`."""

import json

import click

from cli.command_options import as_json
from cli.exit_status import Exit
from shared import vapid


@click.command(name="push-key")
@as_json
def push_key(*, as_json: bool) -> int:
    """Make a key for notifications, and print it as OUTLIVE_PUSH_KEY.

    Push services recognise a deployment by it. A new key unsubscribes all browsers, so make it
    once, and keep it where the other secrets are. Nothing is stored.
    """
    key = vapid.new_key()
    if as_json:
        public = vapid.Vapid(key, "").public_key
        click.echo(json.dumps({"private_key": key, "public_key": public}))
    else:
        click.echo(f"OUTLIVE_PUSH_KEY={key}")
    return Exit.DONE
