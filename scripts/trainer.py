"""Training and testing one network: epochs, ensemble test, checkpoints, TensorBoard."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from tqdm import tqdm

from scripts.common.cpu_pooling import use_cpu_kernels
from scripts.common.distributed import (
    gather,
    gather_rows,
    of_first_rank,
    rank,
    replicated,
    share_buffers,
    wait_for_all,
)
from scripts.common.errors import CheckpointError, TrainingError
from scripts.common.machine import (
    choose_device,
    choose_precision,
    in_float32,
    in_training,
    name_of,
    set_deterministic,
    without_subnormals,
)
from scripts.common.storage import write_csv
from scripts.config.experiment import TrainingSettings
from scripts.config.run import Run
from scripts.metrics.single_label import METRICS, Metric
from scripts.metrics.test_scores import Scores, make_scores
from scripts.models import Network
from scripts.training.checkpoints import load_checkpoint, load_weights, save_checkpoint
from scripts.training.ensemble import EnsembleBuffer
from scripts.training.freezing import freeze_backbone, train_mode, unfreeze
from scripts.training.losses import BinaryCrossEntropy
from scripts.training.optim import goes_by_batch
from scripts.training.run_log import RunLog, describe_epoch
from scripts.training.weight_average import WeightAverage

LOG_EVERY = 10  # batches
HISTORY = "metrics.csv"
Batches = Iterable[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]  # what a loader yields: x, y, track


class Trainer:
    """Trains and tests a network; loaders yield (x [batch, channels, mels, frames], y [batch], track [batch]).

    With several labels a track, y is float32 [batch, labels], and the test gives `MultiLabelScores`. In one of several
    ranks, loaders yield its shares; all ranks get the loss, the scores and the history of the whole.

    Parameters
    ----------
    model, criterion, optimizer, scheduler : as torch has them; the criterion takes (logits, labels), or with its
        attribute `on_embeddings` (embeddings, logits, labels). The scheduler is stepped after each epoch; OneCycleLR
        and CyclicLR after each batch; a plateau scheduler is given the validation metric.
    settings : epochs, patience, precision, device and so on. `precision` is for convolutions and products in training;
        weights stay float32, and tests compute in float32 throughout.
    average : averages the weights; the average is what gets tested and saved.
    run : where the event files, the checkpoints and metrics.csv go, from rank 0; None writes nothing.
    """

    def __init__(
        self,
        model: Network,
        criterion: Callable[..., torch.Tensor],
        optimizer: torch.optim.Optimizer,
        scheduler: LRScheduler | ReduceLROnPlateau | None = None,
        settings: TrainingSettings = TrainingSettings(),  # noqa: B008 - never changed
        average: WeightAverage | None = None,
        run: Run | None = None,
    ) -> None:
        set_deterministic(settings.deterministic)
        self.device = choose_device(settings.device)
        self.model = model.to(self.device).to(memory_format=torch.channels_last)
        for network in (model, average.averaged) if average else (model,):
            use_cpu_kernels(network)
        self.network: nn.Module = self.model  # or what shares its gradients among ranks
        self.criterion, self.optimizer, self.scheduler, self.average = criterion, optimizer, scheduler, average
        self.on_embeddings = getattr(criterion, "on_embeddings", False)
        self.settings, self.precision = settings, choose_precision(settings.precision, self.device)
        self.run, self.log = run, RunLog(run.logs if run and not rank() else None)
        self.history: list[dict[str, Any]] = []
        self.best_epoch, self.best_value, self.steps = 0, float("nan"), 0

    # --- one pass over the data ---

    def train(self, loader: Batches, epoch: int) -> dict[str, float]:
        """One epoch of training.

        Returns
        -------
        train_loss, learning_rate, samples_per_second, and with one label a track train_clip_accuracy (while the
        weights change, with dropout).

        Raises
        ------
        TrainingError : the loss is not finite; the tracks of the batch are named and nothing is saved.
        """
        (freeze_backbone if epoch <= self.settings.frozen_epochs else unfreeze)(self.model)
        train_mode(self.model)
        self.network = replicated(self.model)
        start, total, correct, seen = time.perf_counter(), 0.0, 0, 0
        for batch in self.batches(loader, epoch, "train"):
            loss, hits, count = self.step(*batch)
            self.check_finite(loss, batch[2], loader)
            total, correct, seen = total + loss * count, correct + hits, seen + count
            self.steps += 1
            if goes_by_batch(self.scheduler):
                self.scheduler.step()
            if self.steps % LOG_EVERY == 0:
                self.log.add({"train/batch_loss": loss}, self.steps)
        items = getattr(loader, "items", None)
        multi_label = items is not None and items.labels.ndim == 2
        return {
            "train_loss": float(total / seen),
            **({} if multi_label else {"train_clip_accuracy": float(correct / seen)}),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "samples_per_second": seen / (time.perf_counter() - start),
        }

    @without_subnormals()
    def step(self, x: torch.Tensor, y: torch.Tensor, track: torch.Tensor) -> tuple[float, int, int]:
        """One update of the weights; returns the batch's mean loss, its number of correct items, and of items."""
        self.optimizer.zero_grad()
        loss, members, y = self.loss(x, y.to(self.device))
        loss.backward()
        if self.settings.grad_clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.grad_clip)
        self.optimizer.step()
        if self.average:
            self.average.after_step(self.model)
        labels = y.argmax(1) if y.ndim == 2 else y
        return loss.item() / len(members), int((members.detach().mean(0).argmax(1) == labels).sum()), len(y)

    def loss(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The sum of the losses of all networks in `model` (one, or a committee), their logits [networks, ...], and y.

        All are of the whole batch, in each rank; so weights, unknown labels and uneven shares count as in one process.
        """
        if self.on_embeddings:
            embeddings, logits = self.embed(x)
            return self.criterion(embeddings, logits, y), logits[None], y
        logits = self.forward(x)
        members = logits if logits.ndim == 3 else logits[None]
        members, y = gather_rows(members.transpose(0, 1)[: len(y)]).transpose(0, 1), gather_rows(y)
        loss = sum((self.criterion(member, y) for member in members), torch.zeros((), device=self.device))
        return loss, members, y

    @torch.inference_mode()
    def test(self, loader: Batches, epoch: int = 0, clips_per_track: int = 10) -> Scores:
        """Score every clip, then every track by the mean of its clips' logits, in float32.

        `clips_per_track` is for loaders without `items`, which have the number of each track.

        Raises
        ------
        EnsembleError : a track's clips are incomplete, too many, or of different labels.
        """
        model = self.tested_model().eval()
        share_buffers(model)
        items = getattr(loader, "items", None)
        expected = clips_per_track if items is None else items.tracks["items"].to_numpy()
        buffer = EnsembleBuffer(expected, None if items is None else items.tracks["track_id"].tolist())
        batches = []
        for x, y, track in self.batches(loader, epoch, "test"):
            with in_float32(self.device):
                logits = model(self.place(x)).float().cpu().numpy()
            batches.append((logits, y.cpu().numpy(), track.cpu().numpy()))
        batches = [batch for share in gather(batches) for batch in share]
        for batch in batches:
            buffer.add(*batch)
        means, truth = buffer.result()
        criterion = self.criterion
        if self.on_embeddings:  # there are logits alone
            criterion = BinaryCrossEntropy() if truth.ndim == 2 else nn.functional.cross_entropy
        given, wanted = (torch.as_tensor(values, device=self.device) for values in (means.astype(np.float32), truth))
        logits, labels, tracks = (np.concatenate(parts) for parts in zip(*batches, strict=True))
        return make_scores(criterion(given, wanted).item(), logits, labels, tracks, means, truth)

    def tested_model(self) -> nn.Module:
        """The network whose scores and weights count: the average of weights if there is one."""
        return self.average.tested(self.model) if self.average else self.model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits in training, as float32."""
        with in_training(self.device, self.precision):
            return self.network(self.place(x)).float()

    def embed(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings and logits in training, as float32."""
        with in_training(self.device, self.precision):
            embeddings = self.model.embed(self.place(x))
            return embeddings.float(), self.model.head(embeddings).float()

    def place(self, x: torch.Tensor) -> torch.Tensor:
        """On the device, its channels last in memory."""
        return x.to(self.device, memory_format=torch.channels_last)

    def batches(self, loader: Batches, epoch: int, name: str) -> tqdm:
        if hasattr(loader, "set_epoch"):
            loader.set_epoch(epoch)
        hidden = True if rank() else None  # None shows it on a terminal alone
        return tqdm(loader, f"{name} epoch {epoch}", leave=False, unit=" batches", mininterval=0.5, disable=hidden)

    def check_finite(self, loss: float, track: torch.Tensor, loader: Batches) -> None:
        if np.isfinite(loss):
            return
        items, numbers = getattr(loader, "items", None), sorted(set(gather_rows(track).tolist()))
        names = numbers if items is None else items.tracks["track_id"].iloc[numbers].tolist()
        kept = f"; the last good checkpoint is in {self.run.checkpoints}" if self.best_epoch and self.run else ""
        raise TrainingError(
            f"the loss became {loss} at step {self.steps + 1}, in a batch of the tracks {', '.join(map(str, names))}; "
            f"lower the learning rate or set grad_clip=1{kept}"
        )

    # --- many epochs ---

    def fit(
        self,
        train_loader: Batches,
        validation_loader: Batches | None,
        metric: str = "track_accuracy",
        resume: bool = False,
        description: str = "",
    ) -> pd.DataFrame:
        """Train for all epochs, keep the best by validation, and return the history (one row an epoch).

        Parameters
        ----------
        validation_loader : what chooses the best epoch; may be None with the metric "last".
        metric : what chooses the best epoch, one of `METRICS`; each knows its direction.
        resume : go on from last.pt if it is there; the result is the same as without the interruption.
        description : Markdown for TensorBoard's text page.

        Raises
        ------
        TrainingError : as `train`; or an operation has no deterministic form, where the settings ask for it.
        """
        chosen, patience = METRICS[metric], self.settings.patience
        first = self.resume() + 1 if resume else 1
        if not self.best_epoch:
            self.best_value = chosen.worst
        self.log.open(description if first == 1 else "", self.steps)
        if self.settings.epochs == 0:
            self.save(0, improved=True)
        for epoch in range(first, self.settings.epochs + 1):
            if patience is not None and epoch - 1 - self.best_epoch >= patience:
                break
            try:
                self.run_epoch(train_loader, validation_loader, epoch, chosen)
            except RuntimeError as error:
                if "does not have a deterministic implementation" not in str(error):
                    raise
                raise TrainingError(
                    f"deterministic=true, but torch's {str(error).split()[0]} has no such form on {self.device}; set "
                    "deterministic=false, or take another network or device"
                ) from None
        self.network = self.model
        self.log.close()
        wait_for_all()  # for best.pt
        return pd.DataFrame(self.history)

    def run_epoch(self, train_loader: Batches, validation: Batches | None, epoch: int, metric: Metric) -> None:
        row = {"epoch": epoch, **self.train(train_loader, epoch)}
        if self.average:
            self.average.after_epoch(self.model, epoch)
        if validation is not None:
            scores = self.test(validation, epoch)
            row |= {f"validation_{name}": value for name, value in scores.as_row().items()}
        self.history.append(row)
        value = of_first_rank(row[metric.name])
        improved = metric.improves(value, self.best_value)
        if improved:
            self.best_epoch, self.best_value = epoch, value
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(value)
        elif self.scheduler is not None and not goes_by_batch(self.scheduler):
            self.scheduler.step()
        self.log.add_epoch(row)
        self.save(epoch, improved)
        tqdm.write(describe_epoch(row, improved))

    # --- checkpoints ---

    def save(self, epoch: int, improved: bool) -> None:
        """Write the history, best.pt and epoch_NNN.pt where due, and last, as the mark of a finished epoch, last.pt."""
        random = self.random_states()
        if self.run is None or rank():
            return
        if self.history:
            write_csv(self.run.report / HISTORY, pd.DataFrame(self.history))
        weights = {"epoch": epoch, "model": self.tested_model().state_dict(), "precision": name_of(self.precision)}
        every = self.settings.keep_epochs
        kept = every > 0 and epoch > 0 and epoch % every == 0
        for name in ["best.pt"] * improved + [f"epoch_{epoch:03d}.pt"] * kept:
            save_checkpoint(self.run.checkpoints / name, weights)
        save_checkpoint(self.run.checkpoints / "last.pt", weights | self.training_state() | random)

    def training_state(self) -> dict[str, Any]:
        """All that the next epoch depends on besides the weights and random numbers."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict() if self.scheduler else {},
            "criterion": self.criterion.state_dict() if isinstance(self.criterion, nn.Module) else {},
            "average": self.average.state_dict() | {"raw": self.model.state_dict()} if self.average else {},
            "best_epoch": self.best_epoch,
            "best_value": self.best_value,
            "steps": self.steps,
        }

    def random_states(self) -> dict[str, Any]:
        """Those of torch's generators, for each rank."""
        gpu = [torch.cuda.get_rng_state(self.device)] if self.device.type == "cuda" else []
        return {"random": gather(torch.get_rng_state()), "random_gpu": sum(gather(gpu), [])}

    def resume(self) -> int:
        """Load last.pt, if there is one, and return its epoch; 0 without one.

        Raises
        ------
        CheckpointError : it is damaged, or another network's.
        """
        if self.run is None or not (path := self.run.checkpoints / "last.pt").exists():
            return 0
        state = load_checkpoint(path)
        load_weights(self.model, state, path)
        try:
            self.restore(state)
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            raise CheckpointError(f"{path}: cannot be resumed from ({error}); start anew under another --tag") from None
        if (history := self.run.report / HISTORY).is_file():
            rows = pd.read_csv(history)
            self.history = rows[rows["epoch"] <= state["epoch"]].to_dict("records")
        return state["epoch"]

    def restore(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler:
            self.scheduler.load_state_dict(state["scheduler"])
        if isinstance(self.criterion, nn.Module):
            self.criterion.load_state_dict(state["criterion"])
        if self.average:
            self.model.load_state_dict(state["average"].pop("raw"))
            self.average.load_state_dict(state["average"])
        states = state["random"] if isinstance(state["random"], list) else [state["random"]]  # as older runs have it
        if rank() < len(states):  # else there were fewer ranks, and this one keeps its own
            torch.set_rng_state(states[rank()])
        if self.device.type == "cuda" and rank() < len(state["random_gpu"]):
            torch.cuda.set_rng_state(state["random_gpu"][rank()], self.device)
        self.best_epoch, self.best_value, self.steps = state["best_epoch"], state["best_value"], state["steps"]
