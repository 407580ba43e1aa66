"""Signals of the demo: raised at once, later, or never; and the old handlers come back."""

import os
import signal

import pytest

from falak.demo.signals import Signals


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_is_raised(number, code):
    with Signals(), pytest.raises(SystemExit) as caught:
        send(number)
    assert caught.value.code == code


def test_ctrl_c_is_what_it_always_is():
    with Signals(), pytest.raises(KeyboardInterrupt):
        send(signal.SIGINT)


def test_held_back_it_comes_at_the_end():
    done = []
    with Signals() as signals:
        with pytest.raises(SystemExit) as caught, signals.held():
            send(signal.SIGTERM)
            send(signal.SIGINT)
            done.append("whole")
        assert (done, caught.value.code) == (["whole"], 143)
        with signals.held():
            done.append("nothing waits any more")


def test_ignored_it_never_comes():
    with Signals() as signals:
        with signals.ignored():
            send(signal.SIGTERM)
        with signals.held():
            pass


def test_the_old_handlers_come_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with Signals():
        assert signal.getsignal(signal.SIGTERM) not in before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
