"""examples/trace.ipynb, executed as it stands."""

import os
import resource
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
PATH = ROOT / "examples" / "trace.ipynb"


def outputs(notebook):
    return [out for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs]


def printed(notebook):
    return "".join(out.text for out in outputs(notebook) if out.output_type == "stream")


def test_what_is_committed_has_its_outputs_and_no_path_of_a_machine():
    notebook = nbformat.read(PATH, 4)
    nbformat.validate(notebook)
    assert sum("image/png" in out.get("data", {}) for out in outputs(notebook)) == 2
    assert "ngram {'networkx': 'networkx', 'sympy': 'sympy'}" in printed(notebook)
    for place in ("/home/", "/root/", "/tmp/", "/work/"):
        assert place not in PATH.read_text()


@pytest.mark.slow
def test_it_runs_in_two_minutes_and_finds_the_libraries(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), str(ROOT)]))
    notebook = nbformat.read(PATH, 4)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    client = NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": PATH.parent}}
    )
    client.execute()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime - before.ru_utime < 120  # of a processor, however busy the machine is
    assert sum("image/png" in out.get("data", {}) for out in outputs(notebook)) == 2
    assert "ngram {'networkx': 'networkx', 'sympy': 'sympy'}" in printed(notebook)
