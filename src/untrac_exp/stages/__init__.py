"""Stages as LightningModules: pretraining, unlearning and evaluation.

Also gradients and Hessian products of a dataset's loss, the inputs of a job as tokens, and the
models that are trained on them.
"""
