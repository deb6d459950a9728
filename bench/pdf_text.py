"""Pages per processor second of PDF text extraction: Ragstone beside pypdf and pypdfium2, in one run.

    pip install pypdf pypdfium2
    cargo build --release -p ragstone-adapters --no-default-features --features pdf --example pdf_speed
    python bench/pdf_text.py FOLDER [--rounds 3] [--program target/release/examples/pdf_speed]

One thread each, the files read beforehand, the same pages in the same order; prints JSON lines and the ratios.
"""

import argparse
import io
import json
import logging
import pathlib
import subprocess
import time


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=pathlib.Path)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--program", default="target/release/examples/pdf_speed")
    options = arguments.parse_args()
    files = {path.name: path.read_bytes() for path in sorted(options.folder.glob("*.pdf"))}
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)

    measured = {
        "ragstone": ragstone(options.program, options.folder, options.rounds),
        "pypdf": timed(read_with_pypdf, files, 1),
        "pypdfium2": timed(read_with_pypdfium2, files, options.rounds),
    }
    for file in [*files, "all"]:
        row = {name: round(speeds[file], 1) for name, speeds in measured.items()}
        row["times_pypdf"] = round(measured["ragstone"][file] / measured["pypdf"][file], 2)
        row["times_pypdfium2"] = round(measured["ragstone"][file] / measured["pypdfium2"][file], 2)
        print(json.dumps({"file": file, **row}))


def ragstone(program, folder, rounds):
    output = subprocess.run([program, folder, str(rounds)], check=True, capture_output=True, text=True).stdout
    return {row["file"]: row["pages_per_cpu_second"] for row in map(json.loads, output.splitlines())}


def timed(read, files, rounds):
    speeds, all_pages, all_seconds = {}, 0, 0.0
    for name, data in files.items():
        before = time.process_time()
        pages = sum(read(data) for _ in range(rounds))
        seconds = time.process_time() - before
        speeds[name] = pages / seconds
        all_pages, all_seconds = all_pages + pages, all_seconds + seconds
    return {**speeds, "all": all_pages / all_seconds}


def read_with_pypdf(data):
    import pypdf

    reader = pypdf.PdfReader(io.BytesIO(data))
    return sum(1 for page in reader.pages if page.extract_text() is not None)


def read_with_pypdfium2(data):
    import pypdfium2

    document = pypdfium2.PdfDocument(data)
    count = len(document)
    for index in range(count):
        page = document[index]
        text = page.get_textpage()
        text.get_text_range()
        text.close()
        page.close()
    document.close()
    return count


if __name__ == "__main__":
    main()
