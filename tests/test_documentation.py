"""The blocks of README.md, CONTRIBUTING.md and docs/ as they stand there, one after the other, on a few tiny sounds."""

import asyncio
import dataclasses
import importlib
import re
import shlex
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import gradio
import pytest
import torch
import uvicorn

from scripts import crossval, fit, models, sweep
from scripts.__main__ import COMMANDS, main
from scripts.apps.api import server
from scripts.apps.tagger.schedule import StopRequested, StopSignal
from scripts.architectures.musicnn import PUBLISHED
from scripts.audio.spec import MelSpec
from scripts.common.storage import sha256
from scripts.config.experiments import EXPERIMENTS, chosen_experiment, get_experiment
from scripts.datasets import get_dataset
from scripts.datasets.tiny import write_tone
from scripts.utils import mixtures
from tests.architectures.test_musicnn import random_state
from tests.corpus import SPEC

ROOT = Path(__file__).resolve().parents[1]
DOCS = ("own_sounds", "heads", "extras", "tags", "results", "speed", "devices", "scale", "index", "predict", "search",
        "registry", "api", "tagger", "monitor", "try_it", "export", "docker", "coming_from")  # fmt: skip
# in this order: the first trains fma_cnn_3s, which later pages use, and the README's own songs take over its tables
PAGES = [ROOT / "docs" / "presets.md", ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in DOCS),
         ROOT / "CONTRIBUTING.md"]  # fmt: skip
ELSEWHERE = {"corrections.md": "tests/apps/test_corrections.py"}
LINKED = sorted(path for folder in (".", "docs", "data", "runs", "sources") for path in (ROOT / folder).glob("*.md"))
NOT_RUN = {  # what a line begins with, and why
    r"make |python3 -m venv|pip install|.*-m jupyter": "installs or opens what the tests stand on",
    r"\S*python -m (pytest|cProfile|benchmarks)": "the tests, or minutes of measuring; tests/benchmarks has it small",
    r"tensorboard |docker |printf ": "another program's",
    r"curl ": "asks a server that runs meanwhile, as tests/apps/api does",
    r".*--source (freesound|rss)": "needs a network; tests/apps/tagger has servers of its own",
    r"ray |.*--engine ray": "starts, needs or ends a cluster, as tests/common/test_engines.py does",
    r"torchrun ": "starts processes that find no tiny data; tests/test_train_ranks.py has it small",
    r".*(--devices 0|device=cuda)": "needs GPUs",
    r"python -m scripts (embed|search) .*--network (ast|clap)": "weights; tests/test_search.py has random ones",
    r"python -m scripts networks": "measures every network, for minutes; tests/test_models.py builds them",
}
COMMAND = re.compile(r"((?:\w+=\S+ +)*)\S*python (?:-m scripts (\w+)|scripts/utils/(\w+)\.py)(.*)")
OUTPUTS = re.compile(r"--(?:out|output|full-output|output-root|playlist)[ =](\S+)")  # what a line says that it writes
QUICK = {"spec": SPEC, "epochs": 1, "device": "cpu", "threads": 1}
SMALL = {  # networks of the experiments here, as those of the sources take long
    "committee": {
        "model": {"name": "committee", "network": "lean_tagger", "members": 2, "settings": {"channels": [8, 8]}}
    },
    "fitted": {"spec": EXPERIMENTS["musicnn_head"].features.spec},  # which the weights are for
    "fluffy": {"model": {"name": "fluffy", "network": "lean_tagger", "settings": {"channels": [8, 8]}, "widths": [8]}},
}
SECRET = "a token or a password of a test"
SERVERS = ("api", "try_it", "monitor")


class Block(NamedTuple):
    """What stands between ``` and ``` on a page."""

    page: Path
    language: str
    text: str


def blocks_of(page: Path) -> list[Block]:
    found = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [Block(page, *block) for block in found if block[0] != "text"]


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def lines_of(block: Block) -> list[str]:
    """Without comments and empty lines."""
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in block.text.splitlines())
    return [line for line in lines if line]


