"""Errors of libraries, and of a hub that does not answer, in one line with its remedy."""

import logging
from collections.abc import Mapping
from functools import cache

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

log = logging.getLogger(__name__)

_WAIT_S = 10.0
"""How long the hub is waited for."""


def remedy_of(
    error: Exception, remedies: Mapping[tuple[str, ...], str], **values: object
) -> str | None:
    """Return what is wrong and its remedy; None if it is unknown.

    Args:
        error: the error, with its causes.
        remedies: by names of an error's classes or words of its text.
        values: for the placeholders of the remedies; `text` is the error's.
    """
    causes = filter(None, [error, error.__cause__, error.__context__])
    names = [kind.__name__ for cause in causes for kind in type(cause).__mro__]
    text = " ".join(str(error).split()).rstrip(".")
    for signs, remedy in remedies.items():
        if any(sign in names or sign in text for sign in signs):
            return remedy.format(text=text, **values)
    return None


@cache
def answers(path: str, kind: str = "model") -> bool:
    """Return whether the hub answers a question about a model or dataset in time."""
    log.info("%s: asking the hub, for at most %.0f s", path, _WAIT_S)
    try:
        HfApi().repo_info(path, repo_type=kind, timeout=_WAIT_S)
    except HfHubHTTPError:  # it answers; who reads from it says what is wrong
        return True
    except Exception:
        return False
    return True
