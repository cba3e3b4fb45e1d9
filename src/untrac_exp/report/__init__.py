"""Reports of finished runs: tables, figures, an HTML page and W&B runs.

The report reads only the result files of a run, so it can be rebuilt without the models:
``python -m untrac_exp.report outputs/toxicity/mini``.
"""
