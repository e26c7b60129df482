"""The server under load, and for long: throughput, latency, refusals, memory, a clean end.

    python benchmarks/serve.py [--smoke] [--soak MINUTES] [--write]

Without ``--soak``: 64 clients that ask for short texts as fast as they are answered, beside the
same texts in batches by ``Tagger.predict``, in turns in the same run; then more clients than the
server admits, of which those who are refused come back when they are told to. With it: mixed load
with clients that leave, bodies too large and too slow, new label sets and fits; SIGTERM at the end.
The clients are raw sockets in a process of their own. Prints a page; ``--write`` keeps the figures
in benchmarks/results/serve.json, beside those of the other programme. Exit code 1 says that answers
were lost or wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from labelwise import Tagger
from labelwise.data import read_dataset
from labelwise.precision import Processor, usable_cores
from labelwise.sample_data import SAMPLES

LABELS = [
    "person",
    "organization",
    "city",
    "date",
    "product",
    "amount",
    "role",
    "event",
    "law",
    "team",
]
RESULTS = Path("benchmarks/results/serve.json")
N_CLIENTS = 64
ADMITTED = 256
RETRY_S = 1.0  # what Retry-After says
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


def main() -> None:
    """Run one of the two programmes and say what it found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="seconds only, to see that it runs")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="the long programme")
    parser.add_argument("--write", action="store_true", help=f"keep the figures in {RESULTS}")
    arguments = parser.parse_args()
    about = {"machine": machine(), "smoke": arguments.smoke}
    if arguments.soak is not None:
        name, found = "soak", soak(60 * arguments.soak)
    else:
        name, found = "load", load(*(1, 1.5) if arguments.smoke else (5, 20.0))
    about["machine"]["load_after"] = os.getloadavg()
    sys.stdout.write(page(about, soak_lines(found) if name == "soak" else load_lines(found)))
    if arguments.write:
        kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        RESULTS.write_text(json.dumps(kept | {name: about | found}, indent=2) + "\n")
    sys.exit(1 if found["faults"] else 0)


def machine() -> dict[str, Any]:
    """Describe where and under what load the figures were taken."""
    return {
        "processor": Processor.here().name,
        "cores": usable_cores(),
        "load_before": os.getloadavg(),
    }


def say(line: str) -> None:
    """Tell who waits how it goes."""
    sys.stderr.write(f"{line}\n")


def sample_texts(n_texts: int) -> list[str]:
    """Sentences of the sample corpora, over and over, each with a number to be distinct."""
    corpora = ("support", "incidents", "contracts")
    sentences = [s for c in corpora for s in read_dataset(SAMPLES / c, "train")]
    texts = [" ".join(s.words) for s in sentences if 10 <= len(s.words) <= 30]
    return [f"{texts[i % len(texts)]} {i}" for i in range(n_texts)]


# The server, as a process


@dataclass
class Running:
    """A server process.

    Attributes:
        process: Itself.
        port: Where it listens.
    """

    process: subprocess.Popen[bytes]
    port: int

    def resident_mb(self) -> float:
        """Memory that it holds."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s*(\d+)", status)[0]) / 1024

    def cpu_s(self) -> float:
        """Processor time that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def server(*options: str) -> Iterator[Running]:
    """Start ``labelwise serve`` with the default model and wait until it is ready."""
    command = [sys.executable, "-m", "labelwise", "serve", "--port", "0", *options]
    log = tempfile.NamedTemporaryFile("r", suffix=".log")  # noqa: SIM115  # outlives this block
    with Path(log.name).open("w") as stream:
        started = subprocess.Popen([*command, "--log-level", "warning"], stderr=stream)
    try:
        running = Running(started, port_in(log))
        while call(running.port, b"GET", "/ready")[0] != 200:
            time.sleep(0.1)
        yield running
    finally:
        started.kill()
        started.wait()


def port_in(log: IO[str]) -> int:
    """Wait until a server has written where it listens."""
    line = ""
    while not line.endswith("\n"):
        line += log.readline()
        time.sleep(0.05)
    return int(line.rsplit(":", 1)[1])


# Requests, by hand


def request(path: str, body: object | None = None, method: bytes = b"POST") -> bytes:
    """Write a request."""
    data = b"" if body is None else json.dumps(body).encode()
    lines = [b"%s %s HTTP/1.1" % (method, path.encode()), b"Host: 127.0.0.1"]
    if body is not None:
        lines += [b"Content-Type: application/json", b"Content-Length: %d" % len(data)]
    return b"\r\n".join([*lines, b"", b""]) + data


