r"""Control: leave-dataset-out of word unigrams, without the model.

.. math::
    I(Z', Z) = \sum_{w \in Z'} f(w) \log \frac{p(w)}{p_{-Z}(w)}, \qquad
    p(w) = \frac{c(w) + 1}{N + V}

with f the frequencies of words in the test subset, c their counts in all corpora, N the number of
words in all corpora and V the number of different words. :math:`p_{-Z}` is the same without corpus
Z, with the counts that are left scaled up to N. In nats per word.

Source: add-one smoothing as in Jurafsky and Martin, "Speech and Language Processing", chapter 3.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from untrac_exp.methods.common.words import TextMethod, vectorizer


@dataclass(frozen=True)
class Unigrams(TextMethod):
    """Word counts of each corpus."""

    name: ClassVar[str] = "unigrams"
    library: ClassVar[str] = "sklearn"

    @staticmethod
    def table(corpora: list[list[str]], subsets: list[list[str]]) -> np.ndarray:
        """Return the rise (Z, S) of each subset's loss without each corpus, in nats per word."""
        texts = [text for texts in corpora + subsets for text in texts]
        words = vectorizer("CountVectorizer").fit(texts)

        def count(datasets: list[list[str]]) -> np.ndarray:
            return np.stack([np.asarray(words.transform(texts).sum(0))[0] for texts in datasets])

        counts = count(corpora)
        total, n, v = counts.sum(0), counts.sum(), counts.shape[1]
        left = total - counts
        scale = n / np.maximum(1, left.sum(1, keepdims=True))
        change = np.log((total + 1) / (n + v)) - np.log((scale * left + 1) / (n + v))
        tested = count(subsets)
        return change @ (tested / np.maximum(1, tested.sum(1, keepdims=True))).T
