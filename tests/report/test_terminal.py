"""The tables in a terminal, read as text."""

import io

from rich.console import Console

from untrac_exp.report import result_files as files
from untrac_exp.report.collect import collect
from untrac_exp.report.page import render
from untrac_exp.report.terminal import print_sweep


def written(show, width=120) -> str:
    stream = io.StringIO()
    show(Console(file=stream, width=width, highlight=False))
    return stream.getvalue()


def test_the_ranking_comes_first_and_the_path_last(sweep_dir):
    sweep = collect(sweep_dir)
    page = sweep_dir / "report.html"
    text = written(lambda out: print_sweep(sweep, page, out))
    assert "\x1b" not in text
    lines = [line.strip() for line in text.strip().splitlines()]
    assert lines[-1] == f"Report: {page}"
    assert text.index("made the model say toxicity?") < text.index("Agreement with the truth")
    first = sweep.corpora("toxicity")[0]
    assert next(line for line in lines if "(1)" in line).startswith(first)
    row = sweep.summary.set_index(["method", "testset"]).loc[("graddot", "bias")]
    table = text[text.index("Agreement") :]
    (line,) = [line for line in table[table.index("bias") :].splitlines() if "graddot" in line][:1]
    expected = (f"{row['pearson_mean']:.2f}", f"{row['relative']:.0%}")
    expected += (f"{row['attainable']:.2f}", f"{row['ceiling']:.2f}")
    assert set(expected) <= set(line.split())


def test_nothing_is_cut_with_nine_methods(made_up):
    methods = {f"a_method_number_{i}": 0.1 * i for i in range(9)}
    sweep = collect(made_up(methods=methods))
    text = written(lambda out: print_sweep(sweep, sweep.directory / "report.html", out), width=100)
    assert "…" not in text
    assert text.count("(1)") == 3 * (9 + 1)


def test_one_job_shows_its_tables_and_warnings_without_a_truth(made_up):
    outdir = made_up(train_seeds=0) / "graddot" / "seed0"
    metrics = files.read_metrics(outdir)
    files.write_metrics(outdir, {**metrics, "warnings": ["the truth is switched off [bold]"]})
    text = written(lambda out: print_sweep(collect(outdir), out=out))
    assert "made the model say bias?" in text
    assert "Agreement" not in text
    # Names are not markup.
    assert "warning: graddot, seed 0: the truth is switched off [bold]" in text


def test_a_pipe_is_wide_enough(sweep_dir, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    print_sweep(collect(sweep_dir))
    assert max(map(len, capsys.readouterr().out.splitlines())) > 100


def test_invented_corpora_are_called_so_in_the_first_line_and_on_the_page(sweep_dir):
    sweep = collect(sweep_dir)
    assert sweep.invented is None
    for job in sweep.metrics:
        job["generated"] = True
    text = written(lambda out: print_sweep(sweep, sweep_dir / "report.html", out))
    assert text.strip().startswith("Corpora and test sets are invented text")
    assert "invented text" in render(sweep, [])
