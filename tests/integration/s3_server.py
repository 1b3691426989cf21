"""A real S3 server for tests: `minio` where it is on the PATH, else a one-node Ceph cluster with its RADOS gateway.

The cluster keeps its objects in memory, listens on loopback alone and dies with the process that started it. It is a real
server with its own opinions (it honours If-Match on PUT but not If-None-Match), which is why it is used.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ACCESS_KEY, SECRET_KEY = "madangtest", "madangtestsecret"
CEPH_TOOLS = ("ceph-mon", "ceph-osd", "ceph-mgr", "radosgw", "ceph-authtool", "monmaptool", "ceph", "radosgw-admin")
START_DEADLINE_S = 30
START_ATTEMPTS = 2


@dataclass(frozen=True)
class S3Server:
    """A running server. `environment`: the AWS_* variables that make obstore and minio talk to it."""

    kind: str
    endpoint: str
    process: subprocess.Popen[bytes]

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
        }


def available() -> str | None:
    """Which server this machine can start: 'minio', 'ceph' or None."""
    if shutil.which("minio"):
        return "minio"
    return "ceph" if all(shutil.which(tool) for tool in CEPH_TOOLS) else None


@contextmanager
def running_s3(folder: Path) -> Iterator[S3Server]:
    """Start the server below `folder` (an empty scratch folder), yield it, stop it."""
    kind = available()
    if kind is None:
        raise RuntimeError("no S3 server on this machine")
    processes: list[subprocess.Popen[bytes]] = []
    try:
        yield _minio(folder, processes) if kind == "minio" else _ceph_again(folder, processes)
    finally:
        _stop(processes)


def _ceph_again(folder: Path, processes: list[subprocess.Popen[bytes]]) -> S3Server:
    """Start the cluster; on a machine that is busy for half a minute, start a fresh one once more."""
    for attempt in range(START_ATTEMPTS):
        cluster = folder / f"cluster-{attempt}"
        cluster.mkdir()
        try:
            return _ceph(cluster, processes)
        except (RuntimeError, subprocess.TimeoutExpired):
            _stop(processes)
            if attempt == START_ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def _stop(processes: list[subprocess.Popen[bytes]]) -> None:
    while processes:
        process = processes.pop()
        process.send_signal(signal.SIGKILL)
        process.wait()


def _minio(folder: Path, processes: list[subprocess.Popen[bytes]]) -> S3Server:
    port = free_port()
    process = _start(
        ["minio", "server", "--address", f"127.0.0.1:{port}", str(folder / "data")],
        folder / "minio.log",
        processes,
        env={"MINIO_ROOT_USER": ACCESS_KEY, "MINIO_ROOT_PASSWORD": SECRET_KEY},
    )
    server = S3Server("minio", f"http://127.0.0.1:{port}", process)
    _wait_for_http(f"{server.endpoint}/minio/health/live", process, folder / "minio.log")
    return server


def _ceph(folder: Path, processes: list[subprocess.Popen[bytes]]) -> S3Server:
    """One monitor, one in-memory OSD, one gateway; no authentication between them, one replica."""
    fsid, mon_port, s3_port = str(uuid.uuid4()), free_port(), free_port()
    conf, monmap, keyring = folder / "ceph.conf", folder / "monmap", folder / "keyring"
    conf.write_text(
        f"""[global]
fsid = {fsid}
mon host = v1:127.0.0.1:{mon_port}
monmap = {monmap}
auth cluster required = none
auth service required = none
auth client required = none
ms bind msgr1 = true
ms bind msgr2 = false
ms bind ipv4 = true
public addr = 127.0.0.1
cluster addr = 127.0.0.1
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon max pg per osd = 2000
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 8589934592
osd max object name len = 1024
mon warn on pool no redundancy = false
run dir = {folder}/run
log file = {folder}/log/$name.log
admin socket =
pid file =
crash dir = {folder}/crash
mon data = {folder}/mon
osd data = {folder}/osd
rgw data = {folder}/rgw
mon data avail crit = 1
mon data avail warn = 1
rgw frontends = beast endpoint=127.0.0.1:{s3_port}
rgw dns name =
rgw thread pool size = 64
debug mon = 0
debug osd = 0
debug rgw = 0
""",
        encoding="utf-8",
    )
    for name in ("run", "log", "crash", "mon", "osd", "rgw"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    common = ["-c", str(conf)]
    address = f"[v1:127.0.0.1:{mon_port}/0]"
    _run(["monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, str(monmap)])
    _run(["ceph-authtool", "--create-keyring", str(keyring), "--gen-key", "-n", "mon.", "--cap", "mon", "allow *"])
    _run(["ceph-mon", *common, "-i", "a", "--mkfs", "--monmap", str(monmap), "--keyring", str(keyring)])
    _start(["ceph-mon", *common, "-i", "a", "-f"], folder / "mon.log", processes)
    osd_uuid = str(uuid.uuid4())
    _retry(["ceph", *common, "--connect-timeout", "5", "osd", "new", osd_uuid])
    # Left to ask the monitor, a storage daemon may send its first command before it has learnt the cluster's id, and ends
    # with 'wrong fsid'. Without that question it reads the id from the monmap file of its configuration.
    osd = ["ceph-osd", *common, "--no-mon-config", "-i", "0"]
    _run([*osd, "--mkfs", "--osd-uuid", osd_uuid])
    _start([*osd, "-f"], folder / "osd.log", processes)
    # A gateway that starts before the storage is up waits far longer than the storage takes.
    _retry(["ceph", *common, "--connect-timeout", "5", "osd", "dump"], until="osd.0 up")
    gateway = _start(["radosgw", *common, "-n", "client.rgw", "-f"], folder / "rgw.log", processes)
    server = S3Server("ceph", f"http://127.0.0.1:{s3_port}", gateway)
    _wait_for_http(server.endpoint, gateway, folder / "rgw.log")
    user = ["--uid", "madang", "--display-name", "madang", "--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY]
    _run(["radosgw-admin", *common, "-n", "client.rgw", "user", "create", *user])
    return server


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(
    command: list[str], log: Path, processes: list[subprocess.Popen[bytes]], env: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    # A test process that is killed takes its servers with it.
    tied = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
    with log.open("ab") as file:
        process = subprocess.Popen([*tied, *command], stdout=file, stderr=subprocess.STDOUT, env={**os.environ, **(env or {})})
    processes.append(process)
    return process


def _run(command: list[str], timeout_s: float = 60) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr[-800:]}")
    return done.stdout


def _retry(command: list[str], until: str = "") -> None:
    """Run the command again until it succeeds and prints `until`."""
    deadline = time.monotonic() + START_DEADLINE_S
    while True:
        try:
            if until in _run(command, timeout_s=15):
                return
        except (RuntimeError, subprocess.TimeoutExpired):
            if time.monotonic() > deadline:
                raise
        if time.monotonic() > deadline:
            raise RuntimeError(f"{' '.join(command)} never printed '{until}'")
        time.sleep(0.5)


def _wait_for_http(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_DEADLINE_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the S3 server ended: {log.read_text(errors='replace')[-800:]}")
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.3)
        else:
            return
    raise RuntimeError("the S3 server did not answer in time")
