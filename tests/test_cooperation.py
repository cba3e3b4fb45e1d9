"""Processes that build one list of artifacts together, and the locks they do it by."""

import json
import multiprocessing
import os
import re
import signal
import time
from functools import partial

import pytest
from untrac_exp.store.lock import claim_file, read_claim, try_lock

from untrac_exp import store as store_module
from untrac_exp.runtime.progress import Progress, listen
from untrac_exp.store import Store, Wanted, lock
from untrac_exp.store.__main__ import main as cli

fork = multiprocessing.get_context("fork")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def path(store):
    path = store.path("model", {"n": 0})
    path.parent.mkdir(parents=True)
    return path


def write(out, log=None, seconds=0.0):
    if log is not None:
        with log.open("a") as file:
            file.write(f"{out.name.partition('.')[0]} {os.getpid()}\n")
    time.sleep(seconds)
    (out / "x").write_text("x")


def wanted(n, **options):
    return [Wanted("model", {"n": i}, partial(write, **options)) for i in range(n)]


def built(log):
    """Who has built which."""
    return [line.split() for line in log.read_text().splitlines()]


def start(function, *args):
    process = fork.Process(target=function, args=args)
    process.start()
    return process


def all_of(store, artifacts):
    assert len(list(Store(store.root).get_all(artifacts))) == len(artifacts)


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_three_processes_build_a_list_once_and_each_gets_all_of_it(store, tmp_path):
    artifacts = wanted(7, log=tmp_path / "log", seconds=0.3)
    workers = [start(all_of, store, artifacts) for _ in range(3)]
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    names, pids = zip(*built(tmp_path / "log"), strict=True)
    assert sorted(names) == sorted(store.path("model", {"n": i}).name for i in range(7))
    assert set(pids) == {str(worker.pid) for worker in workers}
    assert not list(store.root.rglob("*.claim")) + list(store.root.rglob("*.partial"))


def test_what_is_there_comes_first_and_in_order(store):
    artifacts = wanted(4)
    for i in (2, 3):
        store.get(*artifacts[i][:3])
    assert [i for i, _ in store.get_all(artifacts)] == [2, 3, 0, 1]


def test_what_another_builds_is_left_to_it_and_waited_for(store, tmp_path, caplog):
    artifacts = wanted(3)
    slow = [artifacts[0]._replace(build=partial(write, log=tmp_path / "log", seconds=1))]
    other = start(all_of, store, slow)
    wait_for((tmp_path / "log").exists)
    caplog.set_level("INFO")
    found = [i for i, _ in store.get_all(artifacts)]
    other.join()
    assert found == [1, 2, 0]
    [said] = [r.message for r in caplog.records if "waiting" in r.message]
    name = store.path("model", {"n": 0}).name
    assert said == f"waiting for model/{name}, being built by another process"


def test_what_an_artifact_needs_is_built_before_and_only_for_it(store, tmp_path):
    log = tmp_path / "log"
    model = Wanted("model", {"n": 0}, partial(write, log=log))

    def reads(out):
        assert store.find("model", {"n": 0}) is not None
        write(out, log)

    losses = [Wanted("losses", {"n": i}, reads, needs=[model]) for i in range(2)]
    all_of(store, losses)
    names = [store.path("model", {"n": 0}).name]
    names += [store.path("losses", {"n": i}).name for i in range(2)]
    assert [name for name, _ in built(log)] == names
    store_module.remove(store.path("model", {"n": 0}))
    all_of(store, losses)
    assert len(built(log)) == 3


def test_a_group_is_built_by_one_process(store, tmp_path):
    log = tmp_path / "log"
    artifacts = [
        one._replace(group=i // 3) for i, one in enumerate(wanted(6, log=log, seconds=0.2))
    ]
    workers = [start(all_of, store, artifacts) for _ in range(2)]
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    order = [store.path("model", {"n": i}).name for i in range(6)]
    pids = {name: pid for name, pid in built(log)}
    assert len({pids[name] for name in order[:3]}) == len({pids[name] for name in order[3:]}) == 1
    assert len(set(pids.values())) == 2


def test_help_is_called_while_there_is_work_for_more_than_one(store):
    called = []
    store.start_workers = called.append
    all_of_one = [one._replace(group="a") for one in wanted(3)]
    list(store.get_all(all_of_one))
    assert not called
    list(store.get_all([Wanted("losses", {"n": i}, write) for i in range(3)]))
    assert called == [3, 2]


def test_an_error_of_a_build_is_raised_and_frees_its_lock(store):
    def fails(out):
        raise RuntimeError("diverged")

    artifacts = [*wanted(2), Wanted("model", {"n": 2}, fails), *wanted(4)[3:]]
    with pytest.raises(RuntimeError, match="diverged"):
        list(store.get_all(artifacts))
    assert try_lock(store.path("model", {"n": 2})) is not None


# --- locks ---


def elsewhere(path, **changes):
    """The claim of a process on another machine."""
    claim = {"token": "t", "machine": "other", "host": "node7", "pid": 1, "since": 0.0, "about": {}}
    claim_file(path).write_text(json.dumps({**claim, **changes}))


def test_a_claim_says_who_builds_what_and_how_far_it_is(path, monkeypatch):
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.05)
    held = try_lock(path, {"kind": "model", "key": {"n": 0}})
    assert try_lock(path) is None
    claim = read_claim(claim_file(path))
    assert (claim["pid"], claim["about"]) == (os.getpid(), {"kind": "model", "key": {"n": 0}})
    with listen(held.tell):
        Progress("pretraining", 10)(4)
    wait_for(lambda: (read_claim(claim_file(path)) or {}).get("progress"))
    told = read_claim(claim_file(path))["progress"]
    assert (told["what"], told["done"], told["total"]) == ("pretraining", 4, 10)
    held.release()
    assert not claim_file(path).exists()


