#!/usr/bin/env python3
"""Writes handbook.pdf from source/handbook.txt: `make_pdf.py`, or `make_pdf.py --check` to compare only.

Plain Python without packages. The same source gives the same bytes everywhere: nothing is compressed, no date and no
random id is written, fonts are the standard ones that every reader brings along.

The source is text: `[cover]`, `[page]` and `[columns]` begin a page, `[column]` the next column, `#` and `##` are headings, `-` and `1.` lists,
`|` rows of a table (its first row is the head), everything else paragraphs.
"""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE / "source" / "handbook.txt"
TARGET = HERE / "handbook.pdf"

WIDTH, HEIGHT, MARGIN = 595, 842, 64
BODY, LEADING = 10.5, 15
INK, ACCENT, GREY, PALE = "0.13 0.15 0.18", "0.05 0.35 0.42", "0.45 0.48 0.52", "0.92 0.95 0.96"

# Advance widths of the characters 32 to 126 in thousandths of the size, as Adobe publishes them for its core fonts.
REGULAR = """278 278 355 556 556 889 667 191 333 333 389 584 278 333 278 278 556 556 556 556 556 556 556 556 556 556
278 278 584 584 584 556 1015 667 667 722 722 667 611 778 722 278 500 667 556 833 722 778 667 778 722 667 611 722 667
944 667 667 611 278 278 278 469 556 333 556 556 500 556 556 278 556 556 222 222 500 222 833 556 556 556 556 333 500
278 556 500 722 500 500 500 334 260 334 584"""
BOLD = """278 333 474 556 556 889 722 238 333 333 389 584 278 333 278 278 556 556 556 556 556 556 556 556 556 556
333 333 584 584 584 611 975 722 722 722 722 667 611 778 722 278 556 722 611 833 722 778 667 778 722 667 611 722 667
944 667 667 611 333 278 333 584 556 333 556 611 556 611 556 333 611 611 278 278 556 278 889 611 611 611 611 389 556
333 611 556 778 556 556 500 389 280 389 584"""
WIDTHS = {"F1": [int(w) for w in REGULAR.split()], "F2": [int(w) for w in BOLD.split()]}
BULLET = "\u2022"


def width(text, font, size):
    """Length of a line in points."""
    table = WIDTHS[font]
    return sum(350 if c == BULLET else table[ord(c) - 32] for c in text) * size / 1000


