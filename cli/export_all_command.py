"""The command `export-all`: everything of the user, into a file or a pipe."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click

from cli.command_options import with_service
from cli.exit_status import Exit, Failure
from outlive_client import Outlive


@click.command("export-all")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option("--markdown", is_flag=True, help="For people; without it JSON lines, for programs.")
@with_service
def export_all(service: Outlive, file: Path | None, *, markdown: bool) -> int:
    """Write everything that is yours into FILE, or to standard output.

    FILE is there only once it is whole, and only you may read it.
    """
    end = b"" if markdown else b"\n"
    with _target(file) as target:
        for piece in service.export_all("markdown" if markdown else "json"):
            target.write(piece.encode() + end)
    return Exit.DONE


@contextmanager
def _target(file: Path | None) -> Iterator[BinaryIO]:
    """Standard output, or a file that appears once all is written."""
    if file is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        with open(part, "xb", opener=_for_us_only) as target:
            yield target
        part.replace(file)
    except OSError as error:
        raise Failure(f"{error.filename or file}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def _for_us_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
