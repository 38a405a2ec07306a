"""Signals and exit statuses of a real process."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from tests.host.conftest import Host, until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


def end(process: subprocess.Popen[str], within: float) -> tuple[int, str, str]:
    """Wait for the end of the process; its status and what it still printed."""
    begin = time.monotonic()
    stdout, stderr = process.communicate(timeout=30)
    assert time.monotonic() - begin < within
    return process.returncode, stdout, stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_while_serving(probe: Host, number: signal.Signals) -> None:
    process = probe.start()
    until(process, "READY")
    process.send_signal(number)
    status, stdout, stderr = end(process, within=5)
    assert (status, stdout) == (0, "STOPPED\n")
    assert "Traceback" not in stderr


def test_sigint_stops_also_where_the_shell_had_it_ignored(probe: Host) -> None:
    """As for a background job of a script without job control."""
    process = subprocess.Popen(
        ["sh", "-c", "trap '' INT; exec \"$0\" server.py", sys.executable],
        cwd=probe.root,
        env=probe.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    probe.running.append(process)
    until(process, "READY")
    process.send_signal(signal.SIGINT)
    assert end(process, within=5)[0] == 0


def test_nohup_is_respected(probe: Host) -> None:
    process = subprocess.Popen(
        ["sh", "-c", "trap '' HUP; exec \"$0\" server.py", sys.executable],
        cwd=probe.root,
        env=probe.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    probe.running.append(process)
    until(process, "READY")
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.send_signal(signal.SIGTERM)
    assert end(process, within=5)[0] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("hook", ["setup()", "load_model(spec)"])
def test_a_stop_before_it_is_ready(probe: Host, number: signal.Signals, hook: str) -> None:
    probe.extension(
        "slow",
        f"""
        import time

        def {hook}:
            print("BUSY", flush=True)
            time.sleep(60)
        """,
    )
    process = probe.start("--extensions", "probe", "slow")
    until(process, "BUSY")
    process.send_signal(number)
    status, stdout, stderr = end(process, within=5)
    assert status == 0
    assert "Traceback" not in stderr
    # What is loaded but not yet set up has nothing to stop; the probe went before `slow`.
    assert ("STOPPED" in stdout) == hook.startswith("load_model")


def test_a_load_that_fails_because_of_the_stop_is_a_clean_stop(probe: Host) -> None:
    probe.extension(
        "slow",
        """
        import threading

        closed = threading.Event()

        def load_model(spec):
            print("BUSY", flush=True)
            closed.wait()
            raise SystemExit("the engine was closed")

        def stop(timeout):
            closed.set()
        """,
    )
    process = probe.start("--extensions", "slow")
    until(process, "BUSY")
    process.send_signal(signal.SIGTERM)
    status, _, stderr = end(process, within=5)
    assert status == 0
    assert "the engine was closed" not in stderr


def test_handlers_that_a_load_has_replaced_are_put_back(probe: Host) -> None:
    probe.extension(
        "thief",
        """
        import signal

        def load_model(spec):
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            signal.set_wakeup_fd(-1)
        """,
    )
    process = probe.start("--extensions", "thief", "probe")
    until(process, "READY")
    process.send_signal(signal.SIGINT)
    assert end(process, within=5)[0] == 0


def test_a_second_ctrl_c_ends_at_once(probe: Host) -> None:
    probe.extension(
        "stuck", "import time\ndef stop(timeout): print('HANGS', flush=True); time.sleep(60)"
    )
    process = probe.start("--extensions", "probe", "stuck")
    until(process, "READY")
    process.send_signal(signal.SIGINT)
    until(process, "HANGS")
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(signal.SIGINT)
    status, stdout, _ = end(process, within=2)
    assert (status, stdout) == (130, "")


def test_one_keypress_delivered_twice_is_one(probe: Host) -> None:
    probe.extension("slow", "import time\ndef stop(timeout): time.sleep(1)")
    process = probe.start("--extensions", "slow", "probe")
    until(process, "READY")
    process.send_signal(signal.SIGINT)
    until(process, "STOPPED")
    process.send_signal(signal.SIGINT)
    assert end(process, within=5)[0] == 0


def test_what_hangs_does_not_hold_up_the_end(probe: Host) -> None:
    """A stop hook and a thread that never end: status 0 within ten seconds all the same."""
    probe.extension(
        "stuck",
        """
        import threading, time

        def setup():
            threading.Thread(target=time.sleep, args=(60,)).start()

        def stop(timeout):
            time.sleep(60)
        """,
    )
    process = probe.start("--extensions", "probe", "stuck")
    until(process, "READY")
    process.send_signal(signal.SIGTERM)
    status, stdout, stderr = end(process, within=10)
    assert status == 0
    assert "extension stuck did not stop in time" in stderr
    assert stdout == "STOPPED\n", "the others are still stopped"


def test_nobody_reads_the_banner(probe: Host) -> None:
    probe.extension("quiet", "def banner(): return 'READY'")
    process = probe.start("--extensions", "quiet")
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
