"""Where a search lives while it goes on."""

import stat
from pathlib import Path

import pytest
from widedeep.export.train.dataset import read_dataset
from widedeep.export.train.options import Options
from widedeep.export.train.workplace import workplace
from widedeep.serving.engine.cache import Cache


def test_a_search_in_the_users_cache_leaves_a_folder_there_that_servers_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    table = tmp_path / "table.csv"
    table.write_text("a,b\n" + "".join(f"{i},{'yes' if i % 3 else 'no'}\n" for i in range(20)))
    options = Options(data=table, target="b", output=tmp_path / "models", time_limit_s=1)
    with workplace(read_dataset(table, target="b"), (), options) as place:
        assert place.folder.is_relative_to(tmp_path / "cache/widedeep")
    shared = tmp_path / "cache/widedeep"
    assert stat.S_IMODE(shared.stat().st_mode) == stat.S_IRWXU
    assert Cache.open(str(shared)).folder == shared
