"""TruthfulQA: questions with the false answers that people give; only the answer is scored.

A text is a (question, incorrect answer) pair; subsets are the categories, the kinds of "Confusion"
merged into one and those of "Indexical Error" into another, as far as they have 128 pairs: nine
subsets. As in the code of the paper's authors, the pairs of a category with too few are repeated,
in another order each time. Source: Lin et al., "TruthfulQA", ACL 2022; the selection is that of
Isonuma and Titov, ACL 2024, section 4.2.
"""

from untrac_exp.data.base import Row, TestSet
from untrac_exp.data.rows import Columns
from untrac_exp.data.sampling import sample
from untrac_exp.data.sources.hub import DEFAULT_REVISION, HubDataset

MERGED = ("Confusion", "Indexical Error")
"""Beginnings of categories that are merged into one subset each."""
LEAST = 128
"""Pairs of the smallest subset."""


def testsets(
    path: str = "truthfulqa/truthful_qa",
    revision: str = DEFAULT_REVISION,
    n_per_subset: int = 256,
    seed: int = 0,
) -> list[TestSet]:
    """Load the test set `truthfulness`. path: hub id or folder."""
    categories: dict[str, list[Row]] = {}
    source = HubDataset("testset", Columns(), path, "generation", "validation", revision)
    for row in source.read(["category", "question", "incorrect_answers"]):
        starts = (start for start in MERGED if row["category"].startswith(start))
        category = next(starts, row["category"])
        categories.setdefault(category, []).extend(
            Row(f" {answer.strip()}", row["question"].strip())
            for answer in row["incorrect_answers"]
            if answer.strip()
        )
    subsets = {
        category: _draw(rows, n_per_subset, seed, f"truthfulness/{category}")
        for category, rows in sorted(categories.items())
        if len(rows) >= LEAST
    }
    if not subsets:
        raise ValueError(
            f"testset: no category of '{path}' has {LEAST} incorrect answers; correct testset.path"
        )
    return [TestSet("truthfulness", subsets)]


def _draw(rows: list[Row], n: int, seed: int, name: str) -> list[Row]:
    """Draw `n` rows without replacement; of fewer, all again until there are `n`."""
    chosen = sample(rows, min(n, len(rows)), seed, name)
    while len(chosen) < n:
        again = sample(rows, len(rows), seed, f"{name}/{len(chosen)}")
        chosen += again[: n - len(chosen)]
    return chosen
