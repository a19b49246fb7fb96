"""Starting and stopping the emulated AWS: the real one, and what happens where it can't start."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from siltstone.errors import BadSettings
from siltstone_local.emulator import Emulator
from siltstone_local.errors import EmulatorNotInstalled, EmulatorNotStarted
from siltstone_local.processes import function_processes, kill_processes

pytestmark = pytest.mark.e2e


@pytest.fixture
def emulator(tmp_path):
    with Emulator(tmp_path / "state") as running:
        yield running


def broken_venv(folder, program):
    """A virtual environment whose MiniStack is ``program``."""
    package = folder / "lib" / "python3.11" / "site-packages" / "ministack"
    package.mkdir(parents=True)
    (package / "__main__.py").write_text(program)
    (folder / "bin").mkdir()
    python = folder / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "{package}/__main__.py"\n')
    python.chmod(0o755)
    return folder


def is_listening(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_it_answers_on_loopback_and_nowhere_else(emulator):
    assert emulator.client("s3").list_buckets()["Buckets"] == []
    listening = Path("/proc/net/tcp").read_text().splitlines()[1:]
    addresses = {line.split()[1] for line in listening if line.split()[3] == "0A"}
    port = f"{emulator.port:04X}"
    assert {each for each in addresses if each.endswith(f":{port}")} == {f"0100007F:{port}"}


def test_nothing_of_the_callers_environment_reaches_it(tmp_path, monkeypatch):
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "OPENAI_API_KEY", "HTTPS_PROXY", "PYTHONPATH"):
        monkeypatch.setenv(name, "secret-of-the-caller")
    with Emulator(tmp_path) as emulator:
        assert b"secret-of-the-caller" not in Path(f"/proc/{emulator.pid}/environ").read_bytes()


def test_stopping_it_ends_the_process_and_removes_its_temporary_files(tmp_path):
    emulator = Emulator(tmp_path).start()
    pid, port = emulator.pid, emulator.port
    assert emulator.stop() is True
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not is_listening(port)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_stopping_twice_is_no_error(emulator):
    assert emulator.stop()
    assert emulator.stop()
    assert not emulator.running


def test_a_missing_installation_names_the_folder_and_the_remedy(tmp_path):
    with pytest.raises(EmulatorNotInstalled, match=r"nowhere.*make setup"):
        Emulator(tmp_path, venv=tmp_path / "nowhere").start()


def test_a_taken_port_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(EmulatorNotStarted, match=f"Port {port} of 127.0.0.1 is taken"):
            Emulator(tmp_path, port=port).start()


def test_one_that_ends_at_once_shows_the_end_of_its_log(tmp_path):
    venv = broken_venv(tmp_path / "venv", 'raise SystemExit("the disk is made of cheese")')
    emulator = Emulator(tmp_path / "state", venv=venv)
    with pytest.raises(EmulatorNotStarted, match="the disk is made of cheese") as raised:
        emulator.start()
    assert str(emulator.log) in raised.value.remedy
    assert not emulator.running


def test_one_that_is_never_ready_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("siltstone_local.emulator._READY_WITHIN", 0.5)
    venv = broken_venv(tmp_path / "venv", 'import os, time\nprint("pid", os.getpid(), flush=True)\ntime.sleep(600)')
    emulator = Emulator(tmp_path / "state", venv=venv)
    with pytest.raises(EmulatorNotStarted, match="was not ready") as raised:
        emulator.start()
    pid = int(str(raised.value).split("pid ")[1].split()[0])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_folder_serves_one_emulator_at_a_time(emulator):
    second = Emulator(emulator.state)
    (emulator.scratch / "merge").mkdir()
    with pytest.raises(EmulatorNotStarted, match="already runs on"):
        second.start()
    second.stop()
    assert emulator.client("s3").list_buckets()
    assert (emulator.scratch / "merge").is_dir()


def test_another_process_finds_it_and_stops_it(tmp_path):
    starter = Emulator(tmp_path).start()
    other = Emulator.attach(tmp_path)
    assert other is not None
    assert (other.pid, other.port) == (starter.pid, starter.port)
    starter.client("s3").create_bucket(Bucket="kept")
    assert [each["Name"] for each in other.client("s3").list_buckets()["Buckets"]] == ["kept"]
    assert other.stop()
    assert not starter.running
    assert Emulator.attach(tmp_path) is None


def test_one_that_was_killed_is_not_found_although_its_record_is_there(tmp_path):
    emulator = Emulator(tmp_path).start()
    os.kill(emulator.pid, signal.SIGKILL)
    while emulator.running:
        time.sleep(0.02)
    assert Emulator.attach(tmp_path) is None
    with emulator:
        assert emulator.client("s3").list_buckets()["Buckets"] == []


def test_what_is_stored_survives_a_graceful_stop_if_asked_and_the_port_stays(tmp_path):
    with Emulator(tmp_path, persist=True) as first:
        first.client("s3").create_bucket(Bucket="kept")
        first.client("s3").put_object(Bucket="kept", Key="a/b", Body=b"\x00body")
        first.client("sqs").create_queue(QueueName="q")
        port = first.port
    with Emulator(tmp_path, persist=True) as second:
        assert second.port == port
        assert second.client("s3").get_object(Bucket="kept", Key="a/b")["Body"].read() == b"\x00body"
        assert second.client("sqs").get_queue_url(QueueName="q")["QueueUrl"].startswith(second.endpoint)


def test_nothing_survives_if_not_asked(tmp_path):
    with Emulator(tmp_path) as first:
        first.client("s3").create_bucket(Bucket="gone")
    with Emulator(tmp_path) as second:
        assert second.client("s3").list_buckets()["Buckets"] == []


def test_a_wait_scale_that_is_not_taken_is_an_error(emulator):
    emulator.set_wait_scale(0.25)
    with pytest.raises(BadSettings, match=r"-1"):
        emulator.set_wait_scale(-1)


def test_only_processes_of_the_group_count_as_functions_whatever_a_folder_says(tmp_path):
    ours, others = (
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
        for _ in range(2)
    )
    try:
        for pid in (ours.pid, others.pid, 2**22 - 1):
            (tmp_path / "merge" / str(pid)).mkdir(parents=True)
        (tmp_path / "merge" / "notes").mkdir()
        found = function_processes(tmp_path, group=ours.pid)
        assert [(each.pid, each.function) for each in found] == [(ours.pid, "merge")]
        kill_processes(found, group=ours.pid)
        assert function_processes(tmp_path, group=ours.pid) == []
        assert others.poll() is None
    finally:
        for process in (ours, others):
            process.kill()
            process.wait()