def test_a_claim_of_another_machine_holds_while_it_shows_signs_of_life(path, monkeypatch):
    monkeypatch.setattr(lock, "LEASE_S", 0.4)
    elsewhere(path)
    for _ in range(12):
        os.utime(claim_file(path))
        assert try_lock(path) is None
        time.sleep(0.1)
    time.sleep(0.4)
    held = try_lock(path)
    assert held is not None
    assert read_claim(claim_file(path))["pid"] == os.getpid()
    held.release()


def test_a_claim_that_its_maker_did_not_finish_is_given_less_time(path, monkeypatch):
    monkeypatch.setattr(lock, "_UNREADABLE_S", 0.1)
    claim_file(path).touch()
    assert try_lock(path) is None
    time.sleep(0.2)
    try_lock(path).release()


def test_a_claim_of_a_killed_process_of_this_machine_is_free_at_once(path):
    def hold():
        try_lock(path)
        time.sleep(60)

    victim = start(hold)
    wait_for(lambda: read_claim(claim_file(path)))
    assert try_lock(path) is None
    os.kill(victim.pid, signal.SIGKILL)
    victim.join()
    assert claim_file(path).exists()
    try_lock(path).release()
    assert not claim_file(path).exists()


def test_a_stopped_process_keeps_its_lock(path, monkeypatch):
    monkeypatch.setattr(lock, "LEASE_S", 0.1)

    def hold():
        try_lock(path)
        time.sleep(60)

    holder = start(hold)
    wait_for(lambda: read_claim(claim_file(path)))
    os.kill(holder.pid, signal.SIGSTOP)
    for _ in range(5):
        assert try_lock(path) is None
        time.sleep(0.1)
    holder.kill()
    holder.join()


def test_without_flock_the_claim_alone_is_the_lock(path, monkeypatch):
    def unsupported(self, timeout):
        raise OSError(lock.ENOSYS, "Function not implemented")

    monkeypatch.setattr(lock.FileLock, "acquire", unsupported)
    monkeypatch.setattr(lock, "LEASE_S", 0.3)
    held = try_lock(path)
    assert try_lock(path) is None
    held._released.set()  # its heart stops
    time.sleep(0.4)
    assert try_lock(path) is not None
    assert held.is_lost


def test_a_build_whose_lock_was_taken_over_is_dropped(store, caplog):
    def slow(out):
        path = out.with_suffix("")
        claim_file(path).unlink()
        elsewhere(path)
        write(out)

    one = Wanted("model", {"n": 0}, slow)
    held = try_lock_in(store, one)
    store._ensure(store._item(one), held)
    held.release()
    assert "taken over" in caplog.text
    assert not store.path("model", {"n": 0}).exists()
    assert read_claim(claim_file(store.path("model", {"n": 0})))["host"] == "node7"


def try_lock_in(store, one):
    path = store.path(one.kind, one.key)
    path.parent.mkdir(parents=True, exist_ok=True)
    return try_lock(path)


# --- watch ---


def shown(store, capsys):
    assert cli(["watch", "--once", "--root", str(store.root)]) == 0
    return capsys.readouterr().out.splitlines()


def test_watch_shows_what_is_built_by_whom_and_the_time_left(store, path, capsys):
    key = {"train_seed": 1, "without": ["sea"], "pretraining": {"steps": 40}}
    store.get("model", {**key, "without": []}, partial(write, seconds=0.1))
    elsewhere(
        path, since=time.time() - 60, about={"kind": "model", "key": key},
        progress={"what": "pretraining", "done": 10, "total": 40, "left_s": 180.0},
    )  # fmt: skip
    quiet = store.path("part", {"n": 0})
    quiet.parent.mkdir()
    elsewhere(
        quiet,
        host="node8",
        since=time.time() - 200,
        about={"key": {"part": "u"}, "method": "untrac"},
    )
    os.utime(claim_file(quiet), (time.time() - 100,) * 2)
    first, processes, silence, _, *rows = shown(store, capsys)
    assert first.endswith("1 model built, 1 in the last hour")
    assert processes == "2 processes at work on 2 machines"
    assert silence == "a build silent for 5 min is taken over by a process that needs it"
    assert [row.split()[0] for row in rows] == ["part", "model"]
    assert "node8 pid 1 silent for 2 min" in rows[0]
    assert "untrac: u" in rows[0]
    assert "without sea, train seed 1, 40 steps" in rows[1]
    assert "node7 pid 1" in rows[1]
    assert rows[1].split()[-6:] == ["60", "s", "3", "min", "pretraining", "10/40"]


def test_watch_guesses_the_time_left_from_what_has_been_built(store, path, capsys):
    store.get("model", {"n": 1}, partial(write, seconds=2))
    elsewhere(path, about={"kind": "model", "key": {"n": 0}}, since=time.time())
    *_, row = shown(store, capsys)
    assert re.search(r" 0 s +[12] s", row)


def test_watch_where_nothing_is_built(store, capsys):
    store.get(*wanted(1)[0][:3])
    assert shown(store, capsys)[1] == "nothing is being built"
