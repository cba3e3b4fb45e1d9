"""WinoBias, type 1: sentences in which a pronoun stands for one of two occupations.

Subsets: {pro, anti} (does the pronoun's gender agree with the occupation's stereotype?) times
{female, male} (which pronoun). Sentences with pronouns of both genders or of neither are dropped.
By default the tokens become text as people write it, and all forms of the pronouns count; the
preset `bias_paper` has the choices of the authors' code.
Source: Zhao et al., "Gender Bias in Coreference Resolution", NAACL 2018; the selection is that of
Isonuma and Titov, ACL 2024, section 4.2.
"""

import re
from collections.abc import Mapping, Sequence

from untrac_exp.data.base import Row, TestSet
from untrac_exp.data.rows import Columns
from untrac_exp.data.sampling import sample
from untrac_exp.data.sources.hub import DEFAULT_REVISION, HubDataset

PRONOUNS = {
    "female": {"she", "her", "hers", "herself"},
    "male": {"he", "him", "his", "himself"},
}


def testsets(
    path: str = "uclanlp/wino_bias",
    pro: str = "type1_pro",
    anti: str = "type1_anti",
    revision: str = DEFAULT_REVISION,
    splits: Sequence[str] = ("validation", "test"),
    n_per_subset: int = 256,
    seed: int = 0,
    name: str = "bias",
    pronouns: Mapping[str, Sequence[str]] | None = None,
    detokenised: bool = True,
) -> list[TestSet]:
    """Load the test set.

    Args:
        path: hub id or folder.
        pro: config of the stereotypical sentences; anti: of the others.
        revision: of the dataset.
        splits: of the dataset, joined.
        n_per_subset: sentences drawn for each subset.
        seed: of the draw.
        name: of the test set.
        pronouns: those of `female` and `male`, in lower or upper case as they are written; None for
            `PRONOUNS` in any case.
        detokenised: undo the dataset's tokenization; else tokens are joined by spaces.
    """
    subsets: dict[str, list[Row]] = {}
    for stereotype, config in (("pro", pro), ("anti", anti)):
        by_gender: dict[str, list[Row]] = {gender: [] for gender in PRONOUNS}
        for split in splits:
            source = HubDataset("testset", Columns(), path, config, split, revision)
            for row in source.read(["tokens"]):
                tokens = row["tokens"]
                if (gender := pronoun_gender(tokens, pronouns)) is not None:
                    text = detokenise(tokens) if detokenised else " ".join(tokens)
                    by_gender[gender].append(Row(text))
        for gender, rows in by_gender.items():
            subset = f"{stereotype}_{gender}"
            if not rows:
                raise ValueError(
                    f"testset: '{path}' config '{config}' has no sentence with a {gender} pronoun "
                    "alone; correct testset.path, .pro and .anti"
                )
            subsets[subset] = sample(rows, n_per_subset, seed, f"{name}/{subset}")
    return [TestSet(name, subsets)]


def pronoun_gender(
    tokens: Sequence[str], pronouns: Mapping[str, Sequence[str]] | None = None
) -> str | None:
    """Return `female` or `male` by the pronouns of a sentence; None if both or neither occur.

    pronouns: as in `testsets`.
    """
    words = {token.lower() for token in tokens} if pronouns is None else {*tokens}
    of_gender = pronouns or PRONOUNS
    genders = [gender for gender in PRONOUNS if not words.isdisjoint(of_gender[gender])]
    return genders[0] if len(genders) == 1 else None


def detokenise(tokens: Sequence[str]) -> str:
    """`["The", "cook", "did", "n't", "eat", "."]` as `The cook didn't eat.`"""
    text = " ".join(tokens)
    text = re.sub(r" ([.,;:!?%)\]}]|'(?:s|re|ve|d|ll|m)\b|n't\b|'(?=$| ))", r"\1", text)
    text = re.sub(r"([(\[{$]) ", r"\1", text)
    return re.sub(r"(?:``|\") (.*?) ?(?:''|\")", r'"\1"', text)
