"""Errors and statuses."""

import grpc
import pytest
from widedeep.serving.contract import errors
from widedeep.serving.contract.errors import WidedeepError
from widedeep.serving.protocol.statuses import error_of, status_of

ALL = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, WidedeepError)]


@pytest.mark.parametrize("kind", ALL)
def test_every_error_becomes_the_status_it_names(kind: type[WidedeepError]) -> None:
    assert status_of(kind("why")).name == kind.status


@pytest.mark.parametrize("code", list(grpc.StatusCode))
def test_a_status_becomes_an_error_with_that_status_or_the_root(code: grpc.StatusCode) -> None:
    error = error_of(code, "why")
    assert str(error) == "why"
    assert status_of(error) is code or type(error) is WidedeepError


def test_what_a_caller_can_mend_or_retry_has_a_class_of_its_own() -> None:
    kinds = {code: type(error_of(code, "")) for code in grpc.StatusCode}
    assert kinds[grpc.StatusCode.INVALID_ARGUMENT] is errors.InvalidInput
    assert kinds[grpc.StatusCode.UNAVAILABLE] is errors.NotReady
    assert kinds[grpc.StatusCode.RESOURCE_EXHAUSTED] is errors.Overloaded
    assert kinds[grpc.StatusCode.DEADLINE_EXCEEDED] is errors.DeadlineExceeded
    assert kinds[grpc.StatusCode.FAILED_PRECONDITION] is errors.BundleError
