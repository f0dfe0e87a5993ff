"""The error of data that cannot be learned from."""

from ...serving.contract.errors import WidedeepError


class DataError(WidedeepError):
    """Data cannot be read, or nothing can be learned from it; the message says what came, where, and the way out."""

    status = "FAILED_PRECONDITION"
