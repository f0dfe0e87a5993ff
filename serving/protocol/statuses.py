"""Errors as gRPC statuses, and statuses as errors again."""

import grpc

from ..contract.errors import (
    BundleError,
    Cancelled,
    DeadlineExceeded,
    InvalidInput,
    NotFound,
    NotReady,
    Overloaded,
    PermissionDenied,
    Unauthenticated,
    Unsupported,
    WidedeepError,
)

# Where two classes share a status, the one that a caller can meet over the wire stands here.
_ERRORS: dict[grpc.StatusCode, type[WidedeepError]] = {
    grpc.StatusCode[error.status]: error
    for error in (
        BundleError,
        Cancelled,
        DeadlineExceeded,
        InvalidInput,
        NotFound,
        NotReady,
        Overloaded,
        PermissionDenied,
        Unauthenticated,
        Unsupported,
    )
}


def status_of(error: WidedeepError) -> grpc.StatusCode:
    """Return the status that an error becomes on the wire."""
    return grpc.StatusCode[error.status]


def error_of(code: grpc.StatusCode, message: str) -> WidedeepError:
    """Return the error that a status stands for; the root class where no narrower one does."""
    return _ERRORS.get(code, WidedeepError)(message)
