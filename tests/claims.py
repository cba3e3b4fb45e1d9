"""What is said of results, and the tables it is read from."""

import re
from pathlib import Path

from experiments.published import BEGIN, END

ROOT = Path(__file__).parents[1]
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?(?!\w)")


def numbers(text: str) -> set[str]:
    """The numbers of a text as they are written, with a plain minus; no part of a word."""
    return set(NUMBER.findall(text.replace("−", "-")))


def reported(text: str) -> str:
    """What a README reports: what its script wrote, or its tables where none writes it."""
    if BEGIN in text:
        return text.split(BEGIN)[1].split(END)[0]
    return "\n".join(line for line in text.splitlines() if line.startswith("|"))


def parts(header: str) -> dict[str, str]:
    """The named parts of an experiment's opening comment, each on one line, in their order."""
    found = re.findall(r"^# ([A-Z][\w' ]+): (.*(?:\n#  .*)*)", header, re.MULTILINE)
    return {name: " ".join(text.replace("\n#", " ").split()) for name, text in found}
