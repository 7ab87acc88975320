"""`outlive doctor`: checks a deployment, and says what to mend."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from cli import deployment
from cli.exit_status import Exit
from doctor.checks import CHECKS
from doctor.findings import Patient


@click.command()
@click.argument("address", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def doctor(folder: Path | None, address: str | None, *, as_json: bool) -> int:
    """Check a deployment, and say how to mend it.

    Looks at rights, servers, clocks, provider, secrets and processes. ADDRESS is what browsers use,
    such as https://chat.example.org: with it, TLS and the proxies on the way are checked, too. Exit
    status: 0 nothing was found, 1 there is something to mend.
    """
    if address is not None and not address.startswith(("http://", "https://")):
        raise click.BadParameter(f"{address!r} does not begin with http:// or https://.")
    if folder is None:
        deployment.settings()  # those of a running `outlive up`, if the environment names none
    patient = Patient.of(folder, address)
    found = {name: list(check(patient)) for name, check in CHECKS.items()}
    if address is None:
        del found["address"]
    findings = [finding for some in found.values() for finding in some]
    if as_json:
        document = {
            "healthy": not findings,
            "checked": list(found),
            "findings": [asdict(finding) for finding in findings],
        }
        click.echo(json.dumps(document, indent=2))
    else:
        for name, some in found.items():
            click.echo(f"{'mend' if some else 'ok':<5} {name}")
            for finding in some:
                click.echo(f"      {finding.check}: {finding.what}\n      -> {finding.mend}")
        if address is None:
            click.echo("Not checked: the public address. Give it as an argument.")
    return Exit.ERROR if findings else Exit.DONE
