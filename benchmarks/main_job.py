"""How long the main job takes and how much memory its processes need: the demo as a command, watched from outside.

``python -m benchmarks.main_job [--receipts PATH]``: wall time of each phase as the demo says it, and for each of our
processes the largest resident set that was seen (the emulator, which keeps every object in memory, is shown apart).
Needs Linux's ``/proc``, whose ``VmHWM`` is a process's peak: a sample every tenth of a second misses little.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

_SAMPLE = 0.1  # seconds
_MB = 1024  # kB
_LIMIT_MB = 3_000


def main() -> int:
    """Run the demo on a fresh state and print a table; exit code 1 if the demo fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--receipts", type=Path, help="default: the bundled sample")
    options = parser.parse_args()
    state = Path(tempfile.mkdtemp(prefix="siltstone-bench-"))
    command = [sys.executable, "-m", "siltstone_local.demo", "--state", str(state)]
    if options.receipts:
        command += ["--receipts", str(options.receipts)]
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as demo:  # noqa: S603
            watch = Watch(state, demo.pid)
            watch.start()
            output, _ = demo.communicate()
            watch.stop()
        if demo.returncode:
            return 1
        _print(json.loads(output.splitlines()[-1]), watch.peaks)
    finally:
        shutil.rmtree(state)
    return 0


class Watch(threading.Thread):
    """``peaks``: largest resident set by what a process does, MB."""

    def __init__(self, state: Path, demo: int) -> None:
        super().__init__(daemon=True)
        self._state, self._demo, self._over = str(state), demo, threading.Event()
        self.peaks: dict[str, int] = {}

    def run(self) -> None:
        while not self._over.wait(_SAMPLE):
            for folder in Path("/proc").glob("[0-9]*"):
                name = self._role(folder)
                if name is not None:
                    self.peaks[name] = max(self.peaks.get(name, 0), _peak(folder))

    def stop(self) -> None:
        """End the watching."""
        self._over.set()
        self.join()

    def _role(self, process: Path) -> str | None:
        """What it does, if it belongs to this demo."""
        try:
            command = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if int(process.name) == self._demo:
                return "demo"
            mine = any(self._state in part for part in command)
            mine = mine or self._state in (process / "environ").read_bytes().decode(errors="replace")
        except (OSError, ValueError):
            return None
        if not mine:
            return None
        if "ministack" in command:
            return "(the emulated AWS)"
        handler = next((part for part in command if part.startswith("functions.")), None)
        return handler or ("batch server" if any("batch_server" in part for part in command) else "other")


def _peak(process: Path) -> int:
    try:
        for line in (process / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) // _MB
    except OSError:
        pass
    return 0


def _print(result: dict[str, object], peaks: dict[str, int]) -> None:
    console = Console()
    seconds = result["seconds"]
    assert isinstance(seconds, dict)
    times = Table("phase", "seconds", title=f"{result['receipts']} receipts, {result['submitted']:,} records")
    for phase, value in [*seconds.items(), ("all", sum(seconds.values()))]:
        times.add_row(str(phase), f"{value:.1f}")
    memory = Table("process", "peak MB", title=f"memory; {os.cpu_count()} processors, {time.strftime('%Y-%m-%d')}")
    for name, peak in sorted(peaks.items(), key=lambda item: -item[1]):
        memory.add_row(name, f"{peak:,}")
    console.print(times, memory)
    ours = max(peak for name, peak in peaks.items() if not name.startswith("("))
    console.print(f"largest of ours: {ours:,} MB, {'under' if ours < _LIMIT_MB else 'OVER'} {_LIMIT_MB:,} MB")


if __name__ == "__main__":
    sys.exit(main())
