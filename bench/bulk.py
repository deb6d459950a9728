#!/usr/bin/env python3
"""Fills a data directory with prepared chunks, each a document: bulk.py RAGSTONE CHUNKS.jsonl

A line of CHUNKS is {"id", "text", "department", "source", "page"}. Settings come from the environment, as the bench's
target file gives them.
"""
import json, subprocess, sys, tempfile


def main(binary, chunks):
    # A file, not a pipe: the command prints while it reads.
    printed = tempfile.TemporaryFile("w+")
    ingest = subprocess.Popen([binary, "ingest", "--jsonl", "-", "--json"], stdin=subprocess.PIPE, stdout=printed, text=True)
    with open(chunks, encoding="utf-8") as lines, ingest.stdin as to:
        for line in lines:
            chunk = json.loads(line)
            document = {"uri": "corpus:" + str(chunk["id"]), "text": chunk["text"], "department_id": chunk["department"]}
            to.write(json.dumps(document) + "\n")
    code = ingest.wait()
    printed.seek(0)
    failed = [line for line in printed if json.loads(line)["status"] == "failed"]
    if code or failed:
        sys.exit("not ingested: " + "".join(failed[:3]))


if __name__ == "__main__":
    main(*sys.argv[1:])
