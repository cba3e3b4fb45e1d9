"""Test texts coloured by what a corpus did to their tokens, for the page and for notebooks."""

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from untrac_exp.report.result_files import plain

_STRONGEST = 5
"""Tokens of a text whose influence is written out."""
_DEEPEST = 60
"""Percent of colour behind the token with the largest influence; text on it stays readable."""


class Html(str):
    """Markup that a notebook shows."""

    def _repr_html_(self) -> str:
        return str(self)


def environment() -> Environment:
    """Return the environment of the templates. Names from data are escaped."""
    return Environment(
        loader=PackageLoader("untrac_exp.report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=lambda value: "" if value is None else value,
    )  # fmt: skip


def coloured_texts(tokens: pd.DataFrame) -> Html:
    """Render the texts of one test set and corpus, the one that it moved most first.

    Args:
        tokens: columns as in tokens.csv.

    Returns:
        A list of texts, each with the numbers of its strongest tokens. A token's colour says how
        large its influence is beside the largest of all; negative ones are underlined too.
    """
    largest = float(tokens["influence"].abs().max())
    tokens = tokens.assign(
        shade=(_DEEPEST * tokens["influence"].abs() / (largest or 1.0))
        .fillna(0)
        .round()
        .astype(int)
    )
    texts = [
        {
            "subset": subset,
            "index": index,
            "change": rows["change"].iloc[0],
            "tokens": plain(rows.to_dict("records")),
            "strongest": plain(rows.nlargest(_STRONGEST, "shade").to_dict("records")),
        }
        for (subset, index), rows in tokens.groupby(["subset", "index"], sort=False)
    ]
    template = environment().get_template("coloured.html.j2")
    return Html(template.render(texts=texts, largest=largest))
