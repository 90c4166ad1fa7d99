"""Self-supervised start: the tasks do what they say, the network learns from them, and training starts from it."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from scripts.common.errors import CheckpointError, ConfigError, TableError
from scripts.config.run import Run, make_model
from scripts.evaluate import evaluate
from scripts.pretrain import load_unlabelled, main, pretrain
from scripts.train import train
from scripts.trainer import Trainer
from scripts.training.checkpoints import load_checkpoint, save_checkpoint
from scripts.training.pretext import MOVED, ORIGINAL, REPLACED, TASKS, MaskedPatches, TilePuzzle, another, load_backbone
from tests.corpus import make_experiment

pytestmark = pytest.mark.usefixtures("quick_reports")

SHAPE = (1, 32, 40)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    settings = {"channels": [4, 8, 16], "width": 16}
    corpus = tmp_path_factory.mktemp("corpus")
    return make_experiment(corpus, epochs=3, threads=1, learning_rate=3e-3, model={"name": "cnn4"} | settings)


@pytest.fixture(scope="module", params=TASKS)
def finished(request, experiment, tmp_path_factory):
    """A finished pretraining on each task: the run and its history."""
    root = tmp_path_factory.mktemp("runs")
    history = pretrain(experiment, request.param, root=root)
    return Run(f"small-{request.param}", root), history


def noise(items: int = 12, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return torch.randn(items, *shape, generator=torch.Generator().manual_seed(0))


# --- masks ------------------------------------------------------------------------------------------------------


def test_patches_with_the_least_draws_become_zeros():
    task = MaskedPatches((1, 4, 5), items=1, seed=0, patch=2, share=0.5)
    task.uniform = np.array([[0.9, 0.1, 0.5, 0.3, 0.8, 0.7]], np.float32)  # of 2 x 3 patches, the last ones narrow
    x, target = task.corrupt(lambda chosen: torch.full((1, 1, 4, 5), 7.0), np.array([0]))
    shown = [[7, 7, 0, 0, 0], [7, 7, 0, 0, 0], [0, 0, 7, 7, 7], [0, 0, 7, 7, 7]]
    assert x[0, 0].tolist() == shown
    hidden = torch.tensor(shown).flatten() == 0
    assert (target[0, hidden] == 7).all() and target[0, ~hidden].isnan().all()


@given(st.integers(1, 12), st.floats(0.3, 0.8), st.integers(0, 1000))
def test_every_item_hides_the_same_number_of_whole_patches(patch, share, seed):
    task = MaskedPatches((1, 24, 36), items=5, seed=seed, patch=patch, share=share)
    mask = task.mask(np.arange(5))[:, 0].numpy()
    corners = mask[:, ::patch, ::patch]
    assert (corners.sum((1, 2)) == round(share * corners[0].size)).all()
    assert np.array_equal(mask, np.kron(corners, np.ones((1, patch, patch), bool))[:, :24, :36])


def test_shown_positions_do_not_enter_the_loss():
    task, x = MaskedPatches(SHAPE, items=4, seed=0), noise(4)
    masked, target = task.corrupt(lambda chosen: x[chosen], np.arange(4))
    hidden = (masked == 0).flatten(1)
    output = torch.where(hidden, x.flatten(1) + 2, 1e6).requires_grad_()
    loss = task.loss(output, target)
    assert loss.item() == pytest.approx(4, rel=1e-5)
    loss.backward()
    assert (output.grad[~hidden] == 0).all() and (output.grad[hidden] > 0).all()


# --- tiles ------------------------------------------------------------------------------------------------------


def test_tiles_are_kept_moved_and_replaced_as_drawn():
    task = TilePuzzle((1, 5, 4), items=2, seed=0, grid=2)
    kinds, places = [0.9, 0.5, 0.1, 0.4], [0.0, 0.99, 0.0, 0.0]  # replaced below 0.3, moved below 0.6
    task.uniform = np.array([[*kinds, *places, 0.0]] * 2, np.float32)
    image = torch.tensor([[1.0, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4], [5, 5, 5, 5]])
    images = torch.stack([image, 10 * image])[:, None]
    x, target = task.corrupt(lambda chosen: images[chosen], np.array([0]))
    assert target.tolist() == [[ORIGINAL, MOVED, REPLACED, MOVED]]
    # the second tile is from the place before it, the fourth from the next one after it, which is the first
    assert x[0, 0].tolist() == [[1, 1, 1, 1], [1, 1, 1, 1], [30, 30, 1, 1], [30, 30, 1, 1], [5, 5, 5, 5]]
    assert images[0, 0].equal(image)


def test_a_tiles_answer_says_what_became_of_it():
    task, images = TilePuzzle(SHAPE, items=12, seed=1), noise(12)
    x, target = task.corrupt(lambda chosen: images[chosen], np.arange(12))
    _, _, partners = task.draw(np.arange(12))
    for item in range(12):
        tiles, own, other = (tiles_of(image) for image in (x[item], images[item], images[partners[item]]))
        for number, tile in enumerate(tiles):
            same = [tile.equal(place) for place in own]
            assert same[number] == (target[item, number] == ORIGINAL)
            assert (any(same) and not same[number]) == (target[item, number] == MOVED)
            assert tile.equal(other[number]) == (target[item, number] == REPLACED)


def tiles_of(image: torch.Tensor) -> list[torch.Tensor]:
    """The 16 tiles of 8 x 10, row by row."""
    return [image[0, 8 * row : 8 * row + 8, 10 * column : 10 * column + 10] for row in range(4) for column in range(4)]


def test_tiles_come_in_their_shares():
    task = TilePuzzle(SHAPE, items=2000, seed=0, moved=0.5, replaced=0.2)
    kinds, _, _ = task.draw(np.arange(2000))
    np.testing.assert_allclose(np.bincount(kinds.ravel()) / kinds.size, [0.3, 0.5, 0.2], atol=0.015)


def test_puzzle_loss_is_the_mean_over_tiles():
    task = TilePuzzle(SHAPE, items=2, seed=0, grid=2)
    logits = torch.zeros(1, 4, 3)
    logits[0, 0, MOVED] = 50  # sure and right of one tile, undecided between three of the others
    loss = task.loss(logits.flatten(1), torch.tensor([[MOVED, ORIGINAL, REPLACED, MOVED]]))
    assert loss.item() == pytest.approx(0.75 * np.log(3), rel=1e-5)


def test_the_puzzle_can_be_learned_from_what_is_shown():
    """Tiles of the values 0 to 3, in their places, plus an item's own offset: order and offset tell all."""
    torch.manual_seed(0)
    task = TilePuzzle((1, 2, 2), items=200, seed=0, grid=2)
    images = torch.arange(4.0).view(1, 1, 2, 2) + torch.randn(200, 1, 1, 1) * 5
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), task.make_head(64))
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for epoch in range(301):
        task.set_epoch(epoch)
        x, target = task.corrupt(lambda chosen: images[chosen], np.arange(200))
        loss = task.loss(network(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.85 * -np.log([0.4, 0.3, 0.3]) @ [0.4, 0.3, 0.3]


@given(st.integers(2, 10**9), st.floats(0, 1, exclude_max=True), st.data())
def test_another_is_never_oneself(count, drawn, data):
    own = data.draw(st.integers(0, count - 1))
    number = another(np.array([own]), np.array([drawn]), count)[0]
    assert 0 <= number < count and number != own


# --- both -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_an_items_draw_depends_on_seed_epoch_and_item_alone(task):
    images = noise()
    first, second = (TASKS[task](SHAPE, items=12, seed=3) for _ in range(2))
    for one in (first, second):
        one.set_epoch(7)
    among = first.corrupt(lambda chosen: images[chosen], np.array([4, 9, 1]))
    alone = second.corrupt(lambda chosen: images[chosen], np.array([9]))
    assert all(torch.equal(many[1].nan_to_num(), one[0].nan_to_num()) for many, one in zip(among, alone, strict=True))
    second.set_epoch(8)
    assert not torch.equal(alone[0], second.corrupt(lambda chosen: images[chosen], np.array([9]))[0])


@pytest.mark.parametrize("task", TASKS)
def test_head_and_loss_fit_items_of_several_channels(task):
    one = TASKS[task]((3, 37, 50), items=4, seed=0)
    _, target = one.corrupt(lambda chosen: noise(4, (3, 37, 50))[chosen], np.arange(4))
    embedding = torch.randn(4, 10, requires_grad=True)
    one.loss(one.make_head(10)(embedding), target).backward()
    assert embedding.grad.isfinite().all() and (embedding.grad != 0).any()


# --- learning ---------------------------------------------------------------------------------------------------


def test_loss_falls_and_weights_move(experiment, finished):
    run, history = finished
    assert history["epoch"].tolist() == [1, 2, 3]
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]
    pd.testing.assert_frame_equal(pd.read_csv(run.report / "metrics.csv"), history)
    torch.manual_seed(experiment.training.seed)
    before, after = make_model(experiment, 1).state_dict(), load_checkpoint(run.checkpoints / "last.pt")["model"]
    assert {path.name for path in run.checkpoints.iterdir()} == {"best.pt", "last.pt"}
    for name in before:
        assert name.startswith("head.") or not torch.equal(before[name], after[name]), name


@pytest.mark.parametrize("task", TASKS)
def test_killed_and_resumed_equals_uninterrupted(experiment, tmp_path, monkeypatch, task):
    whole, broken = (Run(f"small-{task}", tmp_path / name) for name in ("whole", "broken"))
    experiment = experiment.changed(["scheduler=cosine"])
    pretrain(experiment, task, root=whole.root)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "step", killed_after(12, Trainer.step))
        pretrain(experiment, task, root=broken.root)
    assert load_checkpoint(broken.checkpoints / "last.pt")["epoch"] == 1
    pretrain(experiment, task, root=broken.root, resume=True)
    assert weights(broken) == weights(whole)
    histories = [pd.read_csv(run.report / "metrics.csv").drop(columns="samples_per_second") for run in (whole, broken)]
    pd.testing.assert_frame_equal(*histories)


