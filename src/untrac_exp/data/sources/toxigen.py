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
MIN_WORDS, MAX_WORDS = 9, 24
"""Shortest and longest statement."""


def testsets(
    path: str = "toxigen/toxigen-data",
    revision: str = DEFAULT_REVISION,
    n_per_subset: int = 256,
    seed: int = 0,
) -> list[TestSet]:
    """Load the test set `toxicity`. path: hub id or folder."""
    groups: dict[str, list[Row]] = {}
    source = HubDataset("testset", Columns(), path, "train", "train", revision)
    for row in source.read(["generation", "group", "prompt_label"]):
        text = row["generation"].strip()
        if row["prompt_label"] == TOXIC and MIN_WORDS <= len(text.split()) <= MAX_WORDS:
            groups.setdefault(row["group"], []).append(Row(text))
    if not groups:
        raise ValueError(
            f"testset: '{path}' has no toxic statement of {MIN_WORDS} to {MAX_WORDS} words; "
            "correct testset.path"
        )
    return [sample_subsets("toxicity", groups, n_per_subset, seed)]
