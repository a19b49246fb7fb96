"""The scratch disk stays bounded, and nobody's folder is removed while it is used."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from siltstone.snapshots.scratch import Scratch


def entries(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def keep(scratch: Scratch, *names: str) -> None:
    for age, name in enumerate(reversed(names)):
        with scratch.kept(name) as folder:
            (folder / "file").write_bytes(b"warm")
        os.utime(folder, (1_000_000 - age, 1_000_000 - age))


def test_a_private_folder_is_gone_afterwards(tmp_path):
    scratch = Scratch(tmp_path / "s")
    with scratch.private() as folder, scratch.private() as other:
        assert folder != other
        (folder / "file").write_bytes(b"x")
    assert entries(tmp_path / "s") == []


def test_a_kept_folder_is_found_as_it_was_left(tmp_path):
    scratch = Scratch(tmp_path / "s")
    keep(scratch, "base")
    with Scratch(tmp_path / "s").kept("base") as folder:
        assert (folder / "file").read_bytes() == b"warm"


def test_of_kept_folders_the_longest_unused_go_first(tmp_path):
    scratch = Scratch(tmp_path / "s", keep=2)
    keep(scratch, "oldest", "old", "newest")
    with scratch.kept("oldest"):
        pass  # used last now
    scratch.sweep()
    assert entries(tmp_path / "s") == ["newest", "oldest"]


def test_what_somebody_uses_is_not_removed(tmp_path):
    scratch = Scratch(tmp_path / "s", keep=0)
    keep(scratch, "unused")
    with scratch.kept("used") as used, scratch.private() as private:
        Scratch(tmp_path / "s", keep=0).sweep()
        scratch.make_room(2**62)
        assert used.exists()
        assert private.exists()
        assert entries(tmp_path / "s") == sorted(["used", private.name])


def test_what_a_killed_process_left_is_removed(tmp_path):
    program = (
        "import os, sys; from pathlib import Path; from siltstone.snapshots.scratch import Scratch\n"
        "with Scratch(Path(sys.argv[1])).private() as folder:\n"
        "    (folder / 'half').write_bytes(b'x')\n"
        "    os._exit(9)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "s")], env=environment, check=False)
    assert len(entries(tmp_path / "s")) == 1
    Scratch(tmp_path / "s").sweep()
    assert entries(tmp_path / "s") == []


def test_room_is_made_only_where_it_is_needed(tmp_path):
    scratch = Scratch(tmp_path / "s")
    keep(scratch, "old", "new")
    scratch.make_room(1)
    assert entries(tmp_path / "s") == ["new", "old"]
    scratch.make_room(2**62)
    assert entries(tmp_path / "s") == []


def test_a_second_user_waits_and_finds_it_even_if_it_was_removed(tmp_path):
    scratch, order = Scratch(tmp_path / "s"), []

    def second() -> None:
        with Scratch(tmp_path / "s").kept("base") as folder:
            order.append(("second", folder.exists()))

    with scratch.kept("base") as folder:
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(0.05)
        order.append(("first", waiting.is_alive()))
        folder.rmdir()
    waiting.join(5)
    assert order == [("first", True), ("second", True)]
