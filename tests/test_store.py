import errno
import json
import logging
import multiprocessing
import os
import signal
import subprocess
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from untrac_exp.config.errors import one_line
from untrac_exp.data.encoding import pad
from untrac_exp.store import Artifact, Store, fingerprint
from untrac_exp.store import artifact as store_module
from untrac_exp.store.artifact import is_locked

KEY = {"model": {"hidden": 64, "lr": 1e-3}, "corpora": ["a", "b"]}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def new_process(monkeypatch):
    """Forget which checksums were seen to be right, as a new process would."""
    return lambda: monkeypatch.setattr(store_module, "_verified", {})


@pytest.fixture
def readonly():
    """A folder maker whose folders this process may read but not write, even as root."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    user = os.geteuid()

    def lock_up():
        for each in (folder, *folder.rglob("*")):
            each.chmod(0o555 if each.is_dir() else 0o444)
        if user == 0:
            os.seteuid(65534)
        return folder

    yield folder, lock_up
    os.seteuid(user)
    subprocess.run(["chmod", "-R", "u+w", folder], check=True)
    subprocess.run(["rm", "-r", folder], check=True)


def build(out):
    """Two files, one of them nested, and an empty folder."""
    (out / "losses.csv").write_text("corpus,loss\na,1.5\n")
    (out / "model" / "empty").mkdir(parents=True)
    (out / "model" / "weights.bin").write_bytes(bytes(range(256)) * 20)


def refuse(out):
    raise AssertionError("this was built already")


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_an_artifact_is_built_once_and_its_manifest_says_what_it_is(store):
    assert store.find("theta0", KEY) is None
    path = store.get("theta0", KEY, build)
    assert path == store.root / "theta0" / fingerprint(KEY)[:16]
    assert (path / "losses.csv").read_text() == "corpus,loss\na,1.5\n"
    assert (path / "model" / "empty").is_dir()
    assert store.get("theta0", KEY, refuse) == path
    assert store.find("theta0", KEY) == path
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["kind"] == "theta0"
    assert manifest["key"] == KEY
    assert set(manifest["files"]) == {"losses.csv", "model/weights.bin"}
    given = subprocess.check_output(["sha256sum", path / "model/weights.bin"], text=True)
    weights = {"sha256": given.split()[0], "size": 5120}
    assert manifest["files"]["model/weights.bin"] == weights
    assert not path.with_name(f"{path.name}.partial").exists()


def test_the_hash_is_of_canonical_json():
    text = rb'{"a":[1,2.5],"b":{"x":null,"y":"\u03b8"}}'
    expected = subprocess.check_output(["sha256sum"], input=text).decode()
    assert fingerprint({"b": {"y": "θ", "x": None}, "a": (1, 2.5)}) == expected.split()[0]


@pytest.mark.parametrize(
    ("value", "error"),
    [(float("nan"), ValueError), (Path("x"), TypeError), ({1, 2}, TypeError)],
)
def test_a_key_that_is_not_json_is_refused(value, error):
    with pytest.raises(error):
        fingerprint({"a": {"b": [0, value]}})


def flip(file):
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(data)


DAMAGES = {
    "flipped byte": (lambda p: flip(p / "model/weights.bin"), "model/weights.bin"),
    "truncated": (lambda p: os.truncate(p / "model/weights.bin", 5119), "model/weights.bin"),
    "missing file": (lambda p: (p / "losses.csv").unlink(), "losses.csv"),
    "missing manifest": (lambda p: (p / "manifest.json").unlink(), "manifest.json"),
    "broken manifest": (lambda p: os.truncate(p / "manifest.json", 40), "manifest.json"),
    "odd manifest": (lambda p: (p / "manifest.json").write_text("[]"), "manifest.json"),
    "binary manifest": (lambda p: (p / "manifest.json").write_bytes(b"\xff\x00"), "manifest.json"),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_artifact_is_named_and_rebuilt(store, new_process, caplog, what):
    harm, file = DAMAGES[what]
    path = store.get("theta0", KEY, build)
    harm(path)
    new_process()
    assert store.find("theta0", KEY) is None
    caplog.clear()
    assert store.get("theta0", KEY, build) == path
    [record] = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert f"theta0/{path.name}" in record.message
    assert file in record.message
    new_process()
    assert store.get("theta0", KEY, refuse) == path
    assert (path / "model" / "weights.bin").read_bytes() == bytes(range(256)) * 20


def test_a_complete_store_can_be_read_where_nothing_can_be_written(readonly, new_process):
    folder, lock_up = readonly
    path = Store(folder).get("theta0", KEY, build)
    for lock in folder.rglob("*.lock"):
        lock.unlink()
    lock_up()
    new_process()
    with pytest.raises(PermissionError):  # the test's own premise
        (path / "x").touch()
    assert Store(folder).get("theta0", KEY, refuse) == path
    assert Store(folder).find("theta0", KEY) == path


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_one_line_and_keeps_the_partial_build(store, error):
    def fills(out):
        (out / "half").write_text("half")
        raise error

    with pytest.raises(type(error)) as caught:
        store.get("theta0", KEY, fills)
    [partial] = store.root.glob("theta0/*.partial")
    assert one_line(caught.value).startswith(f"no space left in {partial} (")
    assert "\n" not in one_line(caught.value)
    assert (partial / "half").read_text() == "half"


def test_whoever_reads_the_folder_reads_its_files(tmp_path):
    """safetensors writes files that only their owner can read."""
    before = os.umask(0o022)
    try:
        folder = Store(tmp_path / "store").get("tokens", KEY, pad([[1]], [[1]], False).save)
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o644}


# --- force ---
def built(store, kind, text):
    """The artifact's text, after a build that would write `text`."""
    path = store.get(kind, KEY, lambda out: (out / "x").write_text(text))
    return (path / "x").read_text()


