import subprocess
import sys
from pathlib import Path

from widedeep.export.search.life import Life

HOLD = "import sys; from pathlib import Path; from widedeep.export.search.life import Life\n"
HOLD += "life = Life(Path(sys.argv[1])); print(life.owner, flush=True); sys.stdin.read()"


def test_an_owner_lives_until_it_is_closed(tmp_path: Path) -> None:
    one, other = Life(tmp_path / "studies"), Life(tmp_path / "studies")
    assert other.is_alive(one.owner)
    assert one.is_alive(one.owner)
    one.close()
    assert not other.is_alive(one.owner)
    other.close()


def test_an_owner_is_dead_in_the_moment_its_process_is_killed(tmp_path: Path) -> None:
    life = Life(tmp_path / "studies")
    command = [sys.executable, "-c", HOLD, str(tmp_path / "studies")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        owner = process.stdout.readline().strip()
        assert life.is_alive(owner)
        process.kill()
        process.wait()
        assert not life.is_alive(owner)
    life.close()


def test_a_new_life_clears_the_signs_of_dead_ones_away(tmp_path: Path) -> None:
    (tmp_path / "studies.owners").mkdir()
    (tmp_path / "studies.owners" / "1-dead").touch()
    life = Life(tmp_path / "studies")
    assert [path.name for path in (tmp_path / "studies.owners").iterdir()] == [life.owner]
    life.close()
