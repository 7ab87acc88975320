"""Units of systemd made from the Procfile, so that a deployment runs exactly what `up` runs.

One target starts everything. Each line of the Procfile is one service; `web` and `worker` are
templates with as many instances as are asked for, so that one can be restarted after the other.
All instances of web share one socket, which stays open whatever happens to them: a restart refuses
no connection. A service knows nothing but its files of variables (`env_files.py`), and is skipped
on a machine where its own is missing. It runs as a user of its own, and sees a file system that it
cannot write to.

When a worker has ended, however that was, `outlive sweep --died` ends its answers at once: systemd
has seen its death. So each start is named by systemd's id of the invocation.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from local import env_files

#: Seconds after which web is killed: it sends its streams away at once, and the rest within 8.
WEB_STOP_SECONDS: Final = 30
#: Seconds that a worker gets for its end, after those for its answers.
WORKER_MORE_SECONDS: Final = 30

#: What no process of ours needs.
_HARDENING: Final = """\
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=yes
ProtectProc=invisible
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
PrivateDevices=yes
PrivateTmp=yes
LockPersonality=yes
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
UMask=0077
"""


@dataclass(frozen=True)
class Deployment:
    """What the units are made for."""

    procfile: dict[str, list[str]]
    #: the checkout, its environment's programs, and the folder of the files of variables
    root: Path
    programs: Path
    env: Path
    prefix: str
    user: str
    #: instances of web and of the worker
    web: int
    workers: int
    port: int
    #: seconds that a stopping worker continues its answers
    drain: float


def units(deployment: Deployment) -> dict[str, str]:
    """The units' texts by their file names."""
    name = deployment.prefix
    instances = [f"{name}-web@{n}.service" for n in range(1, deployment.web + 1)]
    instances += [f"{name}-worker@{n}.service" for n in range(1, deployment.workers + 1)]
    wanted = [f"{name}-release.service", f"{name}-web.socket", *instances, f"{name}-flower.service"]
    stop = int(deployment.drain) + WORKER_MORE_SECONDS
    return {
        f"{name}.target": _TARGET.format(wants=" ".join(wanted)),
        f"{name}-web.socket": _SOCKET.format(name=name, port=deployment.port, env=deployment.env),
        f"{name}-release.service": _service(
            deployment,
            "release",
            "Migrations of Outlive",
            "Type=oneshot\nRestart=on-failure\nRestartSec=5\n",
        ),
        f"{name}-web@.service": _service(
            deployment,
            "web",
            "Web process %i of Outlive",
            # One process each: an instance is what is restarted. (gunicorn finds systemd's socket.)
            # At each start systemd sets the mode of the socket, for all who share it. If it blocks,
            # one that comes too late for a connection waits for the next one and does nothing else.
            f"Type=exec\nSockets={name}-web.socket\nNonBlocking=yes\n"
            "Environment=WEB_CONCURRENCY=1\nLimitNOFILE=65536\n"
            f"{_RUN.format(name=name, line='web')}{_LASTING.format(stop=WEB_STOP_SECONDS)}",
        ),
        f"{name}-worker@.service": _service(
            deployment,
            "worker",
            "Worker %i of Outlive",
            "Type=exec\nLimitNOFILE=65536\n"
            f"{_RUN.format(name=name, line='worker')}{_LASTING.format(stop=stop)}"
            f"ExecStopPost=-{deployment.programs}/python -m cli sweep --died ${{INVOCATION_ID}}\n",
            more=f"--hostname {name}-%i@%%h",
        ),
        f"{name}-flower.service": _service(
            deployment,
            "flower",
            "Flower of Outlive",
            f"Type=exec\n{_LASTING.format(stop=10)}",
        ),
    }


_TARGET: Final = """\
[Unit]
Description=Outlive
Wants={wants}

[Install]
WantedBy=multi-user.target
"""

_SOCKET: Final = """\
[Unit]
Description=Where Outlive's web listens
PartOf={name}.target
ConditionPathExists={env}/web.env

[Socket]
ListenStream=127.0.0.1:{port}
Backlog=2048
Service={name}-web@1.service
"""

#: Numbers of processes that one /metrics shows, in a folder that is empty when the machine starts;
#: and a file that ends a start when the process takes work: restarts in a row are one by one.
_RUN: Final = """\
RuntimeDirectory={name} {name}/metrics
RuntimeDirectoryPreserve=yes
Environment=PROMETHEUS_MULTIPROC_DIR=/run/{name}/metrics
Environment=OUTLIVE_READY_FILE=/run/{name}/{line}-%i.ready
ExecStartPre=/bin/rm -f /run/{name}/{line}-%i.ready
ExecStartPost=/bin/sh -c 'until test -e /run/{name}/{line}-%i.ready; do sleep 0.1; done'
"""

#: SIGTERM goes to the main process only: it ends its children in order.
_LASTING: Final = """\
Restart=always
RestartSec=1
KillMode=mixed
KillSignal=SIGTERM
TimeoutStopSec={stop}
"""


def _service(
    deployment: Deployment, line: str, description: str, service: str, more: str = ""
) -> str:
    """A service: `service` has its own settings, `more` more words for its command."""
    name = deployment.prefix
    command = " ".join(_quoted(word) for word in deployment.procfile[line])
    if line == "worker":  # named by its start, so that its death can be told from others
        command = f"/usr/bin/env OUTLIVE_BOOT=${{INVOCATION_ID}} {command} {more}"
    after = "network-online.target postgresql.service redis-server.service valkey-server.service"
    if line != "release":
        after += f" {name}-release.service"
    files = "".join(
        f"EnvironmentFile={deployment.env}/{file}.env\n" for file in (env_files.COMMON, line)
    )
    return (
        f"[Unit]\nDescription={description}\nPartOf={name}.target\nWants=network-online.target\n"
        f"After={after}\nStartLimitIntervalSec=0\n"
        f"ConditionPathExists={deployment.env}/{line}.env\n\n"
        f"[Service]\n{service}"
        f"User={deployment.user}\nWorkingDirectory={deployment.root}\n{files}"
        f"ExecStart={command}\n"
        f"\n{_HARDENING}"
    )


def _quoted(word: str) -> str:
    """A word of a command as systemd reads it: like a shell, with % and $ doubled."""
    return shlex.quote(word).replace("%", "%%").replace("$", "$$")
