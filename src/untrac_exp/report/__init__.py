"""What a run leaves behind for people: files, tables, figures, a page, a W&B run.

Everything here reads the files of a run and nothing else of the project, so a report can be drawn
again long after the models are gone: ``python -m untrac_exp.report outputs/toxicity/mini``.
"""
