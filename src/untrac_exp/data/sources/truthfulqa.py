"""TruthfulQA: questions with the false answers that people give; only the answer is scored.

A text is a (question, incorrect answer) pair; subsets are the categories, the kinds of "Confusion"
merged into one and those of "Indexical Error" into another, as far as they have `min_per_subset`
pairs. Source: Lin et al., "TruthfulQA", ACL 2022; the selection is that of Isonuma and Titov, ACL
2024, section 4.2, which leaves nine subsets.
"""

from collections.abc import Sequence

from untrac_exp.data.base import Row, TestSet
from untrac_exp.data.rows import Columns
from untrac_exp.data.sampling import sample
from untrac_exp.data.sources.hub import DEFAULT_REVISION, HubDataset


def testsets(
    path: str = "truthfulqa/truthful_qa",
    config: str | None = "generation",
    revision: str = DEFAULT_REVISION,
    split: str = "validation",
    merged: Sequence[str] = ("Confusion", "Indexical Error"),
    min_per_subset: int = 128,
    n_per_subset: int = 256,
    seed: int = 0,
    name: str = "truthfulness",
    repeat: bool = False,
) -> list[TestSet]:
    """Load the test set.

    merged: prefixes of categories that are merged into one subset each. repeat: repeat the pairs of
    a category with fewer than `n_per_subset`, in another order each time, up to this number.
    """
    categories: dict[str, list[Row]] = {}
    source = HubDataset("testset", Columns(), path, config, split, revision)
    for row in source.read(["category", "question", "incorrect_answers"]):
        starts = (start for start in merged if row["category"].startswith(start))
        category = next(starts, row["category"])
        categories.setdefault(category, []).extend(
            Row(f" {answer.strip()}", row["question"].strip())
            for answer in row["incorrect_answers"]
            if answer.strip()
        )
    subsets = {
        category: _draw(rows, n_per_subset, seed, f"{name}/{category}", repeat)
        for category, rows in sorted(categories.items())
        if len(rows) >= min_per_subset
    }
    if not subsets:
        raise ValueError(
            f"testset: no category of '{path}' has {min_per_subset} incorrect answers; lower "
            "testset.min_per_subset or correct testset.path"
        )
    return [TestSet(name, subsets)]


def _draw(rows: list[Row], n: int, seed: int, name: str, repeat: bool) -> list[Row]:
    """Draw `n` rows without replacement, or all; with `repeat`, all again until there are `n`."""
    chosen = sample(rows, min(n, len(rows)), seed, name)
    while repeat and len(chosen) < n:
        again = sample(rows, len(rows), seed, f"{name}/{len(chosen)}")
        chosen += again[: n - len(chosen)]
    return chosen
