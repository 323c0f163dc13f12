"""Load test of `python -m bptt serve`: many good clients, and bad ones beside them.

    python benchmarks/serve_load.py --clients 10000 --rate 1 --seconds 60

Starts a server of an LSTM on loopback, with a token. Good clients have a WebSocket each and send a
binary row at their rate, whether or not the answer before has come (open loop): a latency begins
when the row was due. Bad clients vanish in the middle of a handshake or a message, send garbage and
frames that are too large, and have wrong tokens. In the end all answers must have the bits of each
stream stepped alone, none may be missing, and the sessions of clients that vanished must be gone.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import bptt

TOKEN = "load-test-token-0123456789"
IDLE = 5.0  # seconds, or three steps of a good client
LARGE = 1 << 20
HANDSHAKE = (
    "GET /v1/{path}stream HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    "Authorization: Bearer {token}\r\n\r\n"
)


def frame(data: bytes, opcode: int = 2) -> bytes:
    """Return a masked frame; a mask of zeros changes nothing."""
    size = len(data)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 1 << 16:
        head = bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0xFF)) + size.to_bytes(8, "big")
    return head + bytes(4) + data


class Client(asyncio.Protocol):
    """A good client: rows that are due at times, and the answers with theirs."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows
        self.answers: list[bytes] = []
        self.times: list[float] = []
        self.other: list[bytes] = []  # frames that are no answers
        self.ready = asyncio.get_running_loop().create_future()
        self.lost = False
        self._data = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(HANDSHAKE.format(path="", token=TOKEN).encode())

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(f"refused: {self._data[:200]!r}"))

    def data_received(self, data: bytes) -> None:
        self._data += data
        if not self.ready.done():
            head, end, rest = self._data.partition(b"\r\n\r\n")
            if not end or not head.startswith(b"HTTP/1.1 101"):
                return
            self._data = rest
            self.ready.set_result(None)
        while len(self._data) >= 2:
            size, start = self._data[1], 2
            if size == 126:
                size, start = int.from_bytes(self._data[2:4], "big"), 4
            if len(self._data) < start + size:
                return
            payload = self._data[start : start + size]
            opcode = self._data[0] & 15
            self._data = self._data[start + size :]
            if opcode == 2:
                self.answers.append(payload)
                self.times.append(time.perf_counter())
            elif opcode == 9:
                self.transport.write(frame(payload, 10))
            else:
                self.other.append(payload)

    def send(self, step: int) -> None:
        self.transport.write(frame(self.rows[step].tobytes()))


# ---- bad clients


