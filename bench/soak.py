"""Many concurrent streams for some minutes, of readers who read, dawdle, vanish and are rude: what is left of them.

    python3 bench/soak.py --stub PATH [--program target/release/ragstone] [--streams 1000] [--seconds 120]

Plain Python on Linux. The program serves beside an OpenAI-compatible service that counts its streams (`openai_stub`,
which must be built before). Every reader opens one stream after another. Each few seconds one JSON line tells memory,
threads and open files of the server and the streams of the service; then all readers leave, and the last line tells
what is left. Exits 1 if a stream of the service stays open, a connection stays open, or the memory of the last quarter
is more than 1.2 times that of the second.
"""

import argparse
import asyncio
import json
import os
import pathlib
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

LOOK_SECONDS = 5
GROWTH = 1.2
SETTLE_SECONDS = 30
TOKENS, GAP_MS = 60, 250
KEY = "sk-soak"
# Shares of the kinds of readers.
KINDS = ["patient"] * 5 + ["slow"] * 2 + ["vanishing"] * 2 + ["rude"]


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--program", type=pathlib.Path, default="target/release/ragstone")
    arguments.add_argument("--stub", type=pathlib.Path, required=True)
    arguments.add_argument("--streams", type=int, default=1000)
    arguments.add_argument("--seconds", type=float, default=120)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stub, upstream = start_stub(options.stub)
        server, port = start_server(options.program, folder, upstream)
        try:
            failed = asyncio.run(soak(server, port, upstream, options))
        finally:
            server.terminate()
            server.wait(60)
            stub.kill()
    sys.exit(failed)


def start_stub(program):
    environment = {
        "PATH": os.environ["PATH"],
        "STUB_API_KEY": KEY,
        "STUB_TOKENS": str(TOKENS),
        "STUB_ITL_MS": str(GAP_MS),
    }
    stub = subprocess.Popen([program, "--listen", "127.0.0.1:0"], env=environment, stdout=subprocess.PIPE, text=True)
    return stub, stub.stdout.readline().strip().rsplit("/", 1)[-1]


def start_server(program, folder, upstream):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        "PATH": os.environ["PATH"],
        "RAGSTONE_DATA": folder,
        "RAGSTONE_LISTEN": f"127.0.0.1:{port}",
        "RAGSTONE_EMBED__PROVIDER": "none",
        "RAGSTONE_LOG": "error",
        "OPENAI_BASE_URL": f"http://{upstream}/v1",
        "OPENAI_API_KEY": KEY,
        "LLM_MODEL": "stub-chat",
    }
    server = subprocess.Popen([program, "serve"], env=environment, stderr=subprocess.DEVNULL)
    text = "The zebra lives in the attic. The lion sleeps in the cellar."
    body = json.dumps({"uri": "soak://zebra", "text": text}).encode()
    for _ in range(600):
        try:
            made = get_json(f"http://127.0.0.1:{port}/api/v1/documents", body)
            break
        except OSError:
            time.sleep(0.05)
    else:
        sys.exit("the server does not get ready")
    while get_json(f"http://127.0.0.1:{port}/api/v1/jobs/{made['job']['id']}")["state"] in ("queued", "running"):
        time.sleep(0.05)
    return server, port


def get_json(url, body=None):
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


async def soak(server, port, upstream, options):
    seen = dict.fromkeys(["ended", "refused", "left", "broken"], 0)
    chance = random.Random(1)
    kinds = [chance.choice(KINDS) for _ in range(options.streams)]
    readers = [asyncio.create_task(read_on(port, kind, chance, seen)) for kind in kinds]
    begun, rows = time.monotonic(), []
    while time.monotonic() - begun < options.seconds:
        await asyncio.sleep(LOOK_SECONDS)
        rows.append(await look(server, port, upstream, begun))
        print(json.dumps({**rows[-1], **seen}), flush=True)
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    left = await settle(server, port, upstream, begun)
    quarter = max(len(rows) // 4, 1)
    memory = [row["resident_mib"] for row in rows]
    early = statistics.mean(memory[quarter : 2 * quarter] or memory)
    late = statistics.mean(memory[-quarter:])
    grown = round(late / early, 2)
    print(json.dumps({"streams": options.streams, "at_most": max(row["streams_open"] for row in rows), "left": left,
                      "resident_mib": [round(early, 1), round(late, 1)], "grown": grown, **seen}))
    return grown > GROWTH or left["streams_open"] != 0 or left["connections"] != 0


async def settle(server, port, upstream, begun):
    """What is left once everybody is gone."""
    for _ in range(SETTLE_SECONDS):
        left = await look(server, port, upstream, begun)
        if left["streams_open"] == 0 and left["connections"] == 0:
            break
        await asyncio.sleep(1)
    return left


async def look(server, port, upstream, begun):
    stats = await asyncio.to_thread(get_json, f"http://{upstream}/_stub/stats")
    process = pathlib.Path(f"/proc/{server.pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines() if ":" in line)
    return {
        "seconds": round(time.monotonic() - begun, 1),
        "resident_mib": round(int(status["VmRSS"].split()[0]) / 1024, 1),
        "threads": int(status["Threads"]),
        "files": len(os.listdir(process / "fd")),
        "connections": connections(port),
        **{name: stats[name] for name in ("streams_open", "streams_finished", "streams_abandoned", "in_flight")},
    }


def connections(port):
    """Established connections of callers, as the server has them."""
    lines = (line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sum(1 for line in lines if int(line[1].rsplit(":", 1)[1], 16) == port and line[3] == "01")


async def read_on(port, kind, chance, seen):
    """One reader after another of a kind, until it is cancelled."""
    while True:
        try:
            await read_once(port, kind, chance, seen)
        except (OSError, asyncio.IncompleteReadError):
            seen["broken"] += 1
            await asyncio.sleep(1)


async def read_once(port, kind, chance, seen):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
    try:
        head = f"GET /api/v1/ask-stream?query=Where+is+the+zebra HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        if kind == "rude":
            # Half a head, or a whole one and nobody there for the answer.
            writer.write((head if chance.random() < 0.5 else head + "\r\n").encode())
            await writer.drain()
            await asyncio.sleep(chance.random())
            seen["left"] += 1
            return
        writer.write((head + "Connection: close\r\n\r\n").encode())
        status = await reader.readline()
        if b" 200 " not in status:
            seen["refused"] += 1
            await asyncio.sleep(1)
            return
        leaves = time.monotonic() + chance.uniform(0.5, TOKENS * GAP_MS / 1000)
        while piece := await reader.read(1024):
            if kind == "vanishing" and time.monotonic() > leaves:
                seen["left"] += 1
                return
            if kind == "slow":
                await asyncio.sleep(chance.uniform(0.5, 2))
        seen["ended"] += 1
    finally:
        if kind in ("rude", "vanishing"):
            writer.transport.abort()
        else:
            writer.close()


if __name__ == "__main__":
    main()
