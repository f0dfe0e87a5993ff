import argparse

import pytest
from widedeep.export.search import pruning, samplers
from widedeep.export.train import cli


def test_every_sampler_and_pruner_of_the_search_can_be_named() -> None:
    assert set(cli.SAMPLERS) == set(samplers.SAMPLERS)
    assert set(cli.PRUNERS) == set(pruning.PRUNERS)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("20m", 1200), ("1h30m", 5400), ("45", 45), ("1.5s", 1.5), ("2H", 7200)]
)
def test_times_are_written_with_units(text: str, seconds: float) -> None:
    assert cli._seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "soon", "-5m", "5x"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected a time such as 90s, 20m or 1h30m"):
        cli._seconds(text)


def test_a_command_line_becomes_options(capsys: pytest.CaptureFixture[str]) -> None:
    parsed = cli._parser().parse_args(
        [
            "--data",
            "a.csv",
            "--target",
            "y",
            "--output",
            "o",
            "--image-size",
            "32x48",
            "--kind",
            "mlp",
            "--kind",
            "linear",
        ]
    )
    options = cli._options(parsed)
    assert (options.image_size, options.kinds, options.time_limit_s) == ((32, 48), ("mlp", "linear"), 600.0)
    with pytest.raises(SystemExit):
        cli._parser().parse_args(["--data", "a.csv", "--target", "y", "--output", "o", "--test-fraction", "1"])
    assert "expected a number from 0 to below 1, got '1'" in capsys.readouterr().err