async def bad(port: int, kind: str) -> None:
    """Do something wrong, and vanish with a reset of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    token = TOKEN if kind != "wrong token" else "wrong" * 5
    path = f"sessions/bad-{random.random()}/"
    hello = HANDSHAKE.format(path=path, token=token).encode()
    try:
        if kind == "garbage HTTP":
            writer.write(os.urandom(200) + b"\r\n\r\n")
        elif kind == "half a handshake":
            writer.write(hello[: len(hello) // 2])
        elif kind == "half a body":
            head = f"POST /v1/{path}step HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            head += f"Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
            writer.write(f"{head}Content-Length: 1000\r\n\r\n{{".encode())
        else:
            writer.write(hello)
            await reader.readuntil(b"\r\n\r\n")
            if kind == "garbage frames":
                writer.write(os.urandom(300))
            elif kind == "garbage messages":
                for _ in range(5):
                    writer.write(frame(os.urandom(50)) + frame(b'{"inputs": [1e999', 1))
            elif kind == "large frame":
                writer.write(frame(bytes(LARGE)))
            elif kind == "half a message":
                writer.write(frame(bytes(64))[:40])
            elif kind == "vanishes after a step":
                writer.write(frame(bytes(4 * INPUTS)))
        await asyncio.sleep(random.random() * 0.3)
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    except (OSError, asyncio.IncompleteReadError):
        pass  # the server has closed the connection
    finally:
        writer.close()


KINDS = (
    *("garbage HTTP", "half a handshake", "half a body", "wrong token", "garbage frames"),
    *("garbage messages", "large frame", "half a message", "vanishes after a step"),
)
INPUTS = 8


async def annoy(port: int, rate: float, done: asyncio.Event, counts: Counter[str]) -> None:
    """Start bad clients of all kinds in turn until the end."""
    tasks: set[asyncio.Task[None]] = set()
    while rate and not done.is_set():
        kind = KINDS[sum(counts.values()) % len(KINDS)]
        counts[kind] += 1
        task = asyncio.create_task(bad(port, kind))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        await asyncio.sleep(1.0 / rate)
    await asyncio.gather(*tasks, return_exceptions=True)


# ---- the test


async def run(port: int, arguments: argparse.Namespace, network: Any, pid: int) -> bool:
    steps = max(1, round(arguments.seconds * arguments.rate))
    generator = np.random.default_rng(0)
    shape = (arguments.clients, steps, INPUTS)
    rows = generator.standard_normal(shape, dtype=np.float32)
    loop = asyncio.get_running_loop()
    clients: list[Client] = []
    for one in rows:
        _, client = await loop.create_connection(lambda one=one: Client(one), "127.0.0.1", port)
        clients.append(client)
        if len(clients) % 100 == 0:
            await asyncio.gather(*(client.ready for client in clients[-100:]))
    await asyncio.gather(*(client.ready for client in clients))
    done, counts = asyncio.Event(), Counter[str]()
    annoying = asyncio.create_task(annoy(port, arguments.bad, done, counts))
    used, begin = processor_seconds(pid), time.perf_counter()
    due = np.empty((arguments.clients, steps))
    interval = 1.0 / (arguments.clients * arguments.rate)
    for number in range(arguments.clients * steps):
        step, i = divmod(number, arguments.clients)
        due[i, step] = begin + number * interval
        while (wait := due[i, step] - time.perf_counter()) > 0:
            await asyncio.sleep(wait if wait > 0.002 else 0)
        if number % 64 == 0:
            await asyncio.sleep(0)
        clients[i].send(step)
    for _ in range(600):
        if all(len(client.answers) == steps for client in clients):
            break
        await asyncio.sleep(0.05)
    wall = time.perf_counter() - begin
    busy = (processor_seconds(pid) - used) / wall
    done.set()
    await annoying
    return await report(port, arguments, clients, due, counts, wall, busy, network, rows, pid)


async def report(
    port: int,
    arguments: argparse.Namespace,
    clients: list[Client],
    due: np.ndarray,
    counts: Counter[str],
    wall: float,
    busy: float,
    network: Any,
    rows: np.ndarray,
    pid: int,
) -> bool:
    """Print what was measured, and return whether nothing was lost or changed."""
    missing = sum(len(client.rows) - len(client.answers) for client in clients)
    latencies = np.concatenate(
        [np.array(client.times) - due[i, : len(client.times)] for i, client in enumerate(clients)]
    )
    metrics = read_metrics(port)
    seconds = metrics["bptt_latency_seconds_sum"] / max(metrics["bptt_latency_seconds_count"], 1)
    batch = metrics["bptt_batch_rows_sum"] / max(metrics["bptt_batch_rows_count"], 1)
    p50, p99 = np.percentile(latencies, (50, 99)) * 1e3
    bad_kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "none"
    lost = sum(client.lost for client in clients)
    wrong = await count_wrong(network, rows, clients)
    print(f"good clients   {len(clients):,}, {len(latencies):,} answers in {wall:.1f} s")
    print(f"steps/s        {len(latencies) / wall:,.0f}, {batch:.1f} rows a batch")
    print(f"latency        p50 {p50:.2f} ms, p99 {p99:.2f} ms, max {latencies.max() * 1e3:.1f} ms")
    print(f"in the server  mean {seconds * 1e3:.2f} ms from message to outputs")
    print(f"server         {busy:.0%} of a core, {resident(pid) / 1e6:.0f} MB")
    print(f"bad clients    {bad_kinds}")
    errors = {name: int(n) for name, n in metrics.items() if "errors_total" in name}
    print(
        "errors        ",
        ", ".join(f"{name[26:-2]} {n}" for name, n in errors.items()) or "none",
    )
    print(f"missing        {missing} answers, {lost} connections")
    print(f"other bits     {wrong} streams")
    for client in clients:
        client.transport.abort()
    begin, idle = time.perf_counter(), idle_seconds(arguments.rate)
    while (left := read_metrics(port)["bptt_sessions"]) and time.perf_counter() - begin < 6 * idle:
        await asyncio.sleep(0.2)
    evicted = read_metrics(port)["bptt_evictions_total"]
    print(f"idle           {evicted:,.0f} sessions evicted, {left:.0f} left")
    return not (missing or wrong or left or lost)


async def count_wrong(network: Any, rows: np.ndarray, clients: list[Client]) -> int:
    """Return the number of streams whose answers are not those of the stream stepped alone."""
    wrong = 0
    for one, client in zip(rows, clients, strict=True):
        state, outputs = None, []
        for row in one[: len(client.answers)]:
            y, state = network.step(row[np.newaxis], state)
            outputs.append(y.tobytes())
        wrong += outputs != client.answers
        await asyncio.sleep(0)  # pings are answered
    return wrong


def idle_seconds(rate: float) -> float:
    return max(IDLE, 3.0 / rate)


def read_metrics(port: int) -> dict[str, float]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--rate", type=float, default=5.0, help="steps a second of a client")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--bad", type=float, default=20.0, help="bad clients a second")
    parser.add_argument("--hidden-size", type=int, default=64)
    arguments = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gc.disable()  # its pauses would be latencies
    network = bptt.Sequential(bptt.LSTM(INPUTS, arguments.hidden_size, seed=0))
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "lstm.safetensors"
        network.save(model)
        options = [
            "--port",
            "0",
            "--idle",
            str(idle_seconds(arguments.rate)),
            "--session-rate",
            "0",
        ]
        options += ["--connections", "20000", "--sessions", "20000"]
        process = subprocess.Popen(
            [sys.executable, "-m", "bptt", "serve", str(model), *options],
            env={**os.environ, "BPTT_SERVE_TOKEN": TOKEN, "BPTT_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        port = int(process.stdout.readline().split()[2].rstrip(";").rpartition(":")[2])
        try:
            right = asyncio.run(run(port, arguments, network, process.pid))
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(60)
    print(f"exit code      {code}")
    print("nothing lost, nothing changed" if right and code == 0 else "FAILED")
    return not (right and code == 0)


if __name__ == "__main__":
    sys.exit(main())
