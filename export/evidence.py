"""Names in a bundle's evidence that training writes and the report reads."""

TRAINING_FILE = "training.json"
"""How the bundle was found."""

TEST_FILE = "test.npz"
"""The untouched test rows: `target`, `scores/<member>`, `ensemble`, and `weights` where rows count differently."""

TRAINING_FORMAT = 1
"""What `TRAINING_FILE` has as `format`."""
