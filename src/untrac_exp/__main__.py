"""Entry point of `python -m untrac_exp`: runs one job or a sweep."""

from untrac_exp.cli import main

if __name__ == "__main__":
    main()