def test_a_forced_build_that_fails_leaves_the_old(store, new_process):
    built(store, "part", "old")

    def fails(out):
        (out / "x").write_text("half")
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        Store(store.root, True).get("part", KEY, fails)
    new_process()
    assert built(store, "part", "new") == "old"

    def anew(out):
        assert not list(out.iterdir()), "a forced build starts from nothing"
        (out / "x").write_text("new")

    Store(store.root, True).get("part", KEY, anew)
    assert built(store, "part", "newer") == "new"


@pytest.mark.parametrize("sealed", [True, False])
def test_a_kill_before_the_new_has_its_name_keeps_it_if_it_is_complete(store, new_process, sealed):
    built(store, "part", "old")
    path = store.path("part", KEY)
    other = Store(store.root.with_name("other"))
    built(other, "part", "new")
    new = path.with_name(f"{path.name}.partial")
    other.path("part", KEY).rename(new)
    if not sealed:
        (new / "manifest.json").write_text("{")
    (path / "manifest.json").unlink()  # removed first
    new_process()
    assert built(store, "part", "built again") == ("new" if sealed else "built again")
    assert not list(store.root.glob("part/*.partial"))


# --------------- Processes that build one list of artifacts together, as jobs that run at once do
FORK = multiprocessing.get_context("fork")


def write(out, log=None, seconds=0.0):
    if log is not None:
        with log.open("a") as file:
            file.write(f"{out.name.partition('.')[0]} {os.getpid()}\n")
    time.sleep(seconds)
    (out / "x").write_text("x")


def artifacts_of(n, **options):
    return [Artifact("model", {"n": i}, partial(write, **options)) for i in range(n)]


def built_by(log):
    """Who has built which."""
    return [line.split() for line in log.read_text().splitlines()]


def forked(function, *args):
    process = FORK.Process(target=function, args=args)
    process.start()
    return process


def all_of(store, artifacts):
    assert len(list(Store(store.root).get_all(artifacts))) == len(artifacts)


def test_three_processes_build_a_list_once_and_each_gets_all_of_it(store, tmp_path):
    log = tmp_path / "log"
    artifacts = artifacts_of(9, log=log, seconds=0.2)
    workers = [forked(all_of, store, artifacts) for _ in range(3)]
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    pids = dict(built_by(log))
    names = [store.path("model", {"n": i}).name for i in range(9)]
    assert sorted(name for name, _ in built_by(log)) == sorted(names)
    assert set(pids.values()) == {str(worker.pid) for worker in workers}
    assert not list(store.root.rglob("*.partial"))
    assert not any(is_locked(store.root / "model" / name) for name in names)


def test_what_another_builds_is_left_to_it_and_waited_for(store, tmp_path, caplog):
    artifacts = artifacts_of(3)
    slow = [artifacts[0]._replace(build=partial(write, log=tmp_path / "log", seconds=1))]
    other = forked(all_of, store, slow)
    wait_for((tmp_path / "log").exists)
    caplog.set_level("INFO")
    order = [i for i, _ in store.get_all(artifacts)]
    other.join()
    assert order == [1, 2, 0]
    [line] = [r.message for r in caplog.records if "waiting" in r.message]
    name = store.path("model", {"n": 0}).name
    assert line == f"waiting for model/{name}, being built by another process"


def test_a_killed_build_frees_its_lock_and_is_resumed(store, tmp_path, caplog):
    log = tmp_path / "log"

    def build(out, stops=True):
        for step in "123":
            if not (out / step).exists():
                with log.open("a") as file:
                    file.write(step)
                if step == "2" and stops:
                    time.sleep(60)
                (out / step).write_text("done")

    victim = forked(store.get, "theta0", KEY, build)
    wait_for(lambda: log.exists() and log.read_text() == "12")
    caplog.set_level("INFO")
    threading.Timer(0.5, victim.kill).start()
    path = Store(store.root).get("theta0", KEY, partial(build, stops=False))
    assert "waiting for theta0/" in caplog.text
    assert "resuming theta0/" in caplog.text
    assert log.read_text() == "1223"
    assert {"1", "2", "3"} < {file.name for file in path.iterdir()}


def test_an_error_of_a_build_is_raised_and_frees_its_lock(store):
    def fails(out):
        raise RuntimeError("diverged")

    artifacts = [*artifacts_of(2), Artifact("model", {"n": 2}, fails), *artifacts_of(4)[3:]]
    with pytest.raises(RuntimeError, match="diverged"):
        list(store.get_all(artifacts))
    assert not is_locked(store.path("model", {"n": 2}))


def test_a_stopped_process_keeps_its_lock_and_a_killed_one_does_not(store, tmp_path):
    [artifact] = artifacts_of(1, log=tmp_path / "log", seconds=60)
    path = store.path("model", {"n": 0})
    holder = forked(all_of, store, [artifact])
    wait_for((tmp_path / "log").exists)
    os.kill(holder.pid, signal.SIGSTOP)
    time.sleep(0.3)
    assert is_locked(path)
    holder.kill()
    holder.join()
    assert not is_locked(path)


def test_a_failed_build_is_resumed_from_what_it_left(store, caplog):
    def fails(out):
        (out / "half").write_text("first half, ")
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        store.get("theta0", KEY, fails)
    assert store.find("theta0", KEY) is None

    def resumes(out):
        (out / "whole").write_text((out / "half").read_text() + "second half")
        (out / "half").unlink()

    caplog.set_level(logging.INFO)
    path = store.get("theta0", KEY, resumes)
    assert (path / "whole").read_text() == "first half, second half"
    assert "resuming theta0/" in caplog.text
    assert list(json.loads((path / "manifest.json").read_text())["files"]) == ["whole"]
