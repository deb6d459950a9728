"""Text of Office files: Ragstone beside the Python libraries that loaders use, and beside trusted converters, in one run.

    pip install python-docx docx2txt python-pptx openpyxl       # and, where they can be had, pandoc and LibreOffice
    cargo build --release -p ragstone-adapters --no-default-features --features office --example office_speed
    python bench/office_text.py [FOLDER] [--rounds 3] [--program target/release/examples/office_speed]

Files of FOLDER (DOCX, PPTX, XLSX) are measured as they are; without one, larger ones are generated. One thread each, the
files read beforehand. The times are processor seconds, so that what runs beside them counts little. Similarity is the
share of words in their order that two texts have in common (2 * common / both), with marks of Markdown and tables left
out. Prints a JSON line a file and a converter, and what was left out because a program is missing.
"""

import argparse
import difflib
import io
import json
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

WORDS = "mill wheel river engine card harvest lamp ship dawn ledger signal copper valley orbit garden".split()
# Words that are compared in one piece: matching in order takes the square of it.
MOST_WORDS = 6_000


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=pathlib.Path, nargs="?")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--program", default="target/release/examples/office_speed")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = options.folder or generated(pathlib.Path(made))
        measure(folder, options)


def measure(folder, options):
    ours = {row["file"]: row for row in ragstone(options.program, folder, options.rounds)}
    for path in sorted(folder.iterdir()):
        if path.name not in ours:
            continue
        mine, data = ours[path.name], path.read_bytes()
        row = {"file": path.name, "seconds": round(mine["seconds"], 4)}
        for name, read in LIBRARIES.get(path.suffix, {}).items():
            try:
                text, seconds = timed(read, data, options.rounds)
            except ImportError as missing:
                print(f"skipped: {name}, pip install {missing.name}", file=sys.stderr)
                continue
            row[f"times_{name}"] = round(seconds / mine["seconds"], 1)
            row[f"like_{name}"] = similarity(mine["text"], text)
        for name, convert in CONVERTERS.items():
            text = convert(path)
            if text is not None:
                row[f"like_{name}"] = similarity(mine["text"], text)
        print(json.dumps(row), flush=True)


def ragstone(program, folder, rounds):
    output = subprocess.run([program, folder, str(rounds)], check=True, capture_output=True, text=True).stdout
    return map(json.loads, output.splitlines())


def timed(read, data, rounds):
    text = read(data)
    before = time.process_time()
    for _ in range(rounds):
        read(data)
    return text, (time.process_time() - before) / rounds


def words(text):
    return re.findall(r"[^\W_]+", text)[:MOST_WORDS]


def once(text):
    """Without the heads that pieces of a long table repeat: that is meant, and no converter does it."""
    seen = set()
    return "\n".join(line for line in text.splitlines() if not (line.startswith("|") and (line in seen or seen.add(line))))


def similarity(ours, theirs):
    matcher = difflib.SequenceMatcher(None, words(once(ours)), words(theirs), autojunk=False)
    return round(matcher.ratio(), 3)


def read_with_python_docx(data):
    import docx
    from docx.table import Table

    document = docx.Document(io.BytesIO(data))
    parts = []
    for block in document.iter_inner_content():
        if isinstance(block, Table):
            parts += [" | ".join(cell.text for cell in row.cells) for row in block.rows]
        else:
            parts.append(block.text)
    return "\n".join(parts)


def read_with_docx2txt(data):
    import docx2txt

    return docx2txt.process(io.BytesIO(data))


def read_with_python_pptx(data):
    import pptx

    parts = []
    for slide in pptx.Presentation(io.BytesIO(data)).slides:
        for shape in slide.shapes:
            if shape.has_text_frame:
                parts.append(shape.text_frame.text)
            if shape.has_table:
                parts += [" | ".join(cell.text for cell in row.cells) for row in shape.table.rows]
        if slide.has_notes_slide:
            parts.append(slide.notes_slide.notes_text_frame.text)
    return "\n".join(parts)


def read_with_openpyxl(data):
    import openpyxl

    parts = []
    for sheet in openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True):
        parts.append(sheet.title)
        for row in sheet.iter_rows(values_only=True):
            parts.append(" | ".join("" if value is None else str(value) for value in row))
    return "\n".join(parts)


LIBRARIES = {
    ".docx": {"python_docx": read_with_python_docx, "docx2txt": read_with_docx2txt},
    ".pptx": {"python_pptx": read_with_python_pptx},
    ".xlsx": {"openpyxl": read_with_openpyxl},
}


def convert_with_pandoc(path):
    if path.suffix not in {".docx", ".odt", ".rtf", ".epub"} or not available("pandoc"):
        return None
    command = ["pandoc", "--to", "plain", "--wrap", "none", path]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def convert_with_libreoffice(path):
    if not available("soffice"):
        return None
    kind = {".xlsx": "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true,false,false,false,-1"}.get(path.suffix, "txt:Text")
    if path.suffix == ".pptx":
        # Slides become text by way of a page each.
        kind = "pdf"
    with tempfile.TemporaryDirectory() as out:
        command = ["soffice", "--headless", f"-env:UserInstallation=file://{out}/profile", "--convert-to", kind, "--outdir", out, path]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        if kind == "pdf":
            if not available("pdftotext"):
                return None
            command = ["pdftotext", next(pathlib.Path(out).glob("*.pdf")), "-"]
            return subprocess.run(command, check=True, capture_output=True, text=True).stdout
        made = sorted(file for file in pathlib.Path(out).iterdir() if file.is_file())
        return "\n".join(file.read_text(errors="replace") for file in made)


CONVERTERS = {"pandoc": convert_with_pandoc, "libreoffice": convert_with_libreoffice}
TOLD = set()


def available(program):
    if shutil.which(program):
        return True
    if program not in TOLD:
        TOLD.add(program)
        print(f"skipped: {program}, install it", file=sys.stderr)
    return False


def generated(folder):
    """Larger files: 200 pages of text with tables, 200 slides with notes, 50,000 cells."""
    import docx
    import openpyxl
    import pptx

    chance = random.Random(7)
    line = lambda count: " ".join(chance.choices(WORDS, k=count))
    document = docx.Document()
    for part in range(200):
        document.add_heading(f"Part {part}", level=1 + part % 3)
        for _ in range(6):
            document.add_paragraph(line(60))
        if part % 10 == 0:
            table = document.add_table(rows=0, cols=4)
            for _ in range(10):
                for cell in table.add_row().cells:
                    cell.text = line(2)
    document.save(folder / "large.docx")
    slides = pptx.Presentation()
    for number in range(200):
        slide = slides.slides.add_slide(slides.slide_layouts[1])
        slide.shapes.title.text = f"Slide {number}"
        slide.placeholders[1].text = "\n".join(line(8) for _ in range(6))
        slide.notes_slide.notes_text_frame.text = line(20)
    slides.save(folder / "large.pptx")
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append([f"column {n}" for n in range(10)])
    for number in range(5_000):
        sheet.append([number, *(line(2) for _ in range(9))])
    book.save(folder / "large.xlsx")
    return folder


if __name__ == "__main__":
    main()
