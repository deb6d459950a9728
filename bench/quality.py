#!/usr/bin/env python3
"""Retrieval and answer quality of the product itself: documents ingested, `search` and `ask` called over HTTP.

    python3 bench/quality.py [--ragstone target/release/ragstone] [--data ../shared/data] [--only scifact squad2 ...]

Prints one table and writes bench/out/quality.json. Needs nothing but Python's own library; the embedding model is
fetched by the product. Each set gets a server and a data directory of its own, in a temporary folder.
"""
import argparse, concurrent.futures, glob, json, math, os, re, socket, subprocess, sys, tempfile, time, urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
WORKERS = 2
WHOLE = 100_000  # a chunk size that keeps every text of a set in one chunk


class Product:
    """A server on a free port with a data directory of its own."""

    def __init__(self, binary, settings=None):
        self.binary, self.folder = binary, tempfile.TemporaryDirectory(prefix="ragstone-quality-")
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.address = "127.0.0.1:%d" % s.getsockname()[1]
        self.env = dict(os.environ, RAGSTONE_DATA=self.folder.name, RAGSTONE_LISTEN=self.address, **(settings or {}))

    def __enter__(self):
        log = open(os.path.join(self.folder.name, "serve.log"), "w")
        self.process = subprocess.Popen([self.binary, "serve"], env=self.env, cwd=self.folder.name, stderr=log, stdout=log)
        for _ in range(600):
            try:
                ready = self.call("GET", "/readyz")
                if "fetching" not in json.dumps(ready):
                    return self
            except OSError:
                pass
            if self.process.poll() is not None:
                sys.exit(open(log.name).read())
            time.sleep(0.1)
        sys.exit("the server did not become ready: " + open(log.name).read())

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)
        self.folder.cleanup()

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request("http://" + self.address + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=600) as reply:
            return json.load(reply)

    def ingest(self, *arguments, stdin=None):
        """Seconds it took; every line must be published."""
        start = time.time()
        done = subprocess.run([self.binary, "ingest", "--json", *arguments], env=self.env, cwd=self.folder.name,
                              input=stdin, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        failed = [line for line in lines if line["status"] == "failed"]
        if done.returncode or failed:
            sys.exit("ingest failed: %s %s" % (failed[:3], done.stderr[-2000:]))
        return time.time() - start

    def each(self, work, items):
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            return list(pool.map(work, items))

    def search(self, query, limit, mode="hybrid"):
        return self.call("POST", "/api/v1/search", dict(query=query, limit=limit, mode=mode))["passages"]

    def ask(self, question):
        return self.call("POST", "/api/v1/ask", dict(question=question))


def lines(*path):
    return [json.loads(line) for line in open(os.path.join(*path), encoding="utf-8")]


def ndcg10(found, gains):
    """Linear gain, ideal over all relevant documents (trec_eval's ndcg_cut_10)."""
    dcg = lambda values: sum(value / math.log2(rank + 2) for rank, value in enumerate(values[:10]))
    return dcg([gains.get(key, 0) for key in found]) / dcg(sorted(gains.values(), reverse=True))


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def distinct(items):
    return list(dict.fromkeys(items))


def retrieval(product, queries, qrels, depth, key):
    """Mean nDCG@10 by mode; a document counts with its best chunk."""
    result = {}
    for mode in ("lexical", "dense", "hybrid"):
        one = lambda q: ndcg10(distinct(key(p) for p in product.search(queries[q], depth, mode))[:10], qrels[q])
        result[mode] = mean(product.each(one, list(qrels)))
    return result


def scifact(binary, data, chunked):
    folder = os.path.join(data, "scifact")
    qrels = {}
    for line in open(os.path.join(folder, "qrels", "test.tsv")).read().splitlines()[1:]:
        query, document, gain = line.split("\t")
        qrels.setdefault(query, {})[document] = int(gain)
    queries = {line["_id"]: line["text"] for line in lines(folder, "queries.jsonl")}
    corpus = [dict(uri="scifact:" + d["_id"], title=d["title"], text=d["text"]) for d in lines(folder, "corpus.jsonl")]
    settings = {} if chunked else {"RAGSTONE_SPLIT__CHUNK_SIZE": str(WHOLE)}
    with Product(binary, settings) as product:
        seconds = product.ingest("--jsonl", "-", stdin="\n".join(map(json.dumps, corpus)))
        found = retrieval(product, queries, qrels, 50 if chunked else 10, lambda p: p["uri"].split(":")[1])
    return dict(found, ingest_seconds=seconds)


def squad2_paragraphs(binary, data):
    folder = os.path.join(data, "squad2")
    corpus = []
    for path in sorted(glob.glob(os.path.join(folder, "docs", "*.txt"))):
        paragraphs = open(path, encoding="utf-8").read().strip().split("\n\n")[1:]
        corpus += [dict(uri="squad2:%s/%d" % (os.path.basename(path), n), text=text) for n, text in enumerate(paragraphs)]
    questions = [q for q in lines(folder, "questions.jsonl") if q["answerable"]]
    queries = {q["id"]: q["question"] for q in questions}
    qrels = {q["id"]: {"%s/%d" % (q["doc"], q["paragraph"]): 1} for q in questions}
    with Product(binary, {"RAGSTONE_SPLIT__CHUNK_SIZE": str(WHOLE)}) as product:
        product.ingest("--jsonl", "-", stdin="\n".join(map(json.dumps, corpus)))
        return retrieval(product, queries, qrels, 10, lambda p: p["uri"].split(":")[1])


def pdf(binary, data):
    folder = os.path.join(data, "pdf")
    questions = [q for q in lines(folder, "questions.jsonl") if q["kind"] != "unanswerable"]
    with Product(binary) as product:
        seconds = product.ingest(os.path.join(folder, "files"))

        def rank(q):
            pages = {q["page"], *(q.get("also_pages") or [])}
            for n, p in enumerate(product.search(q["question"], 5), 1):
                if p["uri"].endswith("/" + q["file"]) and p["page"] in pages:
                    return n
            return None

        ranks = product.each(rank, questions)
    missed = [q["id"] for q, r in zip(questions, ranks) if r is None]
    return {"hit@5": mean(r is not None for r in ranks), "hit@1": mean(r == 1 for r in ranks), "missed": missed,
            "questions": len(questions), "ingest_seconds": seconds}


def plain(text):
    return re.sub(r"\W+", " ", text.lower()).strip()


def holds(texts, answers):
    return any(plain(answer) in plain(text) for text in texts for answer in answers)


def squad2_answers(binary, data):
    """Extractive answers over whole articles: does a quoted sentence hold a gold answer?"""
    folder = os.path.join(data, "squad2")
    sample = [q for q in lines(folder, "sample_400.jsonl") if q["answerable"]]
    with Product(binary) as product:
        product.ingest(os.path.join(folder, "docs"))
        answers = product.each(lambda q: product.ask(q["question"]), sample)
    quotes = [[c["quote"] for c in a["citations"]] for a in answers]
    return {"best sentence": mean(holds(c[:1], q["answers"]) for c, q in zip(quotes, sample)),
            "two sentences": mean(holds(c[:2], q["answers"]) for c, q in zip(quotes, sample)),
            "verified": mean(c["verified"] for a in answers for c in a["citations"]), "questions": len(sample)}


def squad2_refusals(binary, data, folds=4):
    """Each fold leaves a quarter of the articles out: its questions are off-topic, the others' are to be kept."""
    folder = os.path.join(data, "squad2")
    sample = lines(folder, "sample_400.jsonl")
    names = sorted({q["doc"] for q in sample})
    kept, refused, adversarial = [], [], []
    for fold in range(folds):
        left_out = set(names[fold::folds])
        inside = [os.path.join(folder, "docs", name) for name in names if name not in left_out]
        with Product(binary) as product:
            product.ingest(*inside)
            product.call("GET", "/readyz")
            for question, answer in zip(sample, product.each(lambda q: product.ask(q["question"])["answered"], sample)):
                if question["doc"] in left_out:
                    refused.append(not answer)
                elif question["answerable"]:
                    kept.append(answer)
                else:
                    adversarial.append(not answer)
    return {"kept answerable": mean(kept), "refused off-topic": mean(refused), "refused adversarial": mean(adversarial),
            "questions": [len(kept), len(refused), len(adversarial)]}


SETS = {
    "scifact": lambda b, d: scifact(b, d, False),
    "scifact 800/150": lambda b, d: scifact(b, d, True),
    "squad2 paragraphs": squad2_paragraphs,
    "pdf": pdf,
    "squad2 answers": squad2_answers,
    "squad2 refusals": squad2_refusals,
}


def table(result):
    """The README's table: a row a set, its figures without times and counts."""
    rows = ["| set | figures |", "|---|---|"]
    for name, figures in result.items():
        told = {key: figure for key, figure in figures.items() if isinstance(figure, float) and not key.endswith("seconds")}
        label = "nDCG@10 " if "hybrid" in told else ""
        shown = ["%s %s" % (key, ("%.4f" % figure).lstrip("0")) for key, figure in told.items()]
        rows.append("| %s | %s%s |" % (name, label, ", ".join(shown)))
    return "\n".join(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ragstone", default=os.path.join(HERE, "..", "target", "release", "ragstone"))
    parser.add_argument("--data", default=os.path.join(HERE, "..", "..", "shared", "data"))
    parser.add_argument("--only", nargs="*", default=[], help="sets whose name begins so")
    parser.add_argument("--markdown", action="store_true", help="print the README's table at the end")
    arguments = parser.parse_args()
    if not os.path.isdir(arguments.data):
        sys.exit("skipped: no evaluation data at %s; give --data" % arguments.data)
    binary, data, result = os.path.abspath(arguments.ragstone), os.path.abspath(arguments.data), {}
    for name, run in SETS.items():
        if arguments.only and not any(name.startswith(only) for only in arguments.only):
            continue
        result[name] = run(binary, data)
        shown = ", ".join("%s %s" % (k, round(v, 4) if isinstance(v, float) else v) for k, v in result[name].items())
        print("%-20s %s" % (name, shown), flush=True)
    os.makedirs(os.path.join(HERE, "out"), exist_ok=True)
    with open(os.path.join(HERE, "out", "quality.json"), "w") as out:
        json.dump(result, out, indent=1)
    if arguments.markdown:
        print(table(result))


if __name__ == "__main__":
    main()
