"""What the notebook's SOURCE stands for, and lengths that suit sounds of any length."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scripts.common.errors import ConfigError, TableError
from scripts.config.run import make_model
from scripts.utils.source import Source, choose_experiments, open_source, suitable_spec


def own(seconds: list[float], genres: str = "ab") -> tuple[Source, pd.DataFrame]:
    table = pd.DataFrame(
        {"genre": [genres[number % len(genres)] for number in range(len(seconds))], "duration_s": seconds}
    )
    return Source("own", "folder", Path("sounds"), Path("data/notebook/own")), table


@pytest.mark.parametrize(
    ("seconds", "track", "clip", "clips"),
    [
        ([200.0, 31.0, 180.0], 30, 3, 10),
        ([17.0] * 9 + [400.0], 17, 3, 5),
        ([0.5] * 12, 0.5, 0.25, 2),
        ([4.0, np.nan, 4.0], 4, 2, 2),
        ([0.11] * 10, 0.2, 0.2, 1),
    ],
)
def test_lengths_follow_those_of_the_sounds(seconds: list[float], track: float, clip: float, clips: int) -> None:
    spec = suitable_spec(pd.Series(seconds))
    assert (spec.track_seconds, spec.clip_seconds, spec.clips_per_track) == (track, clip, clips)


@pytest.mark.parametrize("seconds", [0.11, 0.5, 17.0, 200.0])
def test_the_network_can_be_built_on_them(seconds: float, capsys: pytest.CaptureFixture[str]) -> None:
    clips, whole = choose_experiments(*own([seconds] * 10))
    assert [make_model(one, 2).head.out_features for one in (clips, whole)] == [2, 2]
    assert (clips.data.unit, whole.data.unit) == ("clip", "track")
    assert (clips.name, whole.name) == ("own_clips", "own_tracks")
    assert {Path(one.data.table).parent for one in (clips, whole)} == {Path("data/notebook/own")}
    assert f"10 sounds of {seconds:.3g} to {seconds:.3g} s" in capsys.readouterr().out


def test_the_demo_and_fma_have_named_experiments() -> None:
    for name, folder in (("demo", Path("data/demo")), ("fma", Path("data"))):
        clips, whole = choose_experiments(Source(name, "fma", folder, folder), pd.DataFrame())
        assert (clips.name, whole.name) == (f"{name}_cnn_3s", f"{name}_cnn_30s")
        assert Path(clips.data.table).parent == folder


def test_a_folder_is_named_after_itself(tmp_path: Path) -> None:
    (tmp_path / "my sounds, 2").mkdir()
    assert open_source(tmp_path / "my sounds, 2").name == "my_sounds_2"


def test_what_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='\'dmeo\', which is no folder; give "demo", "fma", or a folder'):
        open_source("dmeo")
    with pytest.raises(ConfigError, match="one class, 'a', leaves no choice"):
        choose_experiments(*own([1.0] * 6, genres="a"))
    with pytest.raises(TableError, match="none of the 6 files can be read"):
        choose_experiments(*own([np.nan] * 6))
