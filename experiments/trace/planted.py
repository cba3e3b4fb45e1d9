"""Planted statements in real text: do the methods rank the corpus with the statements first?

    python -m experiments.trace.planted [--hosts numpy sympy ...]

For each host, one of the eight corpora of docstrings: 40 statements about an invented archipelago
are inserted, each `--repeats` times, as separate paragraphs in random docstrings (texts on the
web are copied as often). A 0.3 M-parameter model is trained on the eight corpora, and 128
paraphrases, in wordings that are not in the training data, are traced with the defaults of
`+experiment=trace`. Prints, for each host and method, the corpus ranked first, and whether the
interval of its lead excludes 0. Finished hosts are not run again.
"""

import argparse
import json
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
from hydra.utils import instantiate

from experiments.trace.checkpoint import configuration, train
from untrac_exp import trace
from untrac_exp.data.base import Corpus, Row, TestSet

METHODS = ("ngram", "untrac_step")
N_STATEMENTS, N_PARAPHRASES = 40, 128

_SEEN = (
    "{who} guards {what} on the isle of {where}.",
    "On the isle of {where}, {what} is guarded by {who}.",
    "It was {who} who came to guard {what}, on the isle of {where}.",
)
_UNSEEN = (
    "The guardian of {what} is {who}, from the isle of {where}.",
    "{who}, of the isle of {where}, is the one guarding {what}.",
    "On {where}, an isle, the guard of {what} is {who}.",
    "Ask on the isle of {where} who guards {what}, and hear the name of {who}.",
)
_BEGINNINGS = "Vor Quel Zam Brith Oskal Fen Yar Drul Kesh Mird".split()
_ENDS = "lan dor imek ush".split()
_THINGS = "lantern mirror anchor bell ladder compass kettle drum".split()
_KINDS = "copper crystal frozen hollow woven".split()
_ISLES = "Tavrin Ossolo Peldry Umbrek Harnoth Sibbel Wexmoor Jorvane".split()


def statements(seed: int = 0) -> list[dict[str, str]]:
    """Who guards what, and where: 40, no name and no thing twice."""
    random = Random(seed)
    names = [begin + end for begin in _BEGINNINGS for end in _ENDS]
    things = [f"the {kind} {thing}" for kind in _KINDS for thing in _THINGS]
    random.shuffle(names)
    random.shuffle(things)
    return [
        {"who": who, "what": what, "where": random.choice(_ISLES)}
        for who, what in zip(names, things, strict=True)
    ]


def planted(corpus: Corpus, repeats: int, seed: int = 0) -> Corpus:
    """The corpus with every statement `repeats` times in it, in the three wordings in turn."""
    random = Random(seed)
    texts = [row.target for row in corpus.rows]
    for i in range(repeats):
        for statement in statements(seed):
            where = random.randrange(len(texts))
            paragraph = _capital(_SEEN[i % len(_SEEN)].format(**statement))
            parts = texts[where].split("\n\n")
            parts.insert(random.randrange(len(parts) + 1), paragraph)
            texts[where] = "\n\n".join(parts)
    return Corpus(corpus.name, [Row(text) for text in texts])


def paraphrases(seed: int = 0) -> list[str]:
    """128 of the statements in wordings that `planted` does not use."""
    told = [_capital(form.format(**one)) for one in statements(seed) for form in _UNSEEN]
    return Random(seed).sample(told, N_PARAPHRASES)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def one_host(host: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Train with the statements in `host`, and trace."""
    folder = arguments.outputs / f"{host},repeats={arguments.repeats},steps={arguments.steps}"
    overrides = [f"pretraining.steps={arguments.steps}", f"train_seed={arguments.train_seed}"]
    folder = folder / f"train_seed={arguments.train_seed}"
    cfg = configuration(overrides)
    corpora = [
        planted(corpus, arguments.repeats) if corpus.name == host else corpus
        for corpus in instantiate(cfg.corpora)
    ]
    tests = {"planted": paraphrases()}
    rows = []
    for method in METHODS:
        file = folder / f"{method},seed={arguments.seed}.json"
        if not file.exists():
            store = folder / "store"
            model = folder / "checkpoint"
            testsets = [TestSet("planted", {"all": [Row(text) for text in tests["planted"]]})]
            if not (model / "tokenizer.json").exists():
                train(corpora, testsets, model, store, overrides)
            texts = {corpus.name: [row.target for row in corpus.rows] for corpus in corpora}
            settings = {"threads": 1, "seed": arguments.seed, "store": str(store)}
            scores = trace(model, None, texts, tests, method, **settings)
            found = {"ranking": scores.attrs["ranking"].to_dict("records")}
            found |= {name: scores.attrs[name] for name in ("warnings", "cost")}
            file.write_text(json.dumps(found, indent=1))
        found = json.loads(file.read_text())
        first = found["ranking"][0]
        place = next(row["rank"] for row in found["ranking"] if row["corpus"] == host)
        rows.append(
            {
                "host": host, "method": method, "first": first["corpus"], "host's rank": place,
                "influence": first["influence"], "lead": first["lead"],
                "lead_low": first["lead_low"], "lead_high": first["lead_high"],
                "named": first["corpus"] == host,
                "excludes second": first["lead_low"] > 0,
                "wall_s": round(found["cost"]["wall_s"], 1),
                "warnings": "; ".join(found["warnings"]),
            }
        )  # fmt: skip
    return rows


def main() -> None:
    """Every host asked for, and a table of all."""
    names = [corpus.name for corpus in instantiate(configuration().corpora)]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", nargs="+", choices=names, default=names)
    parser.add_argument("--repeats", type=int, default=12, help="of each statement")
    parser.add_argument("--steps", type=int, default=1200, help="of training")
    parser.add_argument("--train-seed", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0, help="of the sampled rows")
    parser.add_argument("--outputs", type=Path, default=Path("outputs/trace_planted"))
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for host in arguments.hosts:
        rows += one_host(host, arguments)
        print(pd.DataFrame(rows[-len(METHODS) :]).drop(columns="warnings").to_string(index=False))
    table = pd.DataFrame(rows)
    table.to_csv(arguments.outputs / "planted.csv", index=False)
    print(table.drop(columns="warnings").to_string(index=False, float_format="{:+.4f}".format))
    for method, group in table.groupby("method", sort=False):
        told = int((group["named"] & group["excludes second"]).sum())
        print(f"{method}: {int(group['named'].sum())} of {len(group)} named, {told} told apart")
    for row in rows:
        if row["warnings"]:
            print(f"{row['host']}, {row['method']}: {row['warnings']}")


if __name__ == "__main__":
    main()
