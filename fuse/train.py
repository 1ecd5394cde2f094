"""The training loop of one run, top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fuse.bank import Bank
from fuse.evaluate import predict
from fuse.loss import affect_loss
from fuse.metrics import Moments
from fuse.models.registry import build_model
from fuse.prepare import Fusion, Preparation
from fuse.settings import FuseSettings, TrainingSettings
from fuse.threads import one_thread


@dataclass(frozen=True)
class Epoch:
    """One line of a run's metrics: loss over the epoch's windows, CCC on the inner split, time since the start."""

    epoch: int
    loss: float
    inner_ccc_valence: float
    inner_ccc_arousal: float
    inner_ccc_mean: float
    learning_rate: float
    seconds: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Trained:
    """The model at its best epoch, and how it came there."""

    model: nn.Module
    best: Epoch
    history: list[Epoch]
    inner_groups: list[str]


def inner_split(groups: list[str], fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Clip numbers to fit on and to choose the epoch on; a group is never in both. Raises ValueError under 2 groups."""
    names = sorted(set(groups))
    if len(names) < 2:
        raise ValueError(f"{len(names)} training group(s) can't be split in two; training wants 2 subjects or more")
    kept = min(max(1, round(fraction * len(names))), len(names) - 1)
    aside = set(np.random.default_rng(seed).permutation(names)[:kept])
    return [i for i, g in enumerate(groups) if g not in aside], [i for i, g in enumerate(groups) if g in aside]


def train(
    bank: Bank, settings: FuseSettings, seed: int, on_epoch: Callable[[Epoch], None] = lambda epoch: None
) -> Trained:
    """Train one model on a bank of training clips. Same bank, settings and seed: same numbers on the same machine.

    The epoch is chosen on an inner split of the training groups; the reported split is nowhere near.
    """
    plan, windows = settings.training, settings.windows
    fitted, aside = inner_split(bank.groups, plan.inner_fraction, plan.inner_seed)
    for clips, purpose in ((fitted, "to fit on"), (aside, "to choose the epoch on")):
        if not bank.labels_valid[bank.rows_of(clips)].any():
            names = ", ".join(sorted({bank.groups[clip] for clip in clips}))
            raise ValueError(
                f"no label is valid in the groups {purpose} ({names}); set another `fuse.training.inner_seed`"
            )
    order = np.random.default_rng(seed)
    # Other cuts each epoch: the grid of every clip begins somewhere else within a hop. Drawn now, because how many
    # windows there are depends on it, and the schedule wants to know.
    grids = order.integers(0, windows.hop, (plan.epochs, len(fitted)))
    steps = sum(-(-len(bank.windows(fitted, windows.length, windows.hop, grid)) // plan.batch) for grid in grids)
    began = time.perf_counter()
    # The seed is ours alone: the caller's random state is as before afterwards.
    with one_thread(), torch.random.fork_rng(devices=[bank.device] if bank.device.type == "cuda" else []):
        torch.manual_seed(seed)
        model = new_model(bank.widths, settings)
        model.preparation.fit(bank, fitted)
        model.to(bank.device).train()
        optimiser = torch.optim.AdamW(model.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: learning_rate_factor(step, steps, plan))
        history: list[Epoch] = []
        best: Epoch | None = None
        best_state: dict[str, Tensor] = {}
        for number in range(1, plan.epochs + 1):
            cuts = bank.windows(fitted, windows.length, windows.hop, grids[number - 1])
            shuffled = torch.from_numpy(order.permutation(len(cuts))).to(bank.device)
            losses = []
            for which in shuffled.split(plan.batch):
                batch = bank.batch(cuts, which)
                out = model(batch.features, batch.valid, batch.inside)
                loss = affect_loss(out, batch.labels, batch.labels_valid, settings.loss)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), plan.clip_norm)
                optimiser.step()
                schedule.step()
                losses.append(loss.detach())
            mean_loss = float(torch.stack(losses).mean())
            if not math.isfinite(mean_loss) or not all(p.isfinite().all() for p in model.parameters()):
                raise ValueError(
                    f"training diverged in epoch {number}: the loss is {mean_loss:g} or a weight is not finite; "
                    "lower `fuse.training.learning_rate`"
                )
            epoch = Epoch(
                number,
                mean_loss,
                *_inner_ccc(model, bank, windows.length, aside),
                float(schedule.get_last_lr()[0]),
                time.perf_counter() - began,
            )
            history.append(epoch)
            on_epoch(epoch)
            if best is None or epoch.inner_ccc_mean > best.inner_ccc_mean:
                best, best_state = epoch, {name: value.clone() for name, value in model.state_dict().items()}
            elif number - best.epoch >= plan.patience:
                break
        assert best is not None
        model.load_state_dict(best_state)
        return Trained(model.eval(), best, history, sorted({bank.groups[clip] for clip in aside}))


def new_model(widths: Mapping[str, int], settings: FuseSettings) -> Fusion:
    """The model of an experiment with fresh weights from torch's current seed, its preparation not yet fitted."""
    names = sorted(widths)  # the order in which settings list modalities changes nothing
    preparation = Preparation({name: widths[name] for name in names}, settings.components, settings.training.shift)
    return Fusion(preparation, build_model(settings.model, preparation.widths, settings.options()))


def learning_rate_factor(step: int, steps: int, plan: TrainingSettings) -> float:
    """Linear warm-up, then half a cosine down to 0 after the last step."""
    warmup = plan.warmup_fraction * steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * min((step - warmup) / max(steps - warmup, 1), 1)))


def _inner_ccc(model: nn.Module, bank: Bank, length: int, clips: list[int]) -> tuple[float, float, float]:
    rows = bank.rows_of(clips).cpu().numpy()
    predictions = predict(model, bank, length, clips)[rows]
    ccc = Moments.of(predictions, bank.labels.cpu().numpy()[rows], bank.labels_valid.cpu().numpy()[rows]).ccc()
    ccc = np.nan_to_num(ccc, nan=0.0)
    return float(ccc[0]), float(ccc[1]), float(ccc.mean())
