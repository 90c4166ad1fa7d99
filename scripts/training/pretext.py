"""Self-supervised start: tasks on spectrograms that need no labels, and taking over the weights they taught.

A task corrupts items, which gives the targets; the network has the task's head in place of its own.
What is drawn for item i in epoch e depends on (seed, e, i) alone.
"""

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from scripts.common.errors import CheckpointError
from scripts.training.checkpoints import load_checkpoint

Take = Callable[[np.ndarray], torch.Tensor]  # numbers of items -> float32 [batch, channels, rows, frames], normalised
Shape = tuple[int, int, int]  # channels, rows and frames of an item

STREAM = zlib.crc32(b"pretext")  # keeps these draws apart from the loader's
DECODER = 32, 16  # channels, each of which becomes 4 x 4 times as many positions
UPSCALE = 4
ORIGINAL, MOVED, REPLACED = range(3)  # what may have become of a tile
ENOUGH = 0.5  # share of a backbone's tensors that a checkpoint must have


class PretextTask(ABC):
    """What the tasks share: in each epoch, `columns` new random numbers for each of `items` items."""

    def __init__(self, shape: Shape, items: int, seed: int, columns: int) -> None:
        self.shape, self.items, self.seed, self.columns = shape, items, seed, columns
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Draw for all items of an epoch."""
        generator = np.random.default_rng((self.seed, epoch, STREAM))
        self.uniform = generator.random((self.items, self.columns), np.float32)

    @abstractmethod
    def corrupt(self, take: Take, chosen: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """The items `chosen`, corrupted [batch, channels, rows, frames], and the target of `loss` [batch, numbers]."""

    @abstractmethod
    def make_head(self, width: int) -> nn.Module:
        """What turns embeddings [batch, width] into the output for `loss` [batch, numbers]."""

    @abstractmethod
    def loss(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """A mean over the batch."""


class MaskedPatches(PretextTask):
    """Random patches of an item become 0, and a small decoder restores them from the embedding.

    K. He et al. Masked Autoencoders Are Scalable Vision Learners. CVPR 2022; on spectrograms P.-Y. Huang et al. Masked
    Autoencoders that Listen. NeurIPS 2022. Theirs is a transformer that is not shown the hidden patches; a
    convolution has to be shown something, the mean of items normalised by "item". Such items' mean scores a loss of 1.

    Parameters
    ----------
    shape, items, seed : of the items.
    patch : rows and frames of a patch; those at the far edges may be smaller.
    share : of the patches that are hidden, the same number in each item.

    Raises
    ------
    ValueError : settings that hide every patch, or none.
    """

    def __init__(self, shape: Shape, items: int, seed: int, patch: int = 16, share: float = 0.6) -> None:
        check_whole("patch", patch, minimum=1)
        self.patch, self.grid = patch, tuple(-(-size // patch) for size in shape[1:])
        patches = self.grid[0] * self.grid[1]
        self.hidden = round(share * patches)
        if not 0 < self.hidden < patches:
            raise ValueError(
                f"hides {self.hidden} of the {patches} patches of an item of {shape[1]} rows x {shape[2]} frames; "
                "hide one at least, and not all"
            )
        super().__init__(shape, items, seed, patches)

    def corrupt(self, take: Take, chosen: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """The masked items, and their values [batch, channels * rows * frames], NaN where nothing is hidden."""
        x = take(chosen)
        hidden = self.mask(chosen).to(x.device)
        return x.masked_fill(hidden, 0), x.masked_fill(~hidden, torch.nan).flatten(1)

    def mask(self, chosen: np.ndarray) -> torch.Tensor:
        """bool [batch, 1, rows, frames], true in the patches with the smallest of the item's draws."""
        rank = self.uniform[chosen].argsort(axis=1, kind="stable").argsort(axis=1)
        hidden = torch.from_numpy(rank < self.hidden).view(-1, 1, *self.grid)
        whole = hidden.repeat_interleave(self.patch, 2).repeat_interleave(self.patch, 3)
        return whole[..., : self.shape[1], : self.shape[2]]

    def make_head(self, width: int) -> nn.Module:
        """A coarse map from the embedding, then two transposed convolutions: [batch, channels * rows * frames]."""
        channels, *size = self.shape
        coarse = [-(-length // UPSCALE**2) for length in size]
        return nn.Sequential(
            nn.Linear(width, DECODER[0] * coarse[0] * coarse[1]),
            nn.ReLU(),
            nn.Unflatten(1, (DECODER[0], *coarse)),
            nn.ConvTranspose2d(*DECODER, UPSCALE, UPSCALE),
            nn.ReLU(),
            nn.ConvTranspose2d(DECODER[1], channels, UPSCALE, UPSCALE),
            Crop(*size),
            nn.Flatten(),
        )

    def loss(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The mean square error over the hidden positions."""
        hidden = ~target.isnan()
        return mse_loss(output[hidden], target[hidden])


class Crop(nn.Module):
    """[..., rows or more, frames or more] -> [..., rows, frames], the first of each."""

    def __init__(self, rows: int, frames: int) -> None:
        super().__init__()
        self.rows, self.frames = rows, frames

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[..., : self.rows, : self.frames]


class TilePuzzle(PretextTask):
    """Of each tile of an item: is it the original one, moved from another place, or replaced by another item's?

    After K. Clark et al. ELECTRA: Pre-training Text Encoders as Discriminators Rather Than Generators. ICLR 2020. The
    tiles change independently of each other, and of the other items in the batch. The shares alone give a loss of 1.09
    (their entropy).

    Parameters
    ----------
    shape, items, seed : of the items.
    grid : tiles along each axis; rows and frames that are left over stay as they are.
    moved, replaced : shares of the tiles.

    Raises
    ------
    ValueError : more tiles than rows or frames, shares that are none, or a single item.
    """

    def __init__(
        self, shape: Shape, items: int, seed: int, grid: int = 4, moved: float = 0.3, replaced: float = 0.3
    ) -> None:
        check_whole("grid", grid, minimum=2)
        if grid > min(shape[1:]):
            raise ValueError(f"{grid} x {grid} tiles of an item of {shape[1]} rows x {shape[2]} frames; take fewer")
        if min(moved, replaced) < 0 or not 0 < moved + replaced <= 1:
            raise ValueError("moved and replaced must be at least 0, and their sum above 0 and at most 1")
        if items < 2:
            raise ValueError(f"{items} item; a tile of another one needs at least 2")
        self.grid, self.tiles, self.moved, self.replaced = grid, grid * grid, moved, replaced
        super().__init__(shape, items, seed, 2 * grid * grid + 1)

    def corrupt(self, take: Take, chosen: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """The puzzles, and what each of their tiles is, int64 [batch, tiles], row by row."""
        kinds, places, partners = (torch.from_numpy(part) for part in self.draw(chosen))
        x, others = take(chosen), take(partners.numpy())
        kinds, places = kinds.to(x.device), places.to(x.device)
        own = self.cut(x)
        moved = own[torch.arange(len(own), device=x.device)[:, None], places]
        which = kinds[:, :, None, None, None]
        tiles = torch.where(which == MOVED, moved, torch.where(which == REPLACED, self.cut(others), own))
        return self.paste(tiles, x), kinds

    def draw(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What becomes of each tile [batch, tiles], the place a moved one is from, and the other item [batch]."""
        uniform = self.uniform[chosen].astype(np.float64)
        change, step, partner = uniform[:, : self.tiles], uniform[:, self.tiles : -1], uniform[:, -1]
        kinds = np.select([change < self.replaced, change < self.replaced + self.moved], [REPLACED, MOVED], ORIGINAL)
        return kinds, another(np.arange(self.tiles), step, self.tiles), another(chosen, partner, self.items)

    def cut(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, channels, rows, frames] -> its tiles [batch, tiles, channels, tile rows, tile frames]."""
        rows, frames = (size // self.grid for size in x.shape[2:])
        whole = x[..., : rows * self.grid, : frames * self.grid]
        apart = whole.unflatten(3, (self.grid, frames)).unflatten(2, (self.grid, rows))
        return apart.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)

    def paste(self, tiles: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """`x` with other tiles; the inverse of `cut`."""
        apart = tiles.unflatten(1, (self.grid, self.grid)).permute(0, 3, 1, 4, 2, 5)
        whole = apart.flatten(4).flatten(2, 3)
        result = x.clone()
        result[..., : whole.shape[2], : whole.shape[3]] = whole
        return result

    def make_head(self, width: int) -> nn.Module:
        """Three logits for each tile, [batch, tiles * 3]."""
        return nn.Linear(width, self.tiles * 3)

    def loss(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The cross entropy, mean over tiles."""
        return cross_entropy(output.view(-1, 3), target.flatten())


def another(own: np.ndarray, uniform: np.ndarray, count: int) -> np.ndarray:
    """One of the numbers 0 to `count` - 1, but not `own`, as a draw from [0, 1) chooses."""
    return (own + 1 + (uniform * (count - 1)).astype(np.int64)) % count


def check_whole(name: str, value: int, minimum: int) -> None:
    if not isinstance(value, int) or value < minimum:
        raise ValueError(f"{name} is no whole number of at least {minimum}")


TASKS: dict[str, type[PretextTask]] = {"mae": MaskedPatches, "tiles": TilePuzzle}


# --- what the tasks are for -------------------------------------------------------------------------------------


def load_backbone(model: nn.Module, checkpoint: str | Path) -> int:
    """Copy a checkpoint's weights into all of a network but its `head`, where names and shapes are the same.

    Parameters
    ----------
    model : what is to start from them.
    checkpoint : of a pretraining, or of any run.

    Returns
    -------
    How many tensors were copied, out of those outside the head.

    Raises
    ------
    CheckpointError : no such file, or less than half of them fit.
    """
    known = load_checkpoint(checkpoint)["model"]
    own = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("head.")}
    fits = {name: known[name] for name, tensor in own.items() if fitting(known, name, tensor)}
    if not fits or len(fits) < ENOUGH * len(own):
        strange = [name for name in own if name not in fits]
        raise CheckpointError(
            f"{checkpoint}: fits {len(fits)} of the network's {len(own)} tensors (not {', '.join(strange[:3])}); "
            "give a checkpoint of the same model with the same settings and spectrograms"
        )
    model.load_state_dict(fits, strict=False)
    return len(fits)


def fitting(known: dict[str, torch.Tensor], name: str, tensor: torch.Tensor) -> bool:
    return isinstance(known, dict) and name in known and getattr(known[name], "shape", None) == tensor.shape
