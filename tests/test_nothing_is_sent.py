"""Nothing leaves the machine unasked, also with W&B credentials; a sink stands for all servers."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from tests.command import JOB, command, ends_well, overrides
from tests.test_config import composed
from tests.trace_checkpoints import save

SMALL = {
    "pretraining.steps": "3", "pretraining.checkpoint_every": "2", "pretraining.batch_size": "2",
    "n_per_corpus": "4", "truth": "none", "threads": "1", "method": "graddot", "train_seed": "0",
}  # fmt: skip
TRACED = {
    "model.path": "./model", "corpora.paths": "{a: a.txt, b: b.txt}", "testset.paths": "{t: t.txt}",
    "method": "untrac_inv", "method.stopping.steps": "2", "threads": "1",
}  # fmt: skip


@pytest.fixture
def sink():
    """The requests that reached a local server, and an environment that sends all of them there."""
    requests = []

    class Refuse(BaseHTTPRequestHandler):
        def refuse(self):
            requests.append(f"{self.command} {self.path}")
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_error(401)

        do_GET = do_POST = do_PUT = do_HEAD = do_CONNECT = refuse

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refuse)
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    environment = {"WANDB_BASE_URL": address, "WANDB_API_KEY": "0123456789" * 4}
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        environment |= {name: address, name.upper(): address}
    yield requests, environment
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("arguments", "logged"),
    [
        (["+experiment=trace", *overrides(TRACED)], 0),
        (overrides(JOB), 0),
        pytest.param(["+experiment=toxicity", *overrides(SMALL)], 2, marks=pytest.mark.slow),
    ],
    ids=["trace", "local", "toxicity"],
)
def test_nothing_is_sent_by_who_is_logged_in(arguments, logged, sink, folder):
    requests, environment = sink
    save(folder / "model", "gpt2")
    ends_well(folder, {}, *arguments, env=environment)
    assert requests == []
    assert len([*folder.glob("outputs/wandb/offline-run-*")]) == logged


@pytest.mark.slow
def test_the_sink_hears_who_asks_for_it(sink, folder):
    """Else the test above would pass with a sink that nobody can reach."""
    requests, environment = sink
    asked = {**JOB, "logger": "wandb", "logger.mode": "online"}
    ended = command(overrides(asked), folder, env=environment)
    assert ended.status == 0, ended.err
    assert requests
    assert "logging to W&B ends" in ended.out


@pytest.mark.parametrize(
    ("arguments", "target"),
    [
        (["+experiment=toxicity"], "WandbLogger"), (["method=untrac"], "WandbLogger"),
        (["corpora=local"], "Logger"), (["testset=local"], "Logger"),
        (["+experiment=toxicity", "corpora=local"], "Logger"),
        (["+experiment=trace"], "Logger"),
        (["+experiment=trace", "corpora=docstrings", "testset=docstrings"], "Logger"),
        (["corpora=local", "logger=wandb"], "WandbLogger"),
        (["+experiment=trace", "logger=wandb"], "WandbLogger"),
    ],
)  # fmt: skip
def test_own_files_are_not_logged_unless_asked_for(arguments, target):
    assert composed(*arguments).logger["_target_"].rpartition(".")[2] == target