def call(port: int, method: bytes, path: str, body: object | None = None) -> tuple[int, Any]:
    """Ask once; returns the status and the answer."""

    async def ask() -> tuple[int, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request(path, body, method))
        status, _, data = await answer(reader)
        writer.close()
        return status, data

    status, data = asyncio.run(ask())
    return status, json.loads(data)


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bytes]:
    """Read one answer: status, head and body."""
    start = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(start)
    body = await reader.readexactly(int(length[1])) if length else b""
    return int(start[9:12]), start, body


# Closed loop: every client asks again as soon as it is answered


class Client(asyncio.Protocol):
    """One connection that asks until time is up; once refused, it waits as it is told to."""

    def __init__(self, bodies: Sequence[bytes], tally: Tally) -> None:
        self._bodies, self._tally, self._i = bodies, tally, 0
        self._received = b""
        self._sent_at = 0.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._transport.write(self._bodies[self._i % len(self._bodies)])
        self._i += 1
        self._sent_at = time.perf_counter()

    def data_received(self, data: bytes) -> None:
        self._received += data
        start, end, rest = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(start)
        if not end or not length or len(rest) < int(length[1]):
            return
        now, status = time.perf_counter(), int(start[9:12])
        self._tally.add(status, now - self._sent_at, now, is_first=self._i == 1)
        self._received = b""
        if now >= self._tally.until:
            self._transport.close()
        elif status == 429:
            wait_s = RETRY_S * random.uniform(1.0, 2.0)  # not all at the same moment
            asyncio.get_running_loop().call_later(wait_s, self._ask)
        else:
            self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        if self._received or time.perf_counter() < self._tally.until:
            self._tally.n_lost += 1
        self._tally.n_open -= 1


@dataclass
class Tally:
    """What clients found.

    Attributes:
        until: When they stop.
        n_open: Clients at work.
        statuses: Answers by status.
        seconds: Of every answer 200.
        refused_s: Of every answer 429 but those to the first requests, which come all at once.
        n_lost: Requests without an answer.
    """

    until: float
    n_open: int
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    n_lost: int = 0

    def add(self, status: int, seconds: float, now: float, *, is_first: bool) -> None:
        """Count an answer."""
        self.statuses[status] += 1
        if status == 200 and now < self.until:
            self.seconds.append(seconds)
        if status == 429 and not is_first:
            self.refused_s.append(seconds)


def closed_loop(port: int, bodies: list[bytes], n_clients: int, seconds: float) -> dict[str, Any]:
    """Drive the server with clients in this process; call it in one of its own."""
    with contextlib.suppress(ImportError):
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())

    async def drive() -> Tally:
        loop = asyncio.get_running_loop()
        tally = Tally(time.perf_counter() + seconds, n_clients)
        for i in range(n_clients):
            mine = bodies[i::n_clients] or bodies
            await loop.create_connection(lambda mine=mine: Client(mine, tally), "127.0.0.1", port)
        while tally.n_open and time.perf_counter() < tally.until + 60:
            await asyncio.sleep(0.05)
        tally.n_lost += tally.n_open
        return tally

    cpu = time.process_time()
    tally = asyncio.run(drive())
    return {
        "clients": n_clients,
        "per_s": round(len(tally.seconds) / seconds, 1),
        "p50_ms": quantile_ms(tally.seconds, 0.5),
        "p99_ms": quantile_ms(tally.seconds, 0.99),
        "refused_p50_ms": quantile_ms(tally.refused_s, 0.5),
        "refused_p99_ms": quantile_ms(tally.refused_s, 0.99),
        "statuses": {str(k): v for k, v in sorted(tally.statuses.items())},
        "lost": tally.n_lost,
        "client_cpu_ms_per_request": round(
            1000 * (time.process_time() - cpu) / max(1, sum(tally.statuses.values())), 4
        ),
    }


def quantile_ms(seconds: Sequence[float], share: float) -> float:
    """Milliseconds within which such a share was answered; 0 where nothing was."""
    ordered = sorted(seconds) or [0.0]
    return round(1000 * ordered[int(share * (len(ordered) - 1))], 2)


