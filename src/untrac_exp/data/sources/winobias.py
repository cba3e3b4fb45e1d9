"""WinoBias, type 1: sentences in which a pronoun stands for one of two occupations.

Subsets: {pro, anti} (does the pronoun's gender agree with the occupation's stereotype?) times
{female, male} (which pronoun). Sentences with pronouns of both genders or of neither are dropped.
As in the code of the paper's authors, five pronouns count, in lower case as they are written, and
the dataset's tokens are joined by spaces.
Source: Zhao et al., "Gender Bias in Coreference Resolution", NAACL 2018; the selection is that of
Isonuma and Titov, ACL 2024, section 4.2.
"""

from collections.abc import Sequence

from untrac_exp.data.base import Row, TestSet
from untrac_exp.data.rows import Columns
from untrac_exp.data.sampling import sample
from untrac_exp.data.sources.hub import DEFAULT_REVISION, HubDataset

PRONOUNS = {"female": {"she", "her"}, "male": {"he", "his", "him"}}
SPLITS = "validation+test"


def testsets(
    path: str = "uclanlp/wino_bias",
    revision: str = DEFAULT_REVISION,
    n_per_subset: int = 256,
    seed: int = 0,
) -> list[TestSet]:
    """Load the test set `bias`. path: hub id or folder."""
    subsets: dict[str, list[Row]] = {}
    for stereotype in ("pro", "anti"):
        config = f"type1_{stereotype}"
        source = HubDataset("testset", Columns(), path, config, SPLITS, revision)
        by_gender: dict[str, list[Row]] = {gender: [] for gender in PRONOUNS}
        for row in source.read(["tokens"]):
            if (gender := pronoun_gender(row["tokens"])) is not None:
                by_gender[gender].append(Row(" ".join(row["tokens"])))
        for gender, rows in by_gender.items():
            subset = f"{stereotype}_{gender}"
            if not rows:
                raise ValueError(
                    f"testset: '{path}' config '{config}' has no sentence with a {gender} pronoun "
                    "alone; correct testset.path"
                )
            subsets[subset] = sample(rows, n_per_subset, seed, f"bias/{subset}")
    return [TestSet("bias", subsets)]


def pronoun_gender(tokens: Sequence[str]) -> str | None:
    """Return `female` or `male` by the pronouns of a sentence; None if both or neither occur."""
    genders = [gender for gender, words in PRONOUNS.items() if not words.isdisjoint(tokens)]
    return genders[0] if len(genders) == 1 else None
