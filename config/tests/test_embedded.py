"""Creating the embedded cluster without losing what stands in its place."""

from collections.abc import Generator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from config.embedded import EmbeddedPostgres, ServerUnavailable, make_keys


@pytest.fixture
def postgres() -> Generator[EmbeddedPostgres]:
    # Short, for a Unix socket's folder is in it.
    with TemporaryDirectory(prefix="gh-pg-", ignore_cleanup_errors=True) as directory:
        var = Path(directory)
        make_keys(var)
        yield EmbeddedPostgres(var)


def test_a_folder_that_is_no_cluster_is_refused_and_kept(
    postgres: EmbeddedPostgres,
) -> None:
    postgres.data.mkdir()
    (postgres.data / "base").write_text("all that there is")
    with pytest.raises(ServerUnavailable, match="not empty"):
        postgres.prepare()
    assert (postgres.data / "base").read_text() == "all that there is"


@pytest.mark.parametrize("is_place_there", [False, True])
def test_a_half_made_cluster_is_made_again(
    postgres: EmbeddedPostgres, is_place_there: bool
) -> None:
    if is_place_there:
        postgres.data.mkdir()
    half_made = postgres.var / "postgres.new"
    half_made.mkdir()
    (half_made / "PG_VERSION").write_text("18")
    postgres.prepare()
    assert (postgres.data / "global" / "pg_control").exists()
    assert not half_made.exists()
    made_at = (postgres.data / "PG_VERSION").stat().st_mtime_ns
    postgres.prepare()
    assert (postgres.data / "PG_VERSION").stat().st_mtime_ns == made_at
