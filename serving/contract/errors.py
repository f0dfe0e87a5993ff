"""Every deliberate error of widedeep, each with the gRPC status that it becomes on the wire.

    WidedeepError                INTERNAL
    ├── InvalidInput             INVALID_ARGUMENT     a request's tensors do not fit the bundle
    ├── Unauthenticated          UNAUTHENTICATED      the call carries no valid token
    ├── PermissionDenied         PERMISSION_DENIED    the call's token does not allow it
    ├── NotFound                 NOT_FOUND            no such model or version
    ├── NotReady                 UNAVAILABLE          loading, unloading or draining
    ├── Overloaded               RESOURCE_EXHAUSTED   the queue is full
    │   └── TooLarge             RESOURCE_EXHAUSTED   a message is larger than the server takes or sends
    ├── DeadlineExceeded         DEADLINE_EXCEEDED    the caller's time ran out while the request waited
    ├── Cancelled                CANCELLED            the caller went away while the request waited
    ├── Unsupported              UNIMPLEMENTED        a feature that this server does not have or has switched off
    ├── ExecutionError           INTERNAL             a member failed at run time
    ├── BundleError              FAILED_PRECONDITION  a bundle on disk is damaged, inconsistent or of a newer format
    ├── StorageError             UNAVAILABLE          object storage cannot be reached, or refuses
    └── ConfigurationError       FAILED_PRECONDITION  settings that cannot work here; stops the process at start-up

The status is a plain string: nothing in the core imports grpc to fail.
"""

from typing import ClassVar


class WidedeepError(Exception):
    """Root of all deliberate errors; `status` is the name of the gRPC status code it maps to."""

    status: ClassVar[str] = "INTERNAL"


class InvalidInput(WidedeepError):
    """A request's tensors do not fit what the bundle declares."""

    status = "INVALID_ARGUMENT"


class Unauthenticated(WidedeepError):
    """The server admits only callers with a token, and the call carries no valid one."""

    status = "UNAUTHENTICATED"


class PermissionDenied(WidedeepError):
    """The call carries a valid token that does not allow what it asks for."""

    status = "PERMISSION_DENIED"


class NotFound(WidedeepError):
    """The model or version asked for does not exist here."""

    status = "NOT_FOUND"


class NotReady(WidedeepError):
    """The model exists but cannot answer now: it is loading, unloading or draining."""

    status = "UNAVAILABLE"


class Overloaded(WidedeepError):
    """The queue is full; the caller may retry later."""

    status = "RESOURCE_EXHAUSTED"


class TooLarge(Overloaded):
    """A message is larger than the server takes or sends."""


class DeadlineExceeded(WidedeepError):
    """The caller's deadline passed before the request could be executed."""

    status = "DEADLINE_EXCEEDED"


class Cancelled(WidedeepError):
    """The caller cancelled the request before it was executed."""

    status = "CANCELLED"


class Unsupported(WidedeepError):
    """The call asks for something this server does not offer or has switched off."""

    status = "UNIMPLEMENTED"


class ExecutionError(WidedeepError):
    """A member failed while it ran."""


class BundleError(WidedeepError):
    """A bundle on disk is damaged, inconsistent or written in a newer format."""

    status = "FAILED_PRECONDITION"


class StorageError(WidedeepError):
    """Object storage cannot be reached, or refuses what it is asked."""

    status = "UNAVAILABLE"


class ConfigurationError(WidedeepError):
    """The settings cannot work on this machine or with this bundle."""

    status = "FAILED_PRECONDITION"
