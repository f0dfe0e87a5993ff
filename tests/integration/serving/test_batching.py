"""Rows of different requests are executed together and long requests are split; nobody can tell from the answers."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from small_bundle import rows
from triton_calls import predict
from tritonclient.grpc import InferenceServerClient
from widedeep.serving.online.server import Server

pytestmark = pytest.mark.each_front_end

OUTPUTS = ("probabilities", "label", "scores/deep", "scores/wide")
DELAY_US = 20_000_000
"""Longer than a test may take: batches run when they are full."""


def batch_sizes(client: InferenceServerClient) -> dict[int, int]:
    entry = client.get_inference_statistics("animals").model_stats[0]
    return {batch.batch_size: batch.compute_infer.count for batch in entry.batch_stats}


def test_concurrent_rows_are_one_batch_and_get_what_they_get_alone(
    start_server: Callable[..., Server], repository_path: Path
) -> None:
    n_rows = 16
    whole = rows(n_rows)
    singles = [{name: array[i : i + 1] for name, array in whole.items()} for i in range(n_rows)]
    alone_server = start_server(repository_path)
    with InferenceServerClient(alone_server.address) as client:
        alone = [predict(client, single, OUTPUTS) for single in singles]
    together_server = start_server(repository_path, max_batch_rows=n_rows, max_queue_delay_us=DELAY_US)
    with InferenceServerClient(together_server.address) as client, ThreadPoolExecutor(n_rows) as threads:
        together = list(threads.map(lambda single: predict(client, single, OUTPUTS), singles))
        assert batch_sizes(client) == {n_rows: 1}
    for one, other in zip(alone, together, strict=True):
        for name in OUTPUTS:
            if one[name].dtype == object:
                assert one[name].tolist() == other[name].tolist()
            else:
                np.testing.assert_allclose(one[name], other[name], atol=1e-6)


def test_requests_that_ask_for_different_outputs_share_a_batch(
    start_server: Callable[..., Server], repository_path: Path
) -> None:
    server = start_server(repository_path, max_batch_rows=4, max_queue_delay_us=DELAY_US)
    asked = [("label",), ("scores/deep",), ("scores/wide", "probabilities"), ("probabilities",)]
    with InferenceServerClient(server.address) as client, ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda names: predict(client, rows(1), names), asked))
        assert batch_sizes(client) == {4: 1}
    assert [tuple(answer) for answer in answers] == asked
    np.testing.assert_allclose(answers[2]["probabilities"], answers[3]["probabilities"], atol=1e-6)


@pytest.mark.parametrize("n_rows", [9, 16, 37])
def test_a_long_request_is_split_and_answered_whole(
    start_server: Callable[..., Server], repository_path: Path, n_rows: int
) -> None:
    server = start_server(repository_path, max_batch_rows=8)
    with InferenceServerClient(server.address) as client:
        whole = predict(client, rows(n_rows), OUTPUTS)
        full, rest = divmod(n_rows, 8)
        assert batch_sizes(client) == {8: full} | ({rest: 1} if rest else {})
    with InferenceServerClient(start_server(repository_path).address) as client:
        expected = predict(client, rows(n_rows), OUTPUTS)
    np.testing.assert_allclose(whole["probabilities"], expected["probabilities"], atol=1e-6)
    assert whole["label"].tolist() == expected["label"].tolist()


def test_ten_thousand_rows_go_in_one_request(server: Server) -> None:
    with InferenceServerClient(server.address) as client:
        answer = predict(client, rows(20_000))
        some = predict(client, {name: array[12_345:12_346] for name, array in rows(20_000).items()})
    assert answer["probabilities"].shape == (20_000, 3)
    np.testing.assert_allclose(answer["probabilities"][12_345], some["probabilities"][0], atol=1e-6)
