"""A sweep's report as Hydra and people call it."""

import logging
import shutil

import pytest
from omegaconf import OmegaConf

from untrac_exp.report import __main__ as command
from untrac_exp.report import callback as callbacks
from untrac_exp.report import sweep


def of_sweep(directory):
    return OmegaConf.create({"hydra": {"sweep": {"dir": str(directory)}}, "logger": None})


@pytest.fixture
def small(made_up):
    return made_up(methods={"untrac": 0.1, "graddot": 0.8}, testsets={"bias": 3}, seeds=1)


def test_the_callback_reports_the_sweeps_directory(small, capsys, monkeypatch):
    monkeypatch.setattr(callbacks.Report, "sweep", of_sweep(small))
    callbacks.Report().on_multirun_end(OmegaConf.create(), config_name="config")
    assert capsys.readouterr().out.strip().endswith(f"Report: {small / 'report.html'}")
    names = {path.name for path in small.iterdir() if path.is_file()}
    assert names == {"summary.csv", "report.html"}
    assert len(list((small / "figures").glob("*.pdf"))) == 2


@pytest.mark.slow
def test_a_report_drawn_again_is_the_same_to_the_byte(small):
    first = sweep.report_sweep(small)
    before = {path: path.read_bytes() for path in [first, small / "summary.csv"]}
    before |= {path: path.read_bytes() for path in (small / "figures").iterdir()}
    shutil.rmtree(small / "figures")
    sweep.report_sweep(small)
    for path, content in before.items():
        assert path.read_bytes() == content, path.name


def test_a_failing_report_is_one_line_and_no_crash(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(callbacks.Report, "sweep", of_sweep(tmp_path))
    monkeypatch.setattr(callbacks.Report, "failed", False)
    with caplog.at_level(logging.ERROR):
        callbacks.Report().on_multirun_end(OmegaConf.create())
    (record,) = caplog.records
    assert "no finished job" in record.getMessage()
    assert callbacks.Report.failed


def test_the_command_says_what_is_wrong_and_exits_with_1(tmp_path):
    with pytest.raises(SystemExit, match=r"^error: .*nowhere: no finished job.*$"):
        command.main([str(tmp_path / "nowhere")])
