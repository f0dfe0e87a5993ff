import base64
import json

import numpy as np
from peers.loads import LOADS, analyzer_data, first_rows, grpc_message, json_message, json_probabilities
from tritonclient.grpc import service_pb2

ROWS = {"tabular": np.arange(6, dtype=np.float32).reshape(3, 2)}


def test_more_rows_than_there_are_repeat_them_in_order():
    assert first_rows(ROWS, 5)["tabular"].tolist() == [[0, 1], [2, 3], [4, 5], [0, 1], [2, 3]]


def test_a_grpc_message_holds_the_rows_as_raw_contents():
    message = service_pb2.ModelInferRequest.FromString(grpc_message("tiny", ROWS))
    assert message.model_name == "tiny"
    assert list(message.inputs[0].shape) == [3, 2]
    assert message.raw_input_contents[0] == ROWS["tabular"].tobytes()


def test_a_json_message_holds_the_rows_as_base64():
    message = json.loads(json_message(ROWS))
    assert message["rows"] == 3
    assert base64.b64decode(message["tabular"]) == ROWS["tabular"].tobytes()


def test_a_json_answer_is_read_alone_or_as_the_one_of_a_list():
    answer = {"rows": 3, "probabilities": base64.b64encode(ROWS["tabular"].tobytes()).decode()}
    for form in (answer, [answer]):
        assert np.array_equal(json_probabilities(json.dumps(form).encode()), ROWS["tabular"])


def test_perf_analyzer_gets_every_row_on_its_own(tmp_path):
    data = json.loads(analyzer_data(tmp_path / "rows.json", ROWS).read_bytes())["data"]
    assert [step["tabular"]["content"] for step in data] == [[0, 1], [2, 3], [4, 5]]
    assert {tuple(step["tabular"]["shape"]) for step in data} == {(2,)}


def test_every_load_is_either_closed_or_open():
    assert all(bool(load.concurrency) != bool(load.share) for load in LOADS)
    assert len({load.name for load in LOADS}) == len(LOADS)
