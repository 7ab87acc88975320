"""A stable TCP address in front of a server that can be replaced, as a load balancer is.

    python -m local.address <descriptor of a listening socket> <file with the target's port>

Each new connection goes to the port that the file names at that moment. Existing connections stay
with the server that they were made to.
"""

import socket
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

from local import ports
from local.processes import Command
from local.saved_addresses import write_private
from local.server import Server

#: Connections that may wait while the process starts.
BACKLOG = 256
#: Bytes that are copied at once.
READ = 1 << 16


class Address(Server):
    """The process, and the file that names its target."""

    name = "address"

    def __init__(self, directory: Path, target: int, log: Path) -> None:
        """`target`: the port on the loopback that new connections go to first."""
        super().__init__()
        self.log = log
        self._file = directory / "target"
        self._listener = ports.listen(0, "127.0.0.1", BACKLOG)
        self.port: int = self._listener.getsockname()[1]
        self.point(target)

    @property
    def url(self) -> None:
        """It speaks no protocol of its own."""
        return

    def point(self, target: int) -> None:
        """Send new connections to another port on the loopback."""
        write_private(self._file, str(target))

    def command(self) -> Command:
        words = ["-m", "local.address", str(self._listener.fileno()), str(self._file.resolve())]
        return Command([sys.executable, *words], self.log, fds=(self._listener.fileno(),))

    def ready(self) -> bool:
        """The socket listens already: early connections wait in its backlog."""
        return True

    def ended(self) -> None:
        super().ended()
        self._listener.close()


def main(arguments: Sequence[str]) -> None:
    """Copy bytes both ways until the process is killed."""
    # Only this process needs gevent, and imports it before anything has made a thread.
    import gevent  # noqa: PLC0415
    from gevent import socket as cooperative  # noqa: PLC0415
    from gevent.server import StreamServer  # noqa: PLC0415

    descriptor, file = int(arguments[0]), Path(arguments[1])

    def serve(near: socket.socket, _: object) -> None:
        with suppress(OSError):
            far = cooperative.create_connection(("127.0.0.1", int(file.read_text())))
            with closing(far):
                back = gevent.spawn(copy, far, near)
                copy(near, far)
                back.join()

    def copy(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(READ):
                sink.sendall(data)
        # When one side closes, so does the other.
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    StreamServer(cooperative.socket(fileno=descriptor), serve).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
