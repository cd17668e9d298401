"""Measures the HTTP service against the same workers on SQLite, its latency with many workers, and the cost of workers that wait.

Workers are processes with trials of no length: each completes a trial and gets the next one in the same call. The pairs of
SQLite and HTTP run in turn, with the same number of workers, so a load of the machine touches both::

    python -m benchmarks.service [--workers 1 8] [--rounds 3] [--seconds 10] [--crowd 200] [--waiting 1000]

Prints one line of JSON for each measurement.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median
from typing import Any

from broodline.config.study import parse
from broodline.controller.access import StudyClient, client_of
from broodline.controller.client import Start, WorkerSession
from broodline.core.study import StudyConfig
from broodline.core.trial import Measurement
from broodline.storage.location import open_store

TOKEN = "benchmark-0123456789abcdef"
CROWD_PROCESSES = 4
_ENDED = 10**9


def study(name: str, *, population: int, trials: int = _ENDED) -> StudyConfig:
    space = {"lr": {"float": [1e-5, 1.0], "log": True}, "width": {"ordered": [16, 32, 64]}}
    tables = {"objective": {"score": "maximize"}, "space": space, "budget": {"trials": trials}, "engine": {"lease": 600}}
    return parse({"name": name, "trial_steps": 10, "population": population, **tables}, "benchmark")


@contextmanager
def served(directory: Path) -> Iterator[tuple[str, int]]:
    """The URL of a service of the database in a directory, and the number of its process."""
    tokens = directory / "tokens"
    tokens.touch(mode=0o600)
    tokens.write_text(f"admin {TOKEN}\n")
    store = ["--store", f"sqlite:///{directory / 'broodline.db'}", "--tokens", str(tokens)]
    command = [sys.executable, "-m", "broodline", "serve", *store, "--port", "0", "--max-rate", "1000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().split()[-1], process.pid
        finally:
            process.terminate()


def complete(client: StudyClient, name: str, start: Start, identity: WorkerSession) -> Any:
    trial = start.trial
    measured = [Measurement(step=trial.end, metrics={"score": trial.params["lr"]})]
    path = f"checkpoints/{trial.number:06d}.{trial.attempt}"
    return client.complete(name, trial.number, trial.attempt, measured, path, identity)


def work(url: str, name: str, worker: int, seconds: float, ready: Barrier, results: Queue[list[float]]) -> None:
    """One worker process: the seconds of each of its calls."""
    with closing(open_store(url)) as store:
        client, identity = client_of(store), WorkerSession(worker=str(worker), session=f"session {worker}")
        answer, took = client.ask(name, identity), list[float]()
        ready.wait()
        until = time.monotonic() + seconds
        while (began := time.monotonic()) < until:
            assert isinstance(answer, Start), answer
            answer = complete(client, name, answer, identity)
            took.append(time.monotonic() - began)
        results.put(took)


def crowd(url: str, name: str, workers: range, seconds: float, ready: Barrier, results: Queue[list[float]]) -> None:
    """One process with many simulated workers, each a thread with a connection and a pause in which it would train."""
    with closing(open_store(url)) as store:
        client, took, pause = client_of(store), list[float](), 1.0
        sessions = [WorkerSession(worker=str(number), session=f"session {number}") for number in workers]
        begun = threading.Barrier(len(sessions) + 1)

        def loop(identity: WorkerSession) -> None:
            answer = client.ask(name, identity)
            begun.wait()
            time.sleep(pause * (hash(identity.worker) % 1000) / 1000)
            while time.monotonic() < until[0]:
                began = time.monotonic()
                answer = complete(client, name, answer, identity)  # type: ignore[arg-type]
                took.append(time.monotonic() - began)
                time.sleep(pause)

        until = [float("inf")]
        threads = [threading.Thread(target=loop, args=(identity,)) for identity in sessions]
        for thread in threads:
            thread.start()
        ready.wait()
        until[0] = time.monotonic() + seconds
        begun.wait()
        for thread in threads:
            thread.join()
        results.put(took)


def measured(target: Any, url: str, name: str, shares: Sequence[Any], seconds: float) -> dict[str, float]:
    """Trials a second, and the median and the 99th percentile of the seconds of a call, in ms."""
    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(len(shares)), context.Queue()
    processes = [context.Process(target=target, args=(url, name, share, seconds, ready, results)) for share in shares]
    for process in processes:
        process.start()
    took = sorted(each for _ in processes for each in results.get())
    for process in processes:
        process.join()
    return {
        "trials_per_second": round(len(took) / seconds, 1),
        "median_ms": round(1000 * took[len(took) // 2], 2),
        "p99_ms": round(1000 * took[int(0.99 * len(took))], 2),
    }


def pair(workers: int, rounds: int, seconds: float) -> None:
    """The same workers on SQLite and on HTTP, in turn."""
    rates: dict[str, list[float]] = {"sqlite": [], "http": []}
    for number in range(rounds):
        with tempfile.TemporaryDirectory(prefix="broodline-") as directory:
            path = Path(directory)
            database = f"sqlite:///{path / 'direct.db'}"
            with closing(open_store(database)) as store:
                client_of(store).open(study("s", population=max(20, workers)))
            with served(path) as (url, _), closing(open_store(url)) as store:
                client_of(store).open(study("s", population=max(20, workers)))
                for kind, each in (("sqlite", database), ("http", url)):
                    found = measured(work, each, "s", range(workers), seconds)
                    rates[kind].append(found["trials_per_second"])
                    print(json.dumps({"store": kind, "workers": workers, "round": number, **found}), flush=True)
    ratio = median(http / sqlite for http, sqlite in zip(rates["http"], rates["sqlite"], strict=True))
    print(json.dumps({"workers": workers, "http_to_sqlite": round(ratio, 2), "load": os.getloadavg()[0]}), flush=True)


def many(workers: int, seconds: float) -> None:
    """Latency as many workers see it, whose trials take a second."""
    with tempfile.TemporaryDirectory(prefix="broodline-") as directory, served(Path(directory)) as (url, pid):
        with closing(open_store(url)) as store:
            client_of(store).open(study("s", population=workers))
        shares = [range(first, workers, CROWD_PROCESSES) for first in range(CROWD_PROCESSES)]
        before = cpu_seconds(pid)
        found = measured(crowd, url, "s", shares, seconds)
        share = round((cpu_seconds(pid) - before) / seconds, 2)
        print(json.dumps({"crowd": workers, **found, "cores_of_the_service": share}), flush=True)


def waiting(workers: int, seconds: float) -> None:
    """The share of a core that the service uses while workers wait: each has a request that the service holds."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * workers + 1000), hard))
    with tempfile.TemporaryDirectory(prefix="broodline-") as directory, served(Path(directory)) as (url, pid):
        with closing(open_store(url)) as store:
            client = client_of(store)
            client.open(study("s", population=1, trials=1))
            client.ask("s", WorkerSession(worker="trains", session="the only trial"))
        address = url.partition("://")[2].partition(":")
        sockets = selectors.DefaultSelector()
        for number in range(workers):
            each = socket.create_connection((address[0], int(address[2])))
            sockets.register(each, selectors.EVENT_READ, held_request(number))
            each.sendall(held_request(number))
        time.sleep(5.0)
        before, began = cpu_seconds(pid), time.monotonic()
        asked = 0
        while (left := seconds - (time.monotonic() - began)) > 0:
            for key, _ in sockets.select(left):
                assert isinstance(key.fileobj, socket.socket)
                answer = key.fileobj.recv(1 << 16)
                assert answer.startswith((b"HTTP/1.1 200", b'{"answer":"wait"')), answer
                if answer.endswith(b"}"):  # the head may come alone
                    key.fileobj.sendall(key.data)
                    asked += 1
        share = 100 * (cpu_seconds(pid) - before) / (time.monotonic() - began)
        for key in list(sockets.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        print(json.dumps({"waiting": workers, "percent_of_a_core": round(share, 1), "requests": asked}), flush=True)


def held_request(worker: int) -> bytes:
    body = json.dumps({"worker": str(worker), "session": f"session {worker}", "wait": 20.0}).encode()
    head = f"POST /v1/studies/s/ask HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def cpu_seconds(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--crowd", type=int, default=200)
    parser.add_argument("--waiting", type=int, default=1000)
    arguments = parser.parse_args()
    os.environ["BROODLINE_TOKEN"] = TOKEN
    for workers in arguments.workers:
        pair(workers, arguments.rounds, arguments.seconds)
    if arguments.crowd:
        many(arguments.crowd, arguments.seconds)
    if arguments.waiting:
        waiting(arguments.waiting, max(30.0, arguments.seconds))


if __name__ == "__main__":
    main()