def killed_after(steps: int, step):
    """`step`, but it is interrupted when it has been called so often."""
    calls = iter(range(steps))

    def interrupted(*arguments):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return step(*arguments)

    return interrupted


def weights(run: Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(run.checkpoints.iterdir())}


def test_only_the_chosen_parts_are_learned_from(experiment, tmp_path):
    table = pd.read_csv(experiment.data.table, dtype={"track_id": "str"}).drop_duplicates("track_id")
    for parts in (["train"], ["validation", "test"]):
        expected = table.loc[table["split"].isin(parts), "track_id"].tolist()
        assert load_unlabelled(experiment, parts).items.tracks["track_id"].tolist() == expected
    table[["track_id"]].to_csv(tmp_path / "unlabelled.csv", index=False)
    unlabelled = experiment.updated(table=str(tmp_path / "unlabelled.csv"))
    assert len(load_unlabelled(unlabelled, ["train"]).items.tracks) == len(table)
    with pytest.raises(TableError, match="no track in test; choose other --parts"):
        load_unlabelled(unlabelled, ["test"])
    with pytest.raises(TableError, match="lacks the column genre, class"):
        load_unlabelled(unlabelled.changed(["fold.num_folds=3", "fold.number=0"]), ["train"])


def test_a_fold_replaces_the_tables_split(experiment):
    parts = {}
    for number in range(3):
        fold = experiment.changed(["fold.num_folds=3", f"fold.number={number}"])
        parts[number] = [set(load_unlabelled(fold, [part]).items.tracks["track_id"]) for part in ("train", "test")]
    assert all(not train & test for train, test in parts.values())
    assert len(set.union(*(test for _, test in parts.values()))) == 18


