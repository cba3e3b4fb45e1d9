"""Errors of libraries in one line with its remedy."""

from collections.abc import Mapping


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
