"""Sounds unlike those of training get no label: in every way of asking, and not by runs that cannot tell."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from scripts.apps.api.schemas import file_result
from scripts.config.run import Run
from scripts.inference.many_files import predict_many
from scripts.inference.predict_folder import FACTS, FilePredictor, Table
from scripts.inference.predictor import Predictor
from scripts.predict import main
from scripts.training.checkpoints import load_checkpoint, save_checkpoint
from tests.corpus import write_track


@pytest.fixture
def sounds(tmp_path: Path) -> tuple[str, str]:
    """One of the kind of training, and white noise."""
    write_track(tmp_path / "tone.wav", 700.0, 99)
    soundfile.write(tmp_path / "noise.wav", np.random.default_rng(0).normal(0, 0.3, 40_000).clip(-1, 1), 8000)
    return str(tmp_path / "tone.wav"), str(tmp_path / "noise.wav")


def test_noise_has_no_label_in_rows_json_and_api(
    head_run: Run, sounds: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    predictor = Predictor(head_run)
    tone, noise = map(predictor, sounds)
    assert tone.labels and not tone.unfamiliar
    assert not noise.labels and noise.unfamiliar
    assert [answer.distance for answer in predict_many(predictor, sounds, 1)] == pytest.approx(
        [tone.distance, noise.distance], abs=2e-3
    )
    assert [file_result("a", one, 3).unfamiliar for one in (tone, noise)] == [False, True]
    main([*sounds, f"--runs={head_run.root}", f"--run={head_run.name}", "--json"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["unfamiliar"], len(line["found"])) for line in lines] == [(False, 1), (True, 0)]
    main([sounds[1], f"--runs={head_run.root}", f"--run={head_run.name}"])
    assert "none of these (nearest: " in capsys.readouterr().out


def test_a_table_keeps_the_distance_and_one_without_it_still_opens(
    head_run: Run, sounds: tuple[str, str], tmp_path: Path
) -> None:
    predictor = Predictor(head_run)
    rows = FilePredictor(predictor, "model")(sounds[1])
    table = Table(tmp_path / "table.csv", predictor.names)
    table.write(rows)
    assert table.read() == {sounds[1]: rows}
    cells = [line.split(",") for line in table.path.read_text().splitlines()]
    place = FACTS.index("distance")
    table.path.write_text("".join(",".join(one[:place] + one[place + 1 :]) + "\n" for one in cells))
    [old] = table.read()[sounds[1]]
    assert old.distance is None and old.probabilities == rows[0].probabilities


def test_a_run_of_an_earlier_version_answers_as_before(
    head_run: Run, sounds: tuple[str, str], tmp_path: Path, refusal: Callable[..., str]
) -> None:
    run = Run(head_run.name, tmp_path / "runs")
    shutil.copytree(head_run.report, run.report)
    state = load_checkpoint(head_run.checkpoints / "best.pt")
    known = state.pop("familiarity")
    save_checkpoint(run.checkpoints / "best.pt", state)
    now, before = Predictor(head_run)(sounds[1]), Predictor(run)(sounds[1])
    assert before.labels and before.distance is None
    np.testing.assert_allclose(before.probabilities, now.probabilities, atol=1e-6)
    save_checkpoint(run.checkpoints / "best.pt", state | {"familiarity": {"mean": known["mean"]}})
    assert "damaged familiarity" in refusal(main, [sounds[1], "--run", run.name, "--runs", str(run.root)])
