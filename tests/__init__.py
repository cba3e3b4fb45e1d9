"""A package, as kronfluence's wheel brings one of this name, which would hide a mere folder."""
