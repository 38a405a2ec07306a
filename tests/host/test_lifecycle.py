"""Signals and exit statuses of a real process."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from tests.host.conftest import Host, until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for the end of the process; its status and what it still printed."""
    stdout, stderr = process.communicate(timeout=50)  # what hangs in these tests does so for longer
    return process.returncode, stdout, stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_while_serving(probe: Host, number: signal.Signals) -> None:
    process = probe.start()
    until(process, "READY")
    process.send_signal(number)
    status, stdout, stderr = end(process)
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
    assert end(process)[0] == 0


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
    assert end(process)[0] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_while_an_extension_starts(probe: Host, number: signal.Signals) -> None:
    probe.extension(
        "slow",
        """
        import time

        def setup():
            print("BUSY", flush=True)
            time.sleep(60)
        """,
    )
    process = probe.start("--extensions", "probe", "slow")
    until(process, "BUSY")
    process.send_signal(number)
    status, _, stderr = end(process)
    assert status == 0
    assert "Traceback" not in stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_while_the_model_loads_and_holds_the_lock(
    probe: Host, number: signal.Signals
) -> None:
    """ctypes.PyDLL keeps Python's lock during the call, as xllamacpp does while it loads."""
    probe.extension(
        "slow",
        """
        import ctypes

        def load_model(spec):
            print("BUSY", flush=True)
            ctypes.PyDLL(None).sleep(60)
        """,
    )
    process = probe.start("--extensions", "probe", "slow")
    until(process, "BUSY")
    time.sleep(0.2)
    process.send_signal(number)
    status, _, stderr = end(process)
    assert status == -number
    assert "Traceback" not in stderr


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
    assert end(process)[0] == 0


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
    status, stdout, _ = end(process)
    assert (status, stdout) == (130, "")


def test_one_keypress_delivered_twice_is_one(probe: Host) -> None:
    probe.extension("slow", "import time\ndef stop(timeout): time.sleep(1)")
    process = probe.start("--extensions", "slow", "probe")
    until(process, "READY")
    process.send_signal(signal.SIGINT)
    until(process, "STOPPED")
    process.send_signal(signal.SIGINT)
    assert end(process)[0] == 0


def test_what_hangs_does_not_hold_up_the_end(probe: Host) -> None:
    """A stop hook and a thread that never end: status 0 all the same."""
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
    status, stdout, stderr = end(process)
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