def load(rounds: int, seconds: float) -> dict[str, Any]:
    """Compare the server with batches, in turns; then ask for more than it admits."""
    texts = sample_texts(4096)
    tagger = Tagger.from_pretrained()
    context = multiprocessing.get_context("spawn")
    rows: list[dict[str, Any]] = []
    with server() as running, ProcessPoolExecutor(1, mp_context=context) as pool:
        id = call(running.port, b"POST", "/v1/labels", {"labels": LABELS})[1]["id"]
        bodies = [request("/v1/predict", {"texts": [text], "label_set": id}) for text in texts]

        def drive(n_clients: int, seconds: float) -> dict[str, Any]:
            cpu = running.cpu_s()
            found = pool.submit(closed_loop, running.port, bodies, n_clients, seconds).result()
            return found | {"server_cpu_s": round(running.cpu_s() - cpu, 2)}

        drive(N_CLIENTS, min(seconds, 2.0))  # to warm up
        for _ in range(rounds):
            row = {"single": drive(1, seconds / 4), "many": drive(N_CLIENTS, seconds)}
            row["batch_per_s"] = batch_speed(tagger, texts, seconds)
            row["few"] = drive(4, seconds / 4)
            rows.append(row)
            asked, batched = row["many"]["per_s"], row["batch_per_s"]
            say(f"{asked:.0f} texts/s for {N_CLIENTS} clients, {batched:.0f} in batches")
        overload = drive(2 * ADMITTED, seconds)
    found = summary(rows)
    unexpected = set(overload["statuses"]) - {"200", "429"}
    faults = found["failed"] + overload["lost"] + len(unexpected)
    return found | {"faults": faults, "rounds": rows, "overload": overload}


def batch_speed(tagger: Tagger, texts: list[str], seconds: float) -> float:
    """Texts a second of the runtime on its own."""
    n_texts, started = 0, time.perf_counter()
    while time.perf_counter() < started + seconds:
        chunk = texts[n_texts % len(texts) :][:1024]
        tagger.predict(chunk, LABELS)
        n_texts += len(chunk)
    return round(n_texts / (time.perf_counter() - started), 1)


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the rounds, and what was aimed at."""

    def middle(*keys: str) -> float:
        values = [row[keys[0]][keys[1]] if len(keys) > 1 else row[keys[0]] for row in rows]
        return statistics.median(values)

    per_s, single_ms = middle("many", "per_s"), middle("single", "p50_ms")
    refused = sum(n for r in rows for s, n in r["many"]["statuses"].items() if s != "200")
    return {
        "per_s": per_s,
        "batch_per_s": middle("batch_per_s"),
        "share_of_batch": round(per_s / max(middle("batch_per_s"), 1e-9), 3),
        "single_ms": single_ms,
        "p99_ms": middle("many", "p99_ms"),
        "times_single": round(middle("many", "p99_ms") / max(single_ms, 1e-9), 1),
        "least_possible_times_single": round(1000 * N_CLIENTS / max(per_s * single_ms, 1e-9), 1),
        "failed": refused + sum(row["many"]["lost"] for row in rows),
    }


# Soak: everything at once, for long


@dataclass
class Soak:
    """Counts of the long programme, which ends at a reading of ``time.monotonic``."""

    until: float
    answered: Counter[str] = field(default_factory=Counter)
    unexpected: Counter[str] = field(default_factory=Counter)
    n_lost: int = 0

    def expect(self, kind: str, status: int, *statuses: int) -> None:
        """Count an answer, and whether it is one of those that may come."""
        self.answered[f"{kind} {status}"] += 1
        if status not in statuses:
            self.unexpected[f"{kind} {status}"] += 1


async def asker(port: int, soak: Soak, texts: Sequence[str], rng: random.Random) -> None:
    """Ask politely, now and then for a new label set or a fit, until told to leave."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while True:
        sent = rng.sample(texts, rng.choice([1, 1, 1, 8]))
        kind, path, body = "predict", "/v1/predict", {"texts": sent, "labels": LABELS}
        draw = rng.random()
        if draw < 0.05:
            body["labels"] = [f"kind {rng.randrange(10**6)}" for _ in range(5)]
        elif draw < 0.06:
            kind, path = "fit", "/v1/fit"
            word = sent[0].split()[0]
            marked = {"start": 0, "end": len(word), "label": "person"}
            body = {"examples": [{"text": word, "entities": [marked]}]}
        elif draw < 0.07:
            body["texts"] = [" ".join(rng.choices(texts, k=200))]
        try:
            writer.write(request(path, body))
            status, start, _ = await answer(reader)
        except (OSError, EOFError):
            soak.n_lost += 1
            return
        soak.expect(kind, status, 200, 429)
        if b"connection: close" in start.lower():
            return


async def leaver(port: int, soak: Soak, texts: Sequence[str], rng: random.Random) -> None:
    """Ask, and be gone before the answer."""
    while time.monotonic() < soak.until:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            whole = request("/v1/predict", {"texts": rng.sample(texts, 4), "labels": LABELS})
            writer.write(whole[: rng.randrange(1, len(whole) + 1)])
            await asyncio.sleep(rng.random() * 0.05)
            writer.transport.abort()
        soak.answered["left"] += 1
        await asyncio.sleep(0.05)


