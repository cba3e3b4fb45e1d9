"""`python -m untrac_exp +experiment=toxicity`: one job, or a sweep of them."""

from untrac_exp.cli import main

if __name__ == "__main__":
    main()