def wrap(text, font, size, room):
    """Lines no longer than `room` points."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and width(longer, font, size) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


class Page:
    """One page: drawing operators, and a cursor that moves down through one or two columns."""

    def __init__(self, columns=1):
        gap = 24
        self.room = (WIDTH - 2 * MARGIN - gap * (columns - 1)) / columns
        self.starts = [MARGIN + i * (self.room + gap) for i in range(columns)]
        self.x, self.top, self.y = self.starts.pop(0), HEIGHT - 92, HEIGHT - 92
        self.operators, self.headings = [], []

    def line(self, text, font="F1", size=BODY, x=None, y=None, colour=INK):
        escaped = text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)").replace(BULLET, r"\225")
        x, y = self.x if x is None else x, self.y if y is None else y
        self.operators.append(f"BT {colour} rg /{font} {size:g} Tf {x:.2f} {y:.2f} Td ({escaped}) Tj ET")

    def box(self, x, y, wide, high, colour):
        self.operators.append(f"{colour} rg {x:.2f} {y:.2f} {wide:.2f} {high:.2f} re f")

    def fit(self, height):
        """Goes on in the next column if `height` points are not left in this one."""
        if self.y - height < 76:
            if not self.starts:
                raise SystemExit(f"a page is too full: {self.headings}")
            self.x, self.y = self.starts.pop(0), self.top

    def heading(self, text, size):
        over_all = size == 20  # a chapter stands above its columns
        lines = wrap(text, "F2", size, WIDTH - 2 * MARGIN if over_all else self.room)
        if self.y < self.top:
            self.y -= 8
        self.fit(size * 1.3 * len(lines) + 3 * LEADING)
        self.headings.append((text, size, self.y + size))
        for part in lines:
            self.line(part, "F2", size, colour=ACCENT)
            self.y -= size * 1.3
        self.y -= 4
        if over_all:
            self.top = self.y

    def paragraph(self, text, indent=0, mark=""):
        for number, part in enumerate(wrap(text, "F1", BODY, self.room - indent)):
            self.fit(LEADING)
            if mark and number == 0:
                self.line(mark)
            self.line(part, x=self.x + indent)
            self.y -= LEADING
        self.y -= 3 if mark else 7

    def table(self, rows):
        size, pad, lead = 9.5, 6, 13
        shares = [max(width(cell, "F2", size) for cell in column) for column in zip(*rows)]
        narrow = [min(share + 2 * pad + 2, self.room / 2) for share in shares]
        wides = [wide * self.room / sum(narrow) for wide in narrow]
        for number, row in enumerate(rows):
            font = "F2" if number == 0 else "F1"
            cells = [wrap(cell, font, size, wide - 2 * pad) for cell, wide in zip(row, wides)]
            high = lead * max(map(len, cells)) + 8
            self.fit(high)
            bottom = self.y + lead - 1 - high
            if number == 0:
                self.box(self.x, bottom, self.room, high, PALE)
            self.box(self.x, bottom, self.room, 0.5, GREY)
            x = self.x
            for lines, wide in zip(cells, wides):
                for i, part in enumerate(lines):
                    self.line(part, font, size, x + pad, self.y - i * lead - 2)
                x += wide
            self.y -= high
        self.y -= 12


def blocks(text):
    """Pages as `(kind, [(tag, content)])`."""
    pages, fields = [], {}
    head, _, body = text.partition("\n[")
    for line in head.strip().splitlines():
        key, _, value = line.partition(": ")
        fields[key] = value
    for part in ("[" + body).split("\n\n"):
        for line in part.strip().splitlines():
            if line == "[column]":
                pages[-1][1].append(("column", ""))
            elif line.startswith("["):
                pages.append((line.strip("[]"), []))
            elif line.startswith("#"):
                level = len(line) - len(line.lstrip("#"))
                pages[-1][1].append((f"h{level}", line.lstrip("# ")))
            elif line.startswith("|"):
                row = [cell.strip() for cell in line.strip("|").split("|")]
                content = pages[-1][1]
                if content and content[-1][0] == "table":
                    content[-1][1].append(row)
                else:
                    content.append(("table", [row]))
            elif line.startswith("- "):
                pages[-1][1].append((BULLET, line[2:]))
            elif line[0].isdigit() and ". " in line[:4]:
                mark, _, content = line.partition(" ")
                pages[-1][1].append((mark, content))
            else:
                pages[-1][1].append(("p", line))
    return fields, pages


def lay_out(fields, pages):
    """Pages with their drawing operators."""
    done = []
    for number, (kind, content) in enumerate(pages, 1):
        page = Page(2 if kind == "columns" else 1)
        if kind == "cover":
            cover(page, fields, pages)
        else:
            page.line(fields["running"], size=8.5, y=HEIGHT - 52, x=MARGIN, colour=GREY)
            page.box(MARGIN, HEIGHT - 60, WIDTH - 2 * MARGIN, 0.5, GREY)
        for tag, value in content:
            if tag in ("h1", "h2"):
                page.heading(value, 20 if tag == "h1" else 12.5)
            elif tag == "column":
                page.fit(HEIGHT)
            elif tag == "table":
                page.table(value)
            elif tag == "p":
                page.paragraph(value)
            else:
                page.paragraph(value, 16, tag)
        if kind != "cover":
            label = f"{number}"
            page.line(label, size=9, x=(WIDTH - width(label, "F1", 9)) / 2, y=40, colour=GREY)
        done.append(page)
    return done


def cover(page, fields, pages):
    page.box(0, HEIGHT - 300, WIDTH, 300, ACCENT)
    page.line(fields["title"], "F2", 38, y=HEIGHT - 190, colour="1 1 1")
    page.line(fields["subtitle"], "F1", 14, y=HEIGHT - 222, colour="1 1 1")
    page.line(fields["edition"], "F1", 10.5, y=HEIGHT - 262, colour="1 1 1")
    page.line("Contents", "F2", 14, y=HEIGHT - 350, colour=ACCENT)
    y = HEIGHT - 380
    for number, (_, content) in enumerate(pages, 1):
        for text in [value for tag, value in content if tag == "h1"]:
            page.line(text, "F1", 11, y=y)
            page.line(f"{number}", "F1", 11, x=WIDTH - MARGIN - width(f"{number}", "F1", 11), y=y)
            page.box(MARGIN, y - 7, WIDTH - 2 * MARGIN, 0.4, PALE)
            y -= 24
    note = "A made-up product. This handbook is a sample document of Ragstone, Apache-2.0."
    page.line(note, size=8.5, y=40, colour=GREY)


def write(fields, pages):
    """The file: catalogue, pages, fonts, outline, contents, cross references."""
    objects = {}
    first = 6
    kids = " ".join(f"{first + 2 * i} 0 R" for i in range(len(pages)))
    objects[2] = f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>"
    for number, name in ((3, "Helvetica"), (4, "Helvetica-Bold")):
        objects[number] = f"<< /Type /Font /Subtype /Type1 /BaseFont /{name} /Encoding /WinAnsiEncoding >>"
    objects[5] = f"<< /Title ({fields['title']} handbook) /Author (The Ragstone authors) /Subject (Sample document) >>"
    outline = []
    for i, page in enumerate(pages):
        stream = "\n".join(page.operators)
        objects[first + 2 * i] = (
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {WIDTH} {HEIGHT}] /Contents {first + 2 * i + 1} 0 R "
            "/Resources << /Font << /F1 3 0 R /F2 4 0 R >> >> >>"
        )
        objects[first + 2 * i + 1] = f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream"
        outline += [(text, first + 2 * i, y) for text, size, y in page.headings if size == 20]
    root = first + 2 * len(pages)
    for i, (text, page, y) in enumerate(outline):
        own = root + 1 + i
        previous = f"/Prev {own - 1} 0 R " if i else ""
        following = f"/Next {own + 1} 0 R " if i + 1 < len(outline) else ""
        objects[own] = (
            f"<< /Title ({text}) /Parent {root} 0 R {previous}{following}/Dest [{page} 0 R /XYZ 0 {y:.0f} 0] >>"
        )
    objects[root] = f"<< /Type /Outlines /First {root + 1} 0 R /Last {root + len(outline)} 0 R /Count {len(outline)} >>"
    objects[1] = f"<< /Type /Catalog /Pages 2 0 R /Outlines {root} 0 R /Lang (en) >>"
    return assemble(objects)


def assemble(objects):
    out, offsets = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n", []
    for number in sorted(objects):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{objects[number]}\nendobj\n".encode("ascii")
    start = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    out += b"".join(f"{offset:010d} 00000 n \n".encode() for offset in offsets)
    out += f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R /Info 5 0 R >>\nstartxref\n{start}\n%%EOF\n".encode()
    return out


def main():
    fields, pages = blocks(SOURCE.read_text(encoding="ascii"))
    made = write(fields, lay_out(fields, pages))
    if "--check" in sys.argv[1:]:
        if TARGET.read_bytes() != made:
            raise SystemExit("samples/handbook.pdf differs from its source: run samples/make_pdf.py")
        print(f"handbook.pdf equals its source ({len(made)} bytes)")
        return
    TARGET.write_bytes(made)
    print(f"wrote {TARGET.name}: {len(pages)} pages, {len(made)} bytes")


if __name__ == "__main__":
    main()
