"""Embedding speed beside onnxruntime, interleaved, as ratios of one run.

    embed_onnx.py MODEL_FOLDER EXPORT_SCRIPT EMBED_SPEED TEXT_FILE... [--rounds 3] [--threads 1,2]

MODEL_FOLDER is a sentence-transformers folder, EXPORT_SCRIPT writes it as ONNX (it is called with the folder and a
target folder), EMBED_SPEED is the built example of that name. Needs numpy, onnxruntime, tokenizers and what the export
script needs. Each figure comes from a process of its own; a round runs every engine once, so that a busy machine
slows all of them. Prints a table, and with --json one object.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MEASURE_SECONDS = 4
BATCHES = (1, 8, 32)
QUESTION = "Which king ruled the duchy in those days?"


def onnx_child(folder: str, chunks_file: str, threads: int) -> dict:
    """Best throughput over batch sizes, latency of a question, resident memory of this process."""
    import numpy as np
    import onnxruntime
    from tokenizers import Tokenizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(f"{folder}/model.onnx", options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    tokenizer.enable_truncation(256)
    tokenizer.enable_padding()
    names = [entry.name for entry in session.get_inputs()]
    chunks = json.loads(Path(chunks_file).read_text())

    def embed(texts):
        encodings = tokenizer.encode_batch(texts)
        ids = np.array([encoding.ids for encoding in encodings], np.int64)
        mask = np.array([encoding.attention_mask for encoding in encodings], np.int64)
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        states = session.run(None, {name: feed[name] for name in names})[0]
        if states.ndim == 3:
            states = (states * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
        return states / np.linalg.norm(states, axis=1, keepdims=True)

    def rate(batch, seconds):
        start, cpu, done = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - start < seconds:
            first = done % (len(chunks) - batch)
            embed(chunks[first : first + batch])
            done += batch
        return done / (time.perf_counter() - start), done / (time.process_time() - cpu)

    embed(chunks[:4])
    best = max(BATCHES, key=lambda batch: rate(batch, 1)[1])
    speed, cpu_speed = rate(best, MEASURE_SECONDS)
    times = []
    for _ in range(100):
        start = time.perf_counter()
        embed([QUESTION])
        times.append((time.perf_counter() - start) * 1e3)
    status = Path("/proc/self/status").read_text().splitlines()
    resident = next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS:"))
    return {
        "chunks_per_second": speed,
        "chunks_per_cpu_second": cpu_speed,
        "question_ms": statistics.median(times),
        "resident_mib": resident,
        "batch": best,
    }


def call(command: list) -> dict:
    done = subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def measure(arguments) -> dict:
    model, speed = arguments.model, arguments.embed_speed
    with tempfile.TemporaryDirectory() as work:
        chunks = Path(work, "chunks.json")
        chunks.write_text(json.dumps(call([speed, model, "cut", *arguments.texts])))
        subprocess.run([sys.executable, arguments.export, model, work], check=True, stdout=sys.stderr)
        figures = {}
        for _ in range(arguments.rounds):
            figures.setdefault("rten-gemm", []).append(call([speed, model, "gemm"]))
            for threads in arguments.threads:
                onnx = [sys.executable, __file__, "--child", work, chunks, threads]
                figures.setdefault(f"onnxruntime f32, {threads}", []).append(call(onnx))
                for precision in arguments.precisions:
                    ours = [speed, model, "embed", chunks, precision, threads]
                    figures.setdefault(f"own {precision}, {threads}", []).append(call(ours))
    middle = lambda rows: {key: statistics.median(row[key] for row in rows) for key in rows[0]}
    return {engine: middle(rows) for engine, rows in figures.items()}


def table(figures: dict, arguments) -> None:
    """By the clock, and by CPU time: on a busy machine only the latter compares engines fairly."""
    gemm = figures["rten-gemm"]["gflops"]
    heads = ["engine, threads", "chunks/s", "x onnxruntime", "x one thread", "chunks a CPU second", "x onnxruntime"]
    heads += ["share of the product", "question, ms", "resident, MiB"]
    print(f"best plain f32 product, one thread: {gemm:.0f} GFLOP/s")
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for engine, row in figures.items():
        if engine == "rten-gemm":
            continue
        name, threads = engine.rsplit(", ", 1)
        clock, cpu = row["chunks_per_second"], row["chunks_per_cpu_second"]
        onnx = figures[f"onnxruntime f32, {threads}"]
        one = figures[f"{name}, {arguments.threads[0]}"]
        share = f"{row['gflops'] / gemm:.2f}" if "gflops" in row else ""
        cells = [f"{clock:.1f}", f"{clock / onnx['chunks_per_second']:.2f}", f"{clock / one['chunks_per_second']:.2f}"]
        cells += [f"{cpu:.1f}", f"{cpu / onnx['chunks_per_cpu_second']:.2f}", share]
        cells += [f"{row['question_ms']:.1f}", f"{row['resident_mib']:.0f}"]
        print(f"| {engine} | {' | '.join(cells)} |")


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(onnx_child(sys.argv[2], sys.argv[3], int(sys.argv[4]))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("export")
    parser.add_argument("embed_speed")
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=lambda text: [int(part) for part in text.split(",")], default=[1, 2])
    parser.add_argument("--precisions", type=lambda text: text.split(","), default=["f32", "bf16", "f16"])
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = measure(arguments)
    print(json.dumps(figures)) if arguments.json else table(figures, arguments)


main()
