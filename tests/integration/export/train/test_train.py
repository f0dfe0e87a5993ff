"""`widedeep train` from a file to answers of a server."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from triton_calls import triton_inputs
from tritonclient.grpc import InferenceServerClient
from widedeep.export.train.options import Options, TrainError
from widedeep.export.train.run import Trained, train
from widedeep.serving.batch.cli import score
from widedeep.serving.contract.bundle import BundleError, read_bundle
from widedeep.serving.online.server import Server

QUICK = ("linear", "lightgbm")


def options(data: Path, output: Path, **changes: object) -> Options:
    """Return options for a few trials of quick kinds."""
    wished = {
        "target": "diagnosis",
        "time_limit_s": 60.0,
        "kinds": QUICK,
        "max_trials": 3,
        "test_fraction": 0.2,
        **changes,
    }
    return Options(data=data, output=output, **wished)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained(tumours: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """An ensemble of quick kinds."""
    return train(options(tumours, tmp_path_factory.mktemp("trained") / "models"))


def test_a_file_becomes_a_bundle_in_a_repository(trained: Trained) -> None:
    assert trained.path.parts[-3:] == ("models", "tumours", "1")
    bundle = read_bundle(trained.path)
    assert bundle.classes == ("benign", "malignant")
    assert {spec.name for spec in bundle.inputs} == {"tabular", "size"}
    assert {"training.json", "test.npz", "examples.npz", "held_out.npz", "inputs.json"} == set(bundle.evidence)


def test_nothing_else_lies_in_the_repository_or_beside_it(trained: Trained) -> None:
    assert [place.name for place in trained.path.parent.iterdir()] == ["1"]
    assert [place.name for place in trained.path.parent.parent.iterdir()] == ["tumours"]
    assert [place.name for place in trained.path.parent.parent.parent.iterdir()] == ["models"]


def test_it_learns_and_the_test_rows_say_so(trained: Trained) -> None:
    assert trained.judged is not None
    assert trained.judged.metrics["accuracy"] > 0.88
    prior = 0.66  # log loss of always saying the shares of the classes
    assert trained.judged.metrics["log_loss"] < prior / 2
    assert trained.test is not None
    assert len(trained.test.target) + len(trained.data.target) == 569


def test_the_training_is_told_in_the_evidence(trained: Trained) -> None:
    told = json.loads((trained.path / "evidence" / "training.json").read_text())
    assert told["target"] == "diagnosis"
    assert {trial["kind"] for trial in told["trials"]} == set(QUICK)
    assert set(told["members"]) == {member.name for member in trained.bundle.members}
    assert told["latency"]["ensemble_us"] > 0


def test_the_bundle_answers_tritonclient_new_words_and_gaps_too(
    trained: Trained, start_server: Callable[..., Server]
) -> None:
    server = start_server(trained.path.parent.parent)
    width = next(spec for spec in trained.bundle.inputs if spec.name == "tabular").shape[1]
    arrays = {
        "tabular": np.full((3, width), np.nan, np.float32),
        "size": np.array([["small"], ["gigantic"], [""]], dtype=object),
    }
    with InferenceServerClient(server.address) as client:
        answer = client.infer("tumours", triton_inputs(arrays)).as_numpy("probabilities")
    np.testing.assert_allclose(answer.sum(axis=1), 1.0, atol=1e-6)


def test_the_bundle_scores_the_file_that_it_was_trained_on(trained: Trained, tumours: Path, tmp_path: Path) -> None:
    assert score([str(trained.path), str(tumours), str(tmp_path / "scored"), "--keep", "diagnosis", "--json"]) == 0
    parts = sorted((tmp_path / "scored").glob("part-*.parquet"))
    scored = pd.concat([pd.read_parquet(part) for part in parts])
    assert len(scored) == 569
    assert (scored["label"] == scored["diagnosis"]).mean() > 0.9


def test_training_again_makes_the_next_version(trained: Trained, tumours: Path) -> None:
    again = train(options(tumours, trained.path.parent.parent, kinds=("linear",), max_trials=1))
    assert again.path == trained.path.parent / "2"


@pytest.mark.slow
def test_a_latency_budget_is_kept(tumours: Path, tmp_path: Path) -> None:
    kinds = ("linear", "extra_trees")
    first = train(options(tumours, tmp_path / "first", kinds=kinds, max_trials=2, max_latency_us_per_row=1e6))
    # With what an ensemble takes beside its members, the slowest member fits no budget of its own latency.
    budget_us = max(candidate.about.latency_us or 0.0 for candidate in first.candidates)
    kept = train(options(tumours, tmp_path / "kept", kinds=kinds, max_trials=2, max_latency_us_per_row=budget_us))
    assert kept.assembled.latency_us <= budget_us
    assert [member.name for member in kept.bundle.members] == ["linear_0"]


def test_a_budget_that_no_member_keeps_is_an_error_that_names_the_quickest(tumours: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=r"takes at most 1e-06 us a row .* quickest candidate alone, linear_0"):
        train(options(tumours, tmp_path / "models", kinds=("linear",), max_trials=1, max_latency_us_per_row=1e-6))
    assert not (tmp_path / "models").exists()
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_kind_is_refused_with_those_that_suit(tumours: Path, tmp_path: Path) -> None:
    with pytest.raises(
        TrainError, match=r"kind 'catboost' is unknown or does not suit this data; those that do: .*linear"
    ):
        train(options(tumours, tmp_path / "models", kinds=("catboost",)))


@pytest.mark.slow
def test_a_time_limit_too_short_for_any_model_is_an_error_in_time(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(200_000, 60)), columns=[f"x{i}" for i in range(60)])
    table["y"] = rng.integers(0, 20, len(table))
    path = tmp_path / "wide.parquet"
    table.to_parquet(path)
    began = time.monotonic()
    with pytest.raises(TrainError, match=r"no model was trained within 1 s and 45 s of grace; give more time"):
        train(Options(data=path, target="y", output=tmp_path / "models", time_limit_s=1.0, kinds=("random_forest",)))
    assert time.monotonic() - began < 91
    assert not (tmp_path / "models").exists()


@pytest.mark.slow
def test_the_whole_command_ends_within_its_limit_and_ninety_seconds(tumours: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    subprocess.run(_command(tumours, tmp_path, "--time-limit", "30s"), check=True, capture_output=True)
    assert time.monotonic() - began < 120
    assert read_bundle(tmp_path / "models" / "tumours" / "1").members


@pytest.mark.slow
def test_a_killed_run_goes_on_with_what_it_had_found(tumours: Path, tmp_path: Path) -> None:
    command = _command(tumours, tmp_path, "--time-limit", "120s", "--work", str(tmp_path / "work"))
    found: list[tuple[str, float]] = []
    for _ in range(2):
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
            assert running.stderr is not None
            n_before = len(found)
            for line in running.stderr:
                if match := re.search(r"(\w+_\d+) +(\d\.\d+) ", line):
                    found.append((match[1], float(match[2])))
                if len(found) >= n_before + 3:
                    running.send_signal(signal.SIGKILL)
        assert running.returncode == -signal.SIGKILL
        assert not (tmp_path / "models").exists()
    last = subprocess.run([*command, "--max-trials", "2", "--json"], check=True, capture_output=True, text=True)
    assert json.loads(last.stdout)["n_trials"] >= 8
    told = json.loads((tmp_path / "models" / "tumours" / "1" / "evidence" / "training.json").read_text())
    losses = {f"{trial['kind']}_{trial['number']}": trial["loss"] for trial in told["trials"]}
    for name, loss in found:
        assert losses[name] == pytest.approx(loss, abs=1e-5)


@pytest.mark.slow
def test_a_worker_that_dies_costs_its_trial_and_no_more(tumours: Path, tmp_path: Path) -> None:
    command = _command(tumours, tmp_path, "--time-limit", "60s", "--max-trials", "4", "--workers", "1")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        told = running.stderr.readline()  # the data is read; the first worker starts
        worker = None
        while worker is None:
            time.sleep(0.1)
            children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
            worker = next(iter(children), None)
        os.kill(int(worker), signal.SIGKILL)
        told += running.stderr.read()
    assert running.returncode == 0
    assert "failed: its process died of SIGKILL" in told
    assert read_bundle(tmp_path / "models" / "tumours" / "1").members


@pytest.mark.slow
@pytest.mark.usefixtures("heeds_ctrl_c")
def test_a_trial_interrupted_by_ctrl_c_is_tried_again(tumours: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    command = _command(tumours, tmp_path, "--time-limit", "60s", "--workers", "1", "--work", str(work))
    command = [*command[: command.index("--kind")], "--kind", "linear"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        while not list(work.glob("worker-*.log")):
            time.sleep(0.05)
            assert running.poll() is None
        time.sleep(1.0)  # the worker still imports what it trains with
        running.send_signal(signal.SIGINT)
        _, said = running.communicate()
    assert running.returncode == 128 + signal.SIGINT, said
    assert not (work / "setting.pickle").exists()
    subprocess.run([*command, "--max-trials", "1"], check=True, capture_output=True)
    told = json.loads((tmp_path / "models" / "tumours" / "1" / "evidence" / "training.json").read_text())
    first, again = told["trials"]
    assert (first["state"], again["state"]) == ("failed", "complete")
    assert first["params"] == again["params"]


@pytest.mark.slow
def test_bags_of_the_folds_models_are_kept_and_their_cost_is_told(tumours: Path, tmp_path: Path) -> None:
    one = {"kinds": ("lightgbm",), "max_trials": 1}
    refit = train(options(tumours, tmp_path / "refit", **one))
    bags = train(options(tumours, tmp_path / "bags", keep="bags", **one))
    assert bags.bundle.members[0].source["class"].startswith("bag of 5: ")
    assert bags.judged is not None
    assert bags.judged.metrics["log_loss"] < 0.35
    assert bags.assembled.latency_us > refit.assembled.latency_us


@pytest.mark.slow
def test_a_terminated_run_leaves_no_process_and_nothing_half_made(tumours: Path, tmp_path: Path) -> None:
    command = _command(tumours, tmp_path, "--time-limit", "60s", "--work", str(tmp_path / "work"))
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        while "linear_0" not in running.stderr.readline():
            pass
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        running.terminate()
        running.stderr.read()
    assert running.returncode == 128 + signal.SIGTERM
    assert children
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    assert {place.name for place in tmp_path.iterdir()} == {"work"}
    assert not (tmp_path / "work" / "setting.pickle").exists()


def _command(data: Path, folder: Path, *flags: str) -> list[str]:
    command = str(Path(sys.executable).with_name("widedeep"))
    wished = ["--data", str(data), "--target", "diagnosis", "--output", str(folder / "models"), *flags]
    kinds = [word for kind in ("linear", "lightgbm", "extra_trees") for word in ("--kind", kind)]
    return [command, "train", *wished, *kinds]


def test_a_named_work_folder_of_other_data_is_refused(tumours: Path, tmp_path: Path) -> None:
    wished = {"kinds": ("linear",), "max_trials": 1, "work": tmp_path / "work"}
    train(options(tumours, tmp_path / "models", **wished))
    assert not (tmp_path / "work" / "setting.pickle").exists()
    turned = tmp_path / "turned.csv"
    pd.read_csv(tumours)[::-1].to_csv(turned, index=False)
    with pytest.raises(TrainError, match=r"holds a search on other data, or with another test part.*--work"):
        train(options(turned, tmp_path / "models", **wished))
    with pytest.raises(TrainError, match="holds a search on other data"):
        train(options(tumours, tmp_path / "models", **wished, seed=1))
    assert not (tmp_path / "models" / "turned").exists()


@pytest.mark.parametrize("name", ["../escaped", "a b", ".hidden"])
def test_a_name_that_no_bundle_may_have_is_refused_before_the_data_is_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleError, match="bundle name"):
        train(options(tmp_path / "missing.csv", tmp_path / "models", name=name))
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_is_a_file_is_refused_before_the_data_is_read(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("")
    with pytest.raises(NotADirectoryError):
        train(options(tmp_path / "missing.csv", tmp_path / "models"))
    assert [place.name for place in tmp_path.iterdir()] == ["models"]


def test_a_file_whose_name_is_not_one_of_a_bundle_gives_a_plain_name(tumours: Path, tmp_path: Path) -> None:
    data = tmp_path / "-données été.csv"
    data.write_bytes(tumours.read_bytes())
    assert (
        train(options(data, tmp_path / "models", kinds=("linear",), max_trials=1)).path.parent.name == "_-donn_es__t_"
    )


@pytest.mark.slow
def test_weights_of_many_classes_are_learned_in_time(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    target = rng.integers(0, 60, 3000)
    table = pd.DataFrame({"a": target + rng.normal(size=3000), "b": rng.normal(size=3000), "y": target.astype(str)})
    table.to_parquet(tmp_path / "many.parquet")
    wished = {"target": "y", "kinds": ("linear",), "max_trials": 1}
    trained = train(options(tmp_path / "many.parquet", tmp_path / "models", **wished))
    assert "stacking" not in trained.bundle.selection["results"]
