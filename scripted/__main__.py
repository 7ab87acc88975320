"""`python -m scripted --port 0`: run the scripted provider until SIGTERM."""

import argparse
import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

from scripted.server import ProviderServer
from scripted.wire import LINE_LIMIT

PARENT_POLL_SECONDS = 0.25
BACKLOG = 1024


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("scripted", description="An OpenAI-compatible API by script.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--port-file", type=Path, help="where to write the address, too")
    parser.add_argument("--parent", type=int, default=os.getppid(), help="end with this process")
    return parser.parse_args()


async def run(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    listening = await asyncio.start_server(
        ProviderServer().connected, options.host, options.port, limit=LINE_LIMIT, backlog=BACKLOG
    )
    host, port = listening.sockets[0].getsockname()[:2]
    report({"url": f"http://{host}:{port}/v1", "pid": os.getpid()}, options.port_file)
    watch = asyncio.create_task(watch_parent(options.parent, stop.set))
    await stop.wait()
    watch.cancel()
    listening.close()


def report(address: dict[str, str | int], port_file: Path | None) -> None:
    line = json.dumps(address)
    if port_file:
        draft = port_file.with_name(f".{port_file.name}.{os.getpid()}")
        draft.write_text(line + "\n")
        draft.replace(port_file)
    print(line, flush=True)


async def watch_parent(parent: int, then: Callable[[], None]) -> None:
    """Wait until the parent has ended, by polling: that also notices `kill -9`."""
    while os.getppid() == parent:
        await asyncio.sleep(PARENT_POLL_SECONDS)
    then()


with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
    asyncio.run(run(arguments()))