# --- fine-tuning ------------------------------------------------------------------------------------------------


def test_training_starts_from_the_loaded_weights(experiment, finished):
    run, _ = finished
    path = run.checkpoints / "last.pt"
    torch.manual_seed(1)
    model = make_model(experiment, 3)
    head = {name: tensor.clone() for name, tensor in model.head.state_dict().items()}
    known = load_checkpoint(path)["model"]
    backbone = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("head.")}
    assert any(not torch.equal(tensor, known[name]) for name, tensor in backbone.items())
    assert load_backbone(model, path) == len(backbone)
    assert all(torch.equal(tensor, known[name]) for name, tensor in backbone.items())
    assert all(torch.equal(tensor, head[name]) for name, tensor in model.head.state_dict().items())


def test_weights_that_know_the_test_are_a_leak(experiment, tmp_path):
    """A pretraining on the test part, and a second one that starts from it and learns from the training part alone."""
    short = experiment.updated(epochs=1)
    pretrain(short, "mae", parts=["test"], root=tmp_path)
    second = short.changed([f"initial={tmp_path}/checkpoints/small-mae/last.pt"])
    pretrain(second, "mae", tag="more", root=tmp_path)
    third = short.changed([f"initial={tmp_path}/checkpoints/small-mae-more/last.pt"])
    with pytest.raises(TableError, match=r"leaks: 3 of the 3 test tracks.*start from other weights.*--allow-leak"):
        train(third, root=tmp_path)
    report = train(third.updated(allow_leak=True), root=tmp_path)
    assert "3 of the 3 test tracks" in report["leaks"][0]
    shutil.rmtree(tmp_path / "reports" / "small-mae-more")
    assert evaluate(Run("small", tmp_path))["leaks"] == report["leaks"]


