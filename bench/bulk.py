#!/usr/bin/env python3
"""Fills a library with prepared chunks: bulk.py RAGSTONE CHUNKS.jsonl [TOGETHER [worker]]

A line of CHUNKS is {"id", "text", "department", "source", "page"}. Each is a document, or so many of a department are one
(TOGETHER): with a blank line between them the splitter gives each back as a chunk, since no two fit into one of 800
characters and none is short enough to be repeated. With `worker`, a worker of the shared stores does the jobs meanwhile.
Settings come from the environment, as the bench's target file gives them.
"""
import collections, json, subprocess, sys, tempfile


def documents(lines, together):
    waiting = collections.defaultdict(list)
    for line in lines:
        chunk = json.loads(line)
        texts = waiting[chunk["department"]]
        texts.append(chunk["text"])
        if len(texts) == together:
            yield chunk["id"], chunk["department"], waiting.pop(chunk["department"])
    for department, texts in waiting.items():
        yield "rest-" + department, department, texts


def main(binary, chunks, together="1", role=None):
    worker = subprocess.Popen([binary, "worker"], stdout=subprocess.DEVNULL) if role else None
    try:
        fill(binary, chunks, together)
    finally:
        if worker:
            worker.terminate()
            worker.wait()


def fill(binary, chunks, together):
    # A file, not a pipe: the command prints while it reads.
    printed = tempfile.TemporaryFile("w+")
    ingest = subprocess.Popen([binary, "ingest", "--jsonl", "-", "--json"], stdin=subprocess.PIPE, stdout=printed, text=True)
    count = 0
    with open(chunks, encoding="utf-8") as lines, ingest.stdin as to:
        for name, department, texts in documents(lines, int(together)):
            count += len(texts)
            document = {"uri": f"corpus:{name}", "text": "\n\n".join(texts), "department_id": department}
            to.write(json.dumps(document) + "\n")
    code = ingest.wait()
    printed.seek(0)
    ended = [json.loads(line) for line in printed]
    failed = [document for document in ended if document["status"] == "failed"]
    if code or failed:
        sys.exit("not ingested: " + json.dumps(failed[:3]))
    stored = sum(document["chunks"] for document in ended)
    if stored != count:
        sys.exit(f"{stored} chunks are stored of {count}")


if __name__ == "__main__":
    main(*sys.argv[1:])
