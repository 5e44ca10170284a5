"""How much of a machine a request costs: CPU and memory of a process."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

MIB = 1024 * 1024


@dataclass
class Cost:
    """What a block of work cost the measured processes."""

    cpu_s: float = 0.0
    #: How far the peak of resident memory rose above the level before.
    peak_bytes: int = 0


@contextmanager
def measured(process: psutil.Process) -> Generator[Cost, None, None]:
    """Measure a process and its children while the block runs."""
    processes = [process, *process.children(recursive=True)]
    for one in processes:
        # Starts the kernel's high-water mark anew.
        Path(f"/proc/{one.pid}/clear_refs").write_text("5")
    before = [(_cpu_s(one), one.memory_info().rss) for one in processes]
    cost = Cost()
    yield cost
    for one, (cpu_s, level) in zip(processes, before, strict=True):
        cost.cpu_s += _cpu_s(one) - cpu_s
        cost.peak_bytes += max(0, _peak_bytes(one) - level)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _peak_bytes(process: psutil.Process) -> int:
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise ValueError("The kernel tells no high-water mark.")
