"""What a worker owes its main process: to end with it, and to say that it serves."""

import ctypes
import mmap
import os
import signal
from functools import partial

#: The worker that came up last; shared with the processes that are forked.
_last_up = memoryview(mmap.mmap(-1, 8)).cast("q")
_PR_SET_PDEATHSIG = 1
#: What a worker is told to end by.
_ENDINGS = frozenset({signal.SIGINT, signal.SIGTERM})
_libc = ctypes.CDLL(None)


def bind_to_this_process() -> None:
    """Let every process that is forked from now on end with this one."""
    os.register_at_fork(after_in_child=partial(_be_a_worker, os.getpid()))


def _be_a_worker(parent: int) -> None:
    # A Granian worker that is told to end before it serves hangs: they are kept back.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)
    # The main process' handlers would take a worker's signals for its own.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGINT)


def hear_signals() -> None:
    """Hear of signals from now on, in the loop's first moment."""
    # Who was told to end already has begun no request.
    if signal.sigpending() & _ENDINGS:
        os._exit(0)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDINGS)


def say_that_it_serves() -> None:
    """Tell the main process that this worker takes connections."""
    _last_up[0] = os.getpid()


def serves(pid: int) -> bool:
    """Whether this is the worker that said so last."""
    return _last_up[0] == pid