def reason(line: str) -> str | None:
    return next((reason for pattern, reason in NOT_RUN.items() if re.match(pattern, line)), None)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, quick_reports: None) -> Iterator[Path]:
    """The current folder: tiny FMA and Philharmonia where the README has them, own songs, and experiments of an epoch.

    Spectrograms are small, mixtures, folds and trials few, and servers start and end at once.
    """
    folder = tmp_path_factory.mktemp("world")
    get_dataset("fma").make_tiny(folder / "data")
    get_dataset("philharmonia").make_tiny(folder / "data" / "philharmonia")
    get_dataset("irmas").make_tiny(folder / "data" / "irmas")
    for number, path in enumerate(sorted((folder / "data" / "irmas").rglob("*.wav"))):
        write_tone(path, number // 8, number, seconds=3.2)  # as long as a clip of the descriptors at least
    songs, tags = ["path,label,artist"], ["path,labels"]
    for number in range(36):
        kind = number % 3
        song = f"my_songs/{('Folk', 'Jazz', 'Rock')[kind]}/{number}.wav"
        write_tone(folder / song, kind, number, seconds=3.2)
        songs.append(f"{song},{Path(song).parent.name},artist {number // 2}")
        tags.append(f"{song},{('guitar;voice', 'guitar', '-')[kind]}")
    (folder / "my_songs.csv").write_text("\n".join(songs), encoding="utf-8")
    (folder / "my_tags.csv").write_text("\n".join(tags), encoding="utf-8")
    for number, name in enumerate(("song.mp3", "song.wav", "other.wav", "my_music/a.mp3", "my_music/b/b.flac")):
        write_tone(folder / name, number % 3, 100 + number)
        write_tone(folder / "recordings" / f"{number}.ogg", number % 3, 200 + number)
    (folder / "data" / "new_songs").mkdir()
    weights = folder / "data" / "weights" / "musicnn_jamendo.pth"
    weights.parent.mkdir()
    torch.save(random_state(), weights)
    parse, search, fold = mixtures.parse_request, sweep.sweep, crossval.cross_validate
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setitem(PUBLISHED, "jamendo", PUBLISHED["jamendo"]._replace(sha256=sha256(weights)))
        patch.setattr(MelSpec.__init__, "__defaults__", dataclasses.astuple(SPEC))
        for name, experiment in EXPERIMENTS.items():
            patch.setitem(EXPERIMENTS, name, experiment.updated(QUICK | SMALL.get(experiment.model.name, {})))
        patch.setattr(mixtures, "parse_request", lambda text: dataclasses.replace(parse(text), count=8))
        patch.setattr(sweep, "sweep", lambda experiment, space, trials, *rest: search(experiment, space, 2, *rest))
        for module in (crossval, fit):
            patch.setattr(module, "cross_validate", lambda one, folds=2, *rest, **more: fold(one, 2, *rest, **more))
        patch.setattr(StopSignal, "wait", end_round)
        make_server = server.make_server
        patch.setattr(server, "make_server", lambda app: end_at_once(make_server(app)))
        patch.setattr(gradio.Blocks, "block_thread", lambda page: page.close())
        yield folder


@pytest.fixture(scope="module")
def done() -> set[str]:
    """The lines that have been run, of which some stand on two pages."""
    return set()


def end_at_once(started: uvicorn.Server) -> uvicorn.Server:
    """The server starts up, and shuts down in place of waiting for requests."""
    started.main_loop = lambda: asyncio.sleep(0)
    return started


def end_round(stop: StopSignal, seconds: float) -> None:
    """Instead of waiting for the next one, or for an answer."""
    stop.requested = True
    raise StopRequested


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def prepare(block: Block, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """What a block takes for granted: other runs, a registered model of tags, a registry that is empty yet."""
    if "run_a" in block.text:
        for name, seed in (("run_a", 0), ("run_b", 1)):
            for kind in ("reports", "checkpoints"):
                shutil.copytree(f"runs/{kind}/philharmonia_polyphony-seed{seed}", f"runs/{kind}/{name}")
    if "data/irmas" in block.text:
        tables = {"--output": "metadata_ensemble.csv", "--full-output": "metadata_30_secs.csv"}
        main(["labeled_tracks", "--dataset", "irmas", "--output", "data/irmas/labeled_tracks.csv"])
        flags = [f"{flag}=data/irmas/{name}" for flag, name in tables.items()]
        main(["metadata", "--input", "data/irmas/labeled_tracks.csv", *flags])
    if "tags@production" in block.text:
        main(["registry", "add", "philharmonia_polyphony-seed0", "--name", "tags", "--stage", "production"])
    if block.page.stem == "registry" and not block.language:
        patch.setenv("AUDIO_REGISTRY", str(folder / "new_registry"))


def run_line(line: str, patch: pytest.MonkeyPatch) -> None:
    """What a shell would do with the line, in this process."""
    if exported := re.fullmatch(r"export (\w+)=.*", line):
        patch.setenv(exported[1], SECRET)
        return
    for part in line.split(" && "):
        found = COMMAND.fullmatch(part)
        assert found, f"{part}: neither a command of this project nor in NOT_RUN"
        for setting in found[1].split():
            patch.setenv(setting.partition("=")[0], SECRET)  # "..." stands for one
        name, flags = found[2] or found[3], shlex.split(found[4])
        main([name, *flags, *(["--port", str(free_port())] if name in SERVERS else [])])


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.page.name}, {block.text.splitlines()[0][:40]}")
def test_a_block_as_it_stands(block: Block, world: Path, done: set[str], monkeypatch: pytest.MonkeyPatch):
    prepare(block, world, monkeypatch)
    if block.language == "python":
        exec(compile(block.text, block.page.name, "exec"), dict(vars(models)))
        return
    for line in lines_of(block):
        if line not in done and not reason(line):
            done.add(line)
            run_line(line, monkeypatch)
            missing = [path for path in OUTPUTS.findall(line) if not Path(path).exists()]
            assert not missing, f"{line}: wrote no {missing}"


def test_every_page_is_run_and_every_exception_is_needed():
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {path.name for path in PAGES}
    assert pages == {*ELSEWHERE} and all((ROOT / test).is_file() for test in ELSEWHERE.values())
    lines = [line for block in BLOCKS if not block.language for line in lines_of(block)]
    for pattern in NOT_RUN:
        assert any(re.match(pattern, line) for line in lines), f"no line begins with {pattern} any more"
    ran = {found[2] or found[3] for line in lines if not reason(line) for found in [COMMAND.match(line)] if found}
    assert set(COMMANDS) - ran == {"demo", "demo_notes", "visualisation", "merge", "corrections", "retrain"}


@pytest.mark.parametrize("page", LINKED, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_headings(page: Path):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            path, _, heading = target.partition("#")
            assert (page.parent / path).exists(), target
            text = (page.parent / path).read_text(encoding="utf-8") if heading else ""
            assert heading in ("", *(title.lower().replace(" ", "-") for title in re.findall(r"^#+ (.+)$", text, re.M)))


def test_the_index_lists_every_page_once():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert sorted(re.findall(r"^\| \[([\w.]+)\]\(\1\) \|", index, re.MULTILINE)) == sorted(pages)


def test_commands_beside_those_of_other_projects_exist_with_their_flags_and_settings():
    text = (ROOT / "docs" / "coming_from.md").read_text(encoding="utf-8")
    ours = [
        code for row in re.findall(r"^\|.*? \| (.*) \|$", text, re.MULTILINE) for code in re.findall("`(.*?)`", row)
    ]
    commands = [words for words in map(shlex.split, ours) if words and words[0] in COMMANDS]
    assert len(commands) > 70
    for name, *words in commands:
        args = getattr(importlib.import_module(f"scripts.{COMMANDS[name].flags}"), name)(words)
        if "changes" in args and args.experiment:
            chosen_experiment(args)
        elif "experiment" in args and args.experiment:
            get_experiment(args.experiment)
        if name == "labeled_tracks":
            options = {option.partition("=")[0] for option in args.options}
            assert options <= set(get_dataset(args.dataset).options), words
    assert set(re.findall(r"`((?:irmas|fma|gtzan|coala)_\w+)`", " ".join(f"`{code}`" for code in ours))) <= set(
        EXPERIMENTS
    )
