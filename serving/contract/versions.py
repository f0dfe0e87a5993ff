"""How the version of a model is spelt, as a folder of a repository, `<model>/<version>/`, and on the wire."""


def number_of(text: str) -> int | None:
    """Return the version that `text` spells canonically (`1`, not `01`) in at most 64 bits, else None."""
    canonical = text.isascii() and text.isdigit() and len(text) <= 18 and (text == "0" or text[0] != "0")
    return int(text) if canonical else None
