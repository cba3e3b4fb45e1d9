"""ToxiGen: machine-generated toxic statements about thirteen groups of people.

Kept are statements generated from toxic prompts (`prompt_label` 1), of 9 to 24 words; a subset for
each group. Source: Hartvigsen et al., "ToxiGen", ACL 2022; the selection is that of Isonuma and
Titov, ACL 2024, section 4.2. The dataset is gated; accept its terms and set HF_TOKEN.
"""

from untrac_exp.data.base import Row, TestSet
from untrac_exp.data.rows import Columns
from untrac_exp.data.sampling import sample_subsets
from untrac_exp.data.sources.hub import DEFAULT_REVISION, HubDataset

TOXIC = 1


def testsets(
    path: str = "toxigen/toxigen-data",
    config: str | None = "train",
    revision: str = DEFAULT_REVISION,
    split: str = "train",
    min_words: int = 9,
    max_words: int = 24,
    n_per_subset: int = 256,
    seed: int = 0,
    name: str = "toxicity",
) -> list[TestSet]:
    """Load the test set. path: hub id or folder. min_words, max_words: inclusive."""
    groups: dict[str, list[Row]] = {}
    source = HubDataset("testset", Columns(), path, config, split, revision)
    for row in source.read(["generation", "group", "prompt_label"]):
        text = row["generation"].strip()
        if row["prompt_label"] == TOXIC and min_words <= len(text.split()) <= max_words:
            groups.setdefault(row["group"], []).append(Row(text))
    if not groups:
        raise ValueError(
            f"testset: '{path}' has no toxic statement of {min_words} to {max_words} words; "
            "widen testset.min_words and .max_words or correct testset.path"
        )
    return [sample_subsets(name, groups, n_per_subset, seed)]
