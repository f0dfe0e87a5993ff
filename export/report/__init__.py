"""The report of a bundle: one HTML file that shows how good its ensemble is, what it is made of and how it was found.

    bundle, evidence files -> evidence -> judgement -> sections -> page -> FILE.html

Sections are pure functions of the evidence; each draws with `axes`, `bars` and `heatmap`, which make `markup`. What the
bundle does not hold is said, not guessed.
"""
