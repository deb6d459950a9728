#!/usr/bin/env python3
"""The whole pipeline beside the embedder alone, and searches while it runs at full speed.

    cargo build --release
    cargo build --release -p ragstone-encoder --example embed_speed --features gemm-baseline
    python3 bench/pipeline.py [--ragstone target/release/ragstone] [--embed-speed target/release/examples/embed_speed]
                              [--data ../shared/data] [--rounds 2]

Ingests the PDFs and the SQuAD articles of the evaluation data with the local model, reads the chunks back, and lets the
embedder alone embed the same chunks with as many threads; both in turns. Then searches a library of SciFact at rest and
while the same files are ingested beside it. Prints JSON lines.
"""
import argparse, json, os, subprocess, sys, tempfile, threading, time

import quality

LOCAL = {"RAGSTONE_EMBED__PROVIDER": "local", "OPENAI_API_KEY": "", "EMBEDDING_MODEL": ""}
SEARCHES = 600
PAUSE = 0.02  # between two searches: a caller, not a load


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--ragstone", default="target/release/ragstone")
    arguments.add_argument("--embed-speed", default="target/release/examples/embed_speed")
    arguments.add_argument("--model", default=os.path.expanduser("~/.cache/ragstone/models/all-MiniLM-L6-v2"))
    arguments.add_argument("--precision", default="f16")
    arguments.add_argument("--data", default=os.path.join(quality.HERE, "..", "..", "shared", "data"))
    arguments.add_argument("--rounds", type=int, default=2)
    options = arguments.parse_args()
    files = [os.path.join(options.data, "pdf", "files"), os.path.join(options.data, "squad2", "docs")]
    for path in [*files, options.embed_speed]:
        if not os.path.exists(path):
            sys.exit("skipped: %s is missing" % path)
    binary = os.path.abspath(options.ragstone)
    efficiency(options, binary, files)
    latency(options, binary, files)


def efficiency(options, binary, files):
    for _ in range(options.rounds):
        with quality.Product(binary, LOCAL) as product:
            seconds = product.ingest(*files)
            texts = chunks(product)
        whole = len(texts) / seconds
        alone = embedder(options, texts)
        print(json.dumps({"chunks": len(texts), "pipeline_per_second": round(whole, 1),
                          "embedder_per_second": round(alone, 1), "efficiency": round(whole / alone, 3)}), flush=True)


def chunks(product):
    return [chunk["text"] for document in pages(product, "/api/v1/documents?limit=1000", "documents")
            for chunk in pages(product, "/api/v1/documents/%s/chunks?limit=1000" % document["id"], "chunks")]


def pages(product, path, key):
    cursor = ""
    while True:
        page = product.call("GET", path + cursor)
        yield from page[key]
        if not page["next_cursor"]:
            return
        cursor = "&cursor=" + page["next_cursor"]


def embedder(options, texts):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(texts, file)
        file.flush()
        command = [options.embed_speed, snapshot(options.model), "ingest", file.name, options.precision, str(os.cpu_count())]
        done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)["chunks_per_second"]


def snapshot(model):
    """The folder that holds config.json, under the model's own or one of its revisions."""
    for folder, _, names in os.walk(model, followlinks=True):
        if "config.json" in names and "tokenizer.json" in names:
            return folder
    sys.exit("skipped: no model under %s; ragstone model fetch" % model)


def latency(options, binary, files):
    folder = os.path.join(options.data, "scifact")
    corpus = [dict(uri="scifact:" + d["_id"], title=d["title"], text=d["text"]) for d in quality.lines(folder, "corpus.jsonl")]
    queries = [line["text"] for line in quality.lines(folder, "queries.jsonl")]
    with quality.Product(binary, LOCAL) as product:
        product.ingest("--jsonl", "-", stdin="\n".join(map(json.dumps, corpus)))
        search(product, queries, 50, lambda: False)
        idle = search(product, queries, SEARCHES, lambda: False)
        work = threading.Thread(target=lambda: product.ingest(*files))
        work.start()
        busy = search(product, queries, 1 << 30, lambda: not work.is_alive())
        work.join()
    rows = {name: {"searches": len(took), "p50_ms": percentile(took, 50), "p99_ms": percentile(took, 99)}
            for name, took in (("idle", idle), ("ingesting", busy))}
    ratios = {key: round(rows["ingesting"][key] / rows["idle"][key], 2) for key in ("p50_ms", "p99_ms")}
    print(json.dumps({**rows, "ratio": ratios}))


def search(product, queries, count, ended):
    took = []
    for n in range(count):
        if ended():
            break
        begun = time.perf_counter()
        product.search(queries[n % len(queries)], 5)
        took.append(time.perf_counter() - begun)
        time.sleep(PAUSE)
    return took


def percentile(took, percent):
    return round(sorted(took)[min(len(took) * percent // 100, len(took) - 1)] * 1000, 2)


if __name__ == "__main__":
    main()