async def misfit(port: int, soak: Soak, texts: Sequence[str], rng: random.Random) -> None:
    """Send bodies that are too large or too slow."""
    while time.monotonic() < soak.until - 15:  # a slow one takes 10 seconds to be refused
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        is_large = rng.random() < 0.9
        whole = request("/v1/predict", {"texts": ["x" * (3_000_000 if is_large else 900)]})
        with contextlib.suppress(OSError, EOFError):
            writer.write(whole if is_large else whole[:500])
            status, _, _ = await answer(reader)
            soak.expect("large" if is_large else "slow", status, 413 if is_large else 408)
        writer.close()
        await asyncio.sleep(0.2)


def soak_clients(port: int, texts: list[str], until: float) -> dict[str, Any]:
    """Run all clients in this process until the server tells the polite ones to leave."""

    async def drive() -> Soak:
        found = Soak(until)
        kinds = [asker] * 24 + [leaver] * 4 + [misfit] * 2
        jobs = [kind(port, found, texts, random.Random(i)) for i, kind in enumerate(kinds)]
        await asyncio.gather(*jobs)
        return found

    found = asyncio.run(drive())
    return {
        "answered": dict(sorted(found.answered.items())),
        "unexpected": dict(found.unexpected),
        "lost": found.n_lost,
    }


def soak(seconds: float) -> dict[str, Any]:
    """Run mixed load for long, watch the memory, and end it with SIGTERM under load."""
    context = multiprocessing.get_context("spawn")
    with server() as running, ProcessPoolExecutor(1, mp_context=context) as pool:
        until = time.monotonic() + seconds
        clients = pool.submit(soak_clients, running.port, sample_texts(2048), until)
        memory = [running.resident_mb()]
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(60.0, seconds / 5, left))
            memory.append(running.resident_mb())
            say(f"{memory[-1]:.0f} MB, {max(0.0, until - time.monotonic()):.0f} s left")
        running.process.send_signal(signal.SIGTERM)
        found = clients.result()
        code = running.process.wait(60)
    faults = found["lost"] + sum(found["unexpected"].values()) + (code != 0)
    return found | {
        "seconds": seconds,
        "faults": faults,
        "exit_code": code,
        "memory_mb": [round(mb, 1) for mb in memory],
    }


def page(about: dict[str, Any], lines: Sequence[str]) -> str:
    """Write what was found as a page."""
    machine = about["machine"]
    head = [
        "# The server under load\n",
        f"{machine['processor']}, {machine['cores']} cores; load {machine['load_before'][0]:.2f} "
        f"before, {machine['load_after'][0]:.2f} after.\n",
    ]
    if about["smoke"]:
        head.append("**A smoke run: the figures mean nothing.**\n")
    return "\n".join([*head, *lines, ""])


def load_lines(found: dict[str, Any]) -> list[str]:
    """Describe throughput, latency and refusals."""
    overload = found["overload"]
    return [
        "| what | found | aim |",
        "|---|--:|--:|",
        f"| {N_CLIENTS} clients, short texts a second | {found['per_s']:,.0f} | |",
        f"| batches of the runtime, texts a second | {found['batch_per_s']:,.0f} | |",
        f"| share of the batches | {found['share_of_batch']} | >= 0.8 |",
        f"| one client, median | {found['single_ms']} ms | |",
        f"| {N_CLIENTS} clients, 99th percentile | {found['p99_ms']} ms | |",
        f"| times that of one client | {found['times_single']} | < 10 |",
        f"| least possible for a mean at this speed | {found['least_possible_times_single']} | |",
        f"| a refusal, 99th percentile | {overload['refused_p99_ms']} ms | < 50 |",
        f"| failed | {found['failed']} | 0 |",
        "",
        f"{overload['clients']} clients, where {ADMITTED} are admitted: answers by status "
        f"{overload['statuses']}, {overload['lost']} lost, {overload['per_s']:,.0f} texts/s.",
    ]


def soak_lines(found: dict[str, Any]) -> list[str]:
    """Describe a long run."""
    rows = [f"| {kind} | {n:,} |" for kind, n in found["answered"].items()]
    return [
        f"{found['seconds']:.0f} seconds of mixed load, SIGTERM at the end.\n",
        "| request and status | times |",
        "|---|--:|",
        *rows,
        "",
        f"- Answers that should not have come: {found['unexpected'] or 'none'}",
        f"- Requests without an answer: {found['lost']}",
        f"- Exit code: {found['exit_code']}",
        f"- Memory in MB at the start, every minute, and at the end: {found['memory_mb']}",
    ]


if __name__ == "__main__":
    main()