def test_weights_of_unknown_origin_are_told(experiment, finished, tmp_path):
    shutil.copy(finished[0].checkpoints / "last.pt", tmp_path / "weights.pt")
    report = train(experiment.changed(["epochs=1", f"initial={tmp_path}/weights.pt"]), root=tmp_path)
    assert report["leaks"] == [f"started from weights whose training tracks are unknown ({tmp_path}/weights.pt)"]
    known = train(experiment.changed(["epochs=1", f"initial={finished[0].checkpoints}/last.pt"]), "known", tmp_path)
    assert known["leaks"] == []


def test_one_task_can_start_from_another(experiment, finished, tmp_path):
    path = finished[0].checkpoints / "last.pt"
    frozen = experiment.changed([f"initial={path}", "epochs=1", "learning_rate=1e-9"])
    pretrain(frozen, "mae", root=tmp_path)
    before, after = (load_checkpoint(one)["model"] for one in (path, tmp_path / "checkpoints/small-mae/last.pt"))
    for name in before:
        if not name.startswith("head."):
            torch.testing.assert_close(after[name], before[name])


def test_part_of_a_network_is_enough_for_a_start(experiment, finished):
    wide = make_model(experiment.changed(["model.width=20"]), 3)  # another last layer, the same blocks
    assert load_backbone(wide, finished[0].checkpoints / "last.pt") == 6  # of 8: weights and biases of 3 blocks


@pytest.mark.parametrize(
    "state", [{}, {"blocks.0.0.weight": "text"}, [1, 2], {"blocks.0.0.weight": torch.zeros(4, 1, 3, 3)}]
)
def test_a_foreign_checkpoint_is_told_with_what_does_not_fit(experiment, tmp_path, state):
    save_checkpoint(tmp_path / "other.pt", {"model": state})
    with pytest.raises(CheckpointError, match=r"other.pt: fits [01] of the network's 8 tensors \(not blocks"):
        load_backbone(make_model(experiment, 3), tmp_path / "other.pt")


# --- bad input --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def config(experiment, tmp_path_factory):
    """The experiment as a config.json, which the command can be given."""
    run = Run("small", tmp_path_factory.mktemp("config"))
    run.save_config(experiment, classes=["High", "Low", "Mid"], split="")
    return run.config_path


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--task=maa"], "unknown task 'maa'; did you mean 'mae'?"),
        (["--task=mae", "--task-set", "patsh=2"], "unknown setting of task mae 'patsh'; did you mean 'patch'?"),
        (["--task=mae", "--task-set", "patch"], "'patch' has no '='"),
        (["--task=mae", "--task-set", "patch=32"], "hides 1 of the 1 patches of an item of 32 rows x 32 frames"),
        (["--task=mae", "--task-set", "patch=0"], "patch is no whole number of at least 1"),
        (["--task=mae", "--task-set", "share=much"], "{'share': 'much'}"),
        (["--task=tiles", "--task-set", "grid=33"], "33 x 33 tiles of an item of 32 rows x 32 frames; take fewer"),
        (["--task=tiles", "--task-set", "moved=0.9"], "their sum above 0 and at most 1"),
        (["--task=mae", "--set", "model.channels=[2,2,2,2,2,2]"], "6 blocks need at least 64 of each"),
        (["--task=mae", "--set", "spec.kind=waveform"], "waveforms; pretraining needs spectrograms"),
        (["--task=mae", "--table=none.csv"], "none.csv: no such table"),
    ],
)
def test_bad_input_is_told_in_one_line(config, tmp_path, refusal, flags, message):
    assert message in refusal(main, ["--config", str(config), "--runs", str(tmp_path), *flags])
    assert not (tmp_path / "reports").exists()


def test_existing_run_is_not_touched(experiment, finished):
    run, _ = finished
    task, before = run.name.removeprefix("small-"), weights(run)
    with pytest.raises(ConfigError, match="--resume"):
        pretrain(experiment, task, root=run.root)
    with pytest.raises(ConfigError, match="started with another parts, split, optimizer.learning_rate"):
        pretrain(experiment.changed(["learning_rate=0.1"]), task, parts=["test"], root=run.root, resume=True)
    assert weights(run) == before
    assert json.loads(run.config_path.read_text())["pretext"] == task
