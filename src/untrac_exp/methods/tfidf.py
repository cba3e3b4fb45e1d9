r"""Control: cosine similarity of TF-IDF vectors of a corpus and of test texts, without the model.

.. math::
    I(Z', Z) = \frac{1}{|Z'| |Z|} \sum_{z' \in Z'} \sum_{z \in Z} \cos(v(z'), v(z))

over test texts z' and sequences z, with v(z) the counts of words in z, each times
log((1 + D) / (1 + d)) + 1 for a word in d of the D sequences of all corpora (scikit-learn's
`TfidfVectorizer`).

Source: Salton and Buckley, "Term-Weighting Approaches in Automatic Text Retrieval", 1988.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from untrac_exp.methods.common.words import TextMethod, vectorizer


@dataclass(frozen=True)
class TfIdf(TextMethod):
    """Mean cosine of TF-IDF vectors."""

    name: ClassVar[str] = "tfidf"
    library: ClassVar[str] = "sklearn"

    @staticmethod
    def table(corpora: list[list[str]], subsets: list[list[str]]) -> np.ndarray:
        """Return the mean cosine (Z, S) of the texts of each corpus and those of each subset."""
        words = vectorizer("TfidfVectorizer").fit([text for texts in corpora for text in texts])
        # vectors have length 1, so a product of means is the mean of cosines
        ours, theirs = (
            np.stack([np.asarray(words.transform(texts).mean(0))[0] for texts in datasets])
            for datasets in (corpora, subsets)
        )
        return ours @ theirs.T
