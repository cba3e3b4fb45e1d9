"""Tasks on workers of this machine; test_launchers.py has those of dask and of Ray."""

import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import pytest

from tests.test_resume import alive, wait_for, workers_of
from untrac_exp.runtime import parallel
from untrac_exp.runtime.parallel import Parallel, take_device
from untrac_exp.store import Artifact, Store
from untrac_exp.store.code import package_fingerprint

LOCAL = Parallel("loky", workers=2, threads=1)


def square(n):
    logging.getLogger("a.library").warning("%d is squared", n)
    logging.getLogger("a.library").info("this is not worth telling")
    time.sleep(0.2)
    return n * n, os.getpid()


def fails():
    raise ValueError("it diverged")


def write(n, out):
    (out / "n").write_text(f"{n} {os.getpid()}")


def test_workers_return_every_result_and_their_warnings_once(caplog, tmp_path):
    found = dict(LOCAL.run([partial(square, n) for n in range(5)]))
    assert {i: value for i, (value, _) in found.items()} == {i: i * i for i in range(5)}
    pids = {pid for _, pid in found.values()}
    assert len(pids) == 2
    assert os.getpid() not in pids
    assert sorted(
        record.getMessage() for record in caplog.records if record.name == "a.library"
    ) == [f"{n} is squared" for n in range(5)]
    with pytest.raises(ValueError, match="it diverged") as caught:
        list(LOCAL.run([fails, partial(square, 1)]))
    assert "in fails" in caught.value.__notes__[0]
    store = Store(tmp_path, parallel=LOCAL)
    artifacts = [Artifact("model", {"n": n}, partial(write, n)) for n in range(4)]
    for i, path in store.get_all(artifacts):
        n, pid = (path / "n").read_text().split()
        assert int(n) == i
        assert int(pid) != os.getpid()


def test_one_task_and_the_tasks_of_a_worker_run_in_their_own_process(monkeypatch):
    assert dict(LOCAL.run([os.getpid])) == {0: os.getpid()}
    assert dict(Parallel().run([os.getpid] * 2)) == {0: os.getpid(), 1: os.getpid()}
    monkeypatch.setattr(parallel, "_is_worker", True)
    assert dict(LOCAL.run([os.getpid] * 2)) == {0: os.getpid(), 1: os.getpid()}


def die_once(mark):
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def test_what_a_killed_worker_was_doing_starts_again(caplog, tmp_path):
    found = dict(LOCAL.run([partial(die_once, tmp_path / "died"), partial(square, 3)]))
    assert found[1][0] == 9
    assert "a worker was killed" in caplog.text
    with pytest.raises(ValueError, match="workers are killed"):
        list(LOCAL.run([partial(time.sleep, 60), partial(os._exit, 1)]))


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_parent(sent, tmp_path):
    script = (
        "import time; from untrac_exp.runtime.parallel import Parallel\n"
        f"def sleep(i): open(f'{tmp_path}/{{i}}', 'w').close(); time.sleep(60)\n"
        "import functools\n"
        "list(Parallel('loky', 2).run([functools.partial(sleep, i) for i in range(2)]))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script])
    wait_for(lambda: len(list(tmp_path.iterdir())) == 2)
    workers = workers_of(process.pid)
    assert len(workers) >= 2
    process.send_signal(sent)
    process.wait()
    wait_for(lambda: not any(map(alive, workers)), 30)


def test_a_worker_takes_a_free_device_until_it_ends(monkeypatch, tmp_path):
    monkeypatch.setattr(parallel.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(parallel, "_device", [])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    script = (
        "import os, sys; from untrac_exp.runtime.parallel import take_device\n"
        "take_device(['4', '7']); print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True)\n"
        "sys.stdin.read()\n"
    )
    others = []
    for expected in ("4\n", "7\n"):
        one = subprocess.Popen(
            [sys.executable, "-c", script], env={**os.environ, "TMPDIR": str(tmp_path)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        others.append(one)
        assert others[-1].stdout.readline() == expected
    take_device(["4", "7"])
    assert os.environ["CUDA_VISIBLE_DEVICES"] in ("4", "7")  # shared, for want of a free one
    assert not parallel._device
    others[1].kill()
    others[1].wait()
    take_device(["4", "7"])
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "7"
    parallel._device[0].release()
    others[0].communicate()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    take_device([])
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_fewer_than_one_worker_are_refused():
    with pytest.raises(ValueError, match=r"parallel\.workers=0 must be at least 1"):
        Parallel("loky", workers=0)


def test_a_worker_with_other_code_than_its_parent_refuses(monkeypatch):
    monkeypatch.setattr(parallel, "_is_worker", False)  # `_call` sets it
    same = Parallel(prepare="untrac_exp.job:prepare_process", code=package_fingerprint())
    assert parallel._call(same, 0, int)[1:3] == (0, None)
    _, result, failed, _ = parallel._call(replace(same, code="other"), 0, int)
    assert result is None
    assert "the package was edited while this command ran" in str(failed)
