"""Tasks from a CSV in the format in which the paper's authors publish theirs.

Columns: inputs_pretokenized, targets_pretokenized, dataset (which task a row is of). The files are
github.com/misonuma/untrac: synthetic/synthetic_{train,eval}{00,10}_dataset.csv, 00 for suite a and
10 for suite b.
"""

from collections.abc import Mapping

import pandas as pd

from untrac_exp.data.base import Corpus, Row, TestSet

INPUTS, TARGETS = "inputs_pretokenized", "targets_pretokenized"
COLUMNS = [INPUTS, TARGETS, "dataset"]


def corpora(
    path: str, n_per_corpus: int = 256, names: Mapping[str, str] | None = None
) -> list[Corpus]:
    """Return a corpus per value of `dataset`, its first `n_per_corpus` rows.

    path: file or URL. names: of corpora, by value of `dataset`; by default the value.
    """
    tasks = _read(path, "corpora", n_per_corpus, names)
    return [Corpus(task, rows) for task, rows in tasks.items()]


def testsets(
    path: str, name: str, n_per_subset: int = 256, names: Mapping[str, str] | None = None
) -> list[TestSet]:
    """Return one test set, with a subset per value of `dataset`; arguments as of `corpora`."""
    return [TestSet(name, _read(path, "testset", n_per_subset, names))]


def _read(path: str, group: str, n: int, names: Mapping[str, str] | None) -> dict[str, list[Row]]:
    key, names = f"{group}.path", names or {}
    try:
        table = pd.read_csv(path, usecols=COLUMNS, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{key}: cannot read '{path}' as a CSV with the columns {', '.join(COLUMNS)} "
            f"({reason}); connect, or give another file"
        ) from error
    if table.empty:
        raise ValueError(f"{key}: '{path}' has no rows; give another file")
    if absent := sorted({*names} - {*table["dataset"]}):
        raise ValueError(f"{group}.names: '{path}' has no dataset '{absent[0]}'; correct it")
    return {
        names.get(str(task), str(task)): [
            Row(*pair) for pair in zip(rows[TARGETS], rows[INPUTS], strict=True)
        ][:n]
        for task, rows in table.groupby("dataset", sort=True)
    }
