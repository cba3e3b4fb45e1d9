"""Statistics of influences: agreement with a truth, noise ceilings, intervals, rankings.

`agreement` compares a method with the truth. `intervals` resamples evaluated texts. `ranking` and
`evidence` say what can be read off scores that have no truth to be compared with.
"""
