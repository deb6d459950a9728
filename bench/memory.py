"""Peak memory of ingestion by the length of the file: server and parser process.

    cargo build --release && python3 bench/memory.py [--program target/release/ragstone] [--pages 50 1000 5000]

Plain Python on Linux. For each length a fresh server without vectors ingests one generated PDF through HTTP; the figures
are `VmHWM`, the most that was ever resident. The chunks of a longer file stay in the memory of the index, which is what
an index in memory is for; so the server is started again on what it stored, and what that one holds beyond an empty one
(`index_mib`, anonymous memory) is taken off before files are compared. Then a server is sent an upload far over
`parse.max_bytes`. Prints JSON lines; exits 1 if the file of 1,000 pages takes more than 1.5 times what the first one
takes, in either process, or the refused upload more than the server takes for the first file.
"""

import argparse
import http.client
import json
import os
import pathlib
import random
import socket
import subprocess
import sys
import tempfile
import time
import zlib

ALLOWED = 1.5
LINES, WORDS = 45, 12
VOCABULARY = 20_000
REFUSED_BYTES = 2 << 30
PIECE = bytes(1 << 20)
BOUNDARY = "a-line-between-parts"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--program", type=pathlib.Path, default="target/release/ragstone")
    arguments.add_argument("--pages", type=int, nargs="+", default=[50, 1000, 5000])
    options = arguments.parse_args()
    rows = [measure(options.program, pages) for pages in options.pages]
    refused = refuse(options.program)
    print(json.dumps(refused))
    failed = refused["server_mib"] > rows[0]["server_mib"] or refused["status"] != 413
    for row in rows[1:]:
        ratios = {part: round(row[part] / rows[0][part], 2) for part in ("server_mib", "ingesting_mib", "parser_mib")}
        print(json.dumps({"pages": row["pages"], "against": rows[0]["pages"], **ratios}))
        failed |= row["pages"] <= 1000 and max(ratios["ingesting_mib"], ratios["parser_mib"]) > ALLOWED
    sys.exit(failed)


def measure(program, pages):
    """Ingests one file and says what it took."""
    file = pdf(pages)
    with Server(program) as server:
        idle, empty = server.peak(), server.anonymous()
        begun = time.monotonic()
        answer = server.request("POST", "/api/v1/documents", form([file]), multipart())
        document, job = answer[1]["document"]["id"], answer[1]["job"]["id"]
        while (state := server.request("GET", f"/api/v1/jobs/{job}")[1])["state"] in ("queued", "running"):
            time.sleep(0.1)
        if state["state"] != "succeeded":
            sys.exit(f"{pages} pages: {state}")
        row = {
            "pages": pages,
            "file_mib": mib(len(file)),
            "seconds": round(time.monotonic() - begun, 1),
            "server_idle_mib": mib(idle),
            "server_mib": mib(server.peak()),
            "parser_mib": mib(server.peak_of_parsers()),
            "chunks": server.request("GET", f"/api/v1/documents/{document}")[1]["chunks"],
        }
        server.restart()
        row["index_mib"] = mib(max(server.anonymous() - empty, 0))
        row["ingesting_mib"] = round(row["server_mib"] - row["index_mib"], 1)
    print(json.dumps(row), flush=True)
    return row


def refuse(program):
    """Sends a file over the limit."""
    with Server(program) as server:
        idle = server.peak()
        pieces = (PIECE for _ in range(REFUSED_BYTES // len(PIECE)))
        try:
            status = server.request("POST", "/api/v1/documents", form(pieces), multipart())[0]
        except (BrokenPipeError, ConnectionResetError):
            status = 413  # The answer came before the end of the body and the connection is closed.
        left = sum(len(files) for _, _, files in os.walk(server.data / "blobs"))
        return {
            "refused_mib": mib(REFUSED_BYTES),
            "status": status,
            "server_idle_mib": mib(idle),
            "server_mib": mib(server.peak()),
            "files_left": left,
        }


class Server:
    """The product on a free port, with an empty data directory."""

    def __init__(self, program):
        self.folder = tempfile.TemporaryDirectory()
        self.data = pathlib.Path(self.folder.name)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.program = program
        self.environment = {
            "PATH": os.environ["PATH"],
            "RAGSTONE_DATA": self.folder.name,
            "RAGSTONE_LISTEN": f"127.0.0.1:{self.port}",
            "RAGSTONE_EMBED__PROVIDER": "none",
            "RAGSTONE_PARSE__WORKERS": "1",
            "RAGSTONE_PARSE__CPU_SECONDS": "3600",
            "RAGSTONE_PARSE__WALL_SECONDS": "3600",
        }
        self.start()

    def start(self):
        command = [self.program, "serve"]
        self.process = subprocess.Popen(command, env=self.environment, stderr=subprocess.DEVNULL)

    def restart(self):
        """A new process on what the old one stored."""
        self.process.terminate()
        self.process.wait(30)
        self.start()
        self.wait_until_ready()

    def __enter__(self):
        self.wait_until_ready()
        return self

    def wait_until_ready(self):
        for _ in range(600):
            try:
                if self.request("GET", "/readyz")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        sys.exit("the server does not get ready")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)
        self.folder.cleanup()

    def request(self, method, path, body=None, headers={}):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        connection.request(method, path, body, headers, encode_chunked=body is not None)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")

    def peak(self):
        return resident(self.process.pid)

    def anonymous(self):
        """Bytes that are resident now and no copy of a file."""
        rollup = pathlib.Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return int(next(line.split()[1] for line in rollup.splitlines() if line.startswith("Anonymous"))) * 1024

    def peak_of_parsers(self):
        children = pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return max(resident(pid) for path in children for pid in path.read_text().split())


def resident(pid):
    """The most bytes of a process that were ever resident."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024


def multipart():
    return {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "Transfer-Encoding": "chunked"}


def form(pieces):
    """A form with one file, piece by piece."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="long.pdf"\r\n\r\n'
    yield head.encode()
    yield from pieces
    yield f"\r\n--{BOUNDARY}--\r\n".encode()


def pdf(pages):
    """A book of `pages` pages of words, compressed as such files are, the same bytes each time."""
    chance = random.Random(pages)
    words = ["".join(chance.choices("abcdefghiklmnoprstuvw", k=chance.randint(3, 9))) for _ in range(VOCABULARY)]
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(pages))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Kids[{kids}]/Count {pages}>>".encode(),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    for number in range(pages):
        lines = [" ".join(chance.choices(words, k=WORDS)).capitalize() + "." for _ in range(LINES)]
        text = "".join(f"({line}) Tj 0 -15 Td " for line in [f"Page {number + 1}", *lines])
        content = zlib.compress(f"BT /F1 10 Tf 60 780 Td {text}ET".encode())
        page = "<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Resources<</Font<</F1 3 0 R>>>>/Contents "
        objects.append(f"{page}{5 + 2 * number} 0 R>>".encode())
        stream = f"<</Length {len(content)}/Filter/FlateDecode>>stream\n".encode()
        objects.append(stream + content + b"\nendstream")
    return assemble(objects)


def assemble(objects):
    out, offsets = bytearray(b"%PDF-1.4\n"), []
    for number, content in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, table)
    return bytes(out)


def mib(size):
    return round(size / (1 << 20), 1)


if __name__ == "__main__":
    main()
