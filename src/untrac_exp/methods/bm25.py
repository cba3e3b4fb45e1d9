r"""Control: BM25 relevance of a corpus' sequences to the test texts, without the model.

.. math::
    I(Z', Z) = \frac{1}{|Z'| |Z|} \sum_{z' \in Z'} \sum_{z \in Z} \sum_{w \in z'}
    \frac{\mathrm{idf}(w) \, c(w, z)}{c(w, z) + k_1 (1 - b + b |z| / \ell)}

over test texts z' and sequences z, with c(w, z) the count of a word in a sequence, |z| its length
in words, ℓ the mean length, and idf(w) = log(1 + (D - d + 1/2) / (d + 1/2)) for a word in d of the
D sequences of all corpora.

Source: Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009, by
the library bm25s with its constants (k1 = 1.5, b = 0.75). As a baseline of attribution: Akyürek et
al., "Towards Tracing Knowledge in Language Models Back to the Training Data", 2022.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from untrac_exp.methods.common.words import TextMethod, split


@dataclass(frozen=True)
class BM25(TextMethod):
    """Mean BM25 score of sequences and test texts."""

    name: ClassVar[str] = "bm25"
    library: ClassVar[str] = "bm25s"

    @staticmethod
    def table(corpora: list[list[str]], subsets: list[list[str]]) -> np.ndarray:
        """Return the mean score (Z, S) of the texts of each corpus for those of each subset."""
        import bm25s

        index = bm25s.BM25()
        index.index([split(text) for texts in corpora for text in texts], show_progress=False)
        ends = np.cumsum([len(texts) for texts in corpora])[:-1]
        means = np.zeros((len(corpora), len(subsets)))
        for j, texts in enumerate(subsets):
            queries = [[word for word in split(text) if word in index.vocab_dict] for text in texts]
            scores = [index.get_scores(query) for query in queries if query]
            if scores:
                total = np.sum(scores, 0, dtype=float) / len(texts)
                means[:, j] = [part.mean() for part in np.split(total, ends)]
        return means
