"""What is said of results, and the tables it is read from."""

import re
from pathlib import Path

from experiments.published import BEGIN, END

ROOT = Path(__file__).parents[1]
OLDER = "Run at 9504b84 or earlier, with the constant learning rate (`schedule=constant`)"
"""Of numbers older than today's presets; gone once a script writes them anew."""
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


def wrong(header: str, root: Path = ROOT) -> list[str]:
    """What is wrong with an experiment's opening comment, in words; nothing where all is right."""
    said = parts(header)
    names = list(said)
    if names[1:] != ["Result here", "Command", "Cost"] or names[0] not in (
        "Paper's claim",
        "Question",
    ):
        return [f"the parts are {', '.join(names)}"]
    result = said["Result here"]
    sources = re.findall(r"[\w/]+\.md", result)
    if len(sources) != 1 or not (root / sources[0]).parent.is_dir():
        return [f"one file with the numbers, not {sources}"]
    text = (root / sources[0]).read_text(encoding="utf-8")
    found = []
    if result.startswith("see "):  # a table is the answer to a question; a claim has a verdict
        verdict = names[0] == "Paper's claim" and BEGIN in text
        return [f"{sources[0]} has the numbers of a verdict"] if verdict else []
    if names[0] == "Paper's claim" and not re.match(
        "(holds|holds in part|does not hold): ", result
    ):
        found.append("the result says neither holds, holds in part nor does not hold")
    told = numbers(result)
    if not told:
        found.append("the result has no number")
    if absent := told - numbers(reported(text)):
        found.append(f"not in {sources[0]}: {', '.join(sorted(absent))}")
    if sources[0] != "docs/results.md" and ("schedule=constant" in result) != (OLDER in text):
        found.append("the header and the file say different presets")
    return found
