"""Dense long-term anticipation: observe the first part of a video, name the class of every frame of a later part.

Protocol: Abu Farha, Richard, Gall, "When will you do what?" (CVPR 2018) for observation, horizon and mean over classes (MoC);
Zatsarynna et al., GTDA (ECCV 2024) for mean and top-1 MoC over sampled futures and for the training recipe.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from longview.data.anticipation import AnticipationBatch, AnticipationExamples
from longview.data.source import Description, FrameSource, Part
from longview.metrics.moc import MoC, mean_over_classes, result_rows, window_counts
from longview.models.blocks.ema import ExponentialMovingAverage
from longview.tasks.base import Picture, Result, Task
from longview.types import Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Ratio
from longview.viz.anticipation import anticipation_strip, save_figure


@dataclass(frozen=True)
class Prediction:
    """The futures of one test video.

    Attributes:
        video, observation, stride: What was predicted from which part at which stride.
        samples: Class ids int16 [S, T] per strided frame, the observed part included.
        labels: Ground truth int16 [L] at full rate.
    """

    video: str
    observation: float
    stride: int
    samples: Tensor
    labels: Tensor

    def score(self, horizon: float, num_classes: int) -> float:
        """Mean MoC of this video alone over one horizon; 0 where the window is empty."""
        observation = round(self.observation, 6)  # it travelled as float32
        counts = window_counts(self.samples.long(), self.labels.long(), observation, (horizon,), num_classes, self.stride)
        return float(mean_over_classes(counts.right[:, 0], counts.support[0]).nan_to_num(0.0).mean())


def spread(count: int, wanted: int) -> list[int]:
    """``wanted`` indices spread evenly over 0..count-1, both ends included, in order and without repeats."""
    if wanted >= count:
        return list(range(count))
    return [round(i * (count - 1) / max(wanted - 1, 1)) for i in range(wanted)]


class Anticipation(Task):
    """Trains and scores a model of frame-wise future classes.

    Args:
        model: An anticipation model (``training_loss``, ``anticipate``; a control without training may have ``memorise``).
        description: Of the data.
        seed: Decides the sampled futures.
        observations, horizons: Evaluated fractions of a video.
        train_observations: Each training video appears once per fraction and epoch.
        random_observation: Probability of replacing that fraction by one drawn from ``random_range``.
        num_samples: Futures drawn per test video; ``validation_samples`` per validation video.
        lr, weight_decay: Of Adam. plateau_factor, plateau_patience: lr is cut when the epoch's training loss stalls.
        ema: Evaluate an exponential moving average of the weights.
        figures: Number of test videos drawn.
    """

    monitor = "val/moc"
    primary = "test/mean_moc"

    def __init__(
        self,
        model: nn.Module,
        description: Description,
        seed: int,
        *,
        observations: list[Fraction] = [0.2, 0.3],  # noqa: B006 - the signature is the schema; never changed in place
        horizons: list[Fraction] = [0.1, 0.2, 0.3, 0.5],  # noqa: B006
        train_observations: list[Fraction] = [0.2, 0.3, 0.5],  # noqa: B006
        random_observation: Ratio = 0.4,
        random_range: list[Fraction] = [0.15, 0.40],  # noqa: B006
        num_samples: PositiveInt = 25,
        validation_samples: PositiveInt = 5,
        lr: PositiveFloat = 5e-4,
        weight_decay: NonNegativeFloat = 0.0,
        plateau_factor: Fraction = 0.5,
        plateau_patience: NonNegativeInt = 10,
        ema: bool = True,
        figures: NonNegativeInt = 6,
    ) -> None:
        super().__init__()
        self.model, self.description, self.sampling_seed = model, description, seed
        self.observations, self.horizons = tuple(observations), tuple(horizons)
        self.train_observations, self.random_observation = tuple(train_observations), random_observation
        self.random_range = (random_range[0], random_range[1])
        self.num_samples, self.validation_samples = num_samples, validation_samples
        self.lr, self.weight_decay = lr, weight_decay
        self.plateau_factor, self.plateau_patience = plateau_factor, plateau_patience
        self.figures = figures
        self.ema = ExponentialMovingAverage(model) if ema and self.trainable else None
        shape = (self.observations, self.horizons, description.num_classes)
        self.mean_moc, self.top1_moc = MoC(*shape, select="all"), MoC(*shape, select="best")
        self.val_moc = MoC(*shape, select="all")
        self.predictions: list[Prediction] = []

    # data -----------------------------------------------------------------------------------------------------------

    def examples(self, source: FrameSource, part: Part) -> AnticipationExamples:
        """Training examples for the part "train", the evaluation protocol otherwise."""
        training = part == "train"
        return AnticipationExamples(
            source,
            part,
            observations=self.train_observations if training else self.observations,
            future=max(self.horizons),
            random_observation=self.random_observation,
            random_range=self.random_range,
            seed=self.sampling_seed,
        )

    def memory(self, source: FrameSource) -> AnticipationExamples:
        """The training part in evaluation form: what a control without training may look at."""
        return AnticipationExamples(
            source,
            "train",
            training=False,
            observations=self.observations,
            future=max(self.horizons),
        )

    # training -------------------------------------------------------------------------------------------------------

    @property
    def evaluated(self) -> Any:
        """The model that is scored: the average of the weights where one is kept."""
        return self.model if self.ema is None else self.ema.averaged

    def training_step(self, batch: AnticipationBatch, batch_idx: int) -> Tensor:
        """The model's own loss; logged per video."""
        loss = cast(Tensor, cast(Any, self.model).training_loss(batch))
        mine, size = loss.detach() / len(batch), len(batch)
        self.log("train/loss", mine, batch_size=size, prog_bar=True)
        # The epoch's mean drives the learning rate: it must be the same on every rank, or their weights would drift apart.
        self.log("train/loss_epoch", mine, on_step=False, on_epoch=True, sync_dist=True, batch_size=size)
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """One optimizer step, then the average takes the new weights in."""
        super().optimizer_step(*args, **kwargs)
        if self.ema is not None:
            self.ema.update(self.model)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam, learning rate cut on a plateau of the epoch's training loss."""
        optimizer = torch.optim.Adam(self.model.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, mode="min", factor=self.plateau_factor, patience=self.plateau_patience
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": plateau, "monitor": "train/loss_epoch", "interval": "epoch"},
        }

    # scoring --------------------------------------------------------------------------------------------------------

    def validation_step(self, batch: AnticipationBatch, batch_idx: int) -> None:
        """Loss at fixed noise, and mean MoC over a few samples."""
        with torch.random.fork_rng(devices=[]):  # training must not notice whether validation ran
            torch.manual_seed(batch_idx)
            loss = cast(Tensor, self.evaluated.training_loss(batch))
        self.log("val/loss", loss / len(batch), batch_size=len(batch), sync_dist=True)
        for found in self._predict(batch, self.validation_samples):
            self.val_moc.update(found.samples, found.labels, found.observation, found.stride)

    def on_validation_epoch_end(self) -> None:
        """Mean of the MoC over the protocol's observations and horizons."""
        moc = self.val_moc.compute()["moc"]
        self.log("val/moc", moc.nanmean().float(), prog_bar=True, sync_dist=True)  # equal on all ranks
        self.val_moc.reset()

    def on_test_epoch_start(self) -> None:
        """Forget an earlier pass."""
        self.predictions = []
        self.mean_moc.reset()
        self.top1_moc.reset()

    def test_step(self, batch: AnticipationBatch, batch_idx: int) -> None:
        """Draw the futures and count."""
        for found in self._predict(batch, self.num_samples):
            self.mean_moc.update(found.samples, found.labels, found.observation, found.stride)
            self.top1_moc.update(found.samples, found.labels, found.observation, found.stride)
            self.predictions.append(found)

    def on_test_epoch_end(self) -> None:
        """Log every figure of the result; every rank then holds every prediction."""
        self.scores = result_rows(self.mean_moc, self.top1_moc)
        for name, value in self._metrics().items():
            self.log(name, value, sync_dist=True)  # equal on all ranks
        if self.trainer.world_size > 1:
            everyone: list[Any] = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(everyone, self.predictions)
            self.predictions = sorted((p for part in everyone for p in part), key=lambda p: (p.video, p.observation))

    def _predict(self, batch: AnticipationBatch, num_samples: int) -> list[Prediction]:
        """Futures of a batch, one ``Prediction`` per video, cut to its own length and on the CPU."""
        drawn = self.evaluated.anticipate(batch, num_samples, self.sampling_seed).cpu()
        if batch.labels is None:
            raise ValueError("evaluation needs a batch with full-rate labels")
        found = []
        for i, video in enumerate(batch.videos):
            own, length = int(batch.valid[i].sum()), int(batch.lengths[i])
            found.append(
                Prediction(
                    video=video,
                    observation=float(batch.observation[i]),
                    stride=batch.stride,
                    samples=drawn[i, :, :own].to(torch.int16),
                    labels=batch.labels[i, :length].cpu().to(torch.int16),
                )
            )
        return found

    # result ---------------------------------------------------------------------------------------------------------

    def _metrics(self) -> dict[str, float]:
        scores = torch.tensor([row["mean_moc"] for row in self.scores])
        metrics = {self.primary: float(scores.nanmean())}  # over the protocol's observations and horizons, as in validation
        for row in self.scores:
            place = f"obs{row['observation']:g}/horizon{row['horizon']:g}"
            for name in ("mean_moc", "top1_moc", "mof"):
                metrics[f"test/{name}/{place}"] = row[name]
        return metrics

    def result(self) -> Result:
        """The published table: observation and horizon against mean and top-1 MoC, in percent."""
        names = {"mean_moc": "Mean MoC", "top1_moc": "Top-1 MoC", "mof": "Frame accuracy"}
        rows: list[list[str | float]] = []
        for a in self.observations:
            for key, name in names.items():
                scores = [100 * r[key] for r in self.scores if r["observation"] == a]
                rows.append([f"{100 * a:g} %", name, *scores])
        samples = self.num_samples if self.trainable else 1
        return Result(
            metrics=self._metrics(),
            columns=["Observed", "Metric", *(f"next {100 * b:g} %" for b in self.horizons)],
            rows=rows,
            note=f"percent; mean over the classes that occur, pooled over the test videos; {samples} sample(s) per video",
        )

    def draw(self, folder: Path) -> list[Picture]:
        """Timelines of some test videos: their scores spread evenly from worst to best, worst first."""
        horizon, classes = max(self.horizons), self.description.num_classes
        ranked = sorted(self.predictions, key=lambda p: (p.score(horizon, classes), p.video))
        pictures = []
        for found in [ranked[i] for i in spread(len(ranked), self.figures)]:
            figure = anticipation_strip(
                found.samples.numpy(),
                found.labels.numpy(),
                found.observation,
                num_classes=classes,
                horizon=horizon,
                stride=found.stride,
                names=self.description.class_names,
                video=found.video,
            )
            percent = f"{100 * found.observation:.0f}"
            path = save_figure(figure, folder / f"{Path(found.video).name}_obs{percent}.png")
            pictures.append(Picture(path, f"{found.video}, observed {percent} %"))
        return pictures

    def save_predictions(self, path: Path) -> None:
        """Every sampled future, int16: "<video>/<observed fraction>/{samples,labels}" and "stride"."""
        arrays: dict[str, Any] = {"stride": np.array([p.stride for p in self.predictions[:1]])}
        for p in self.predictions:
            arrays[f"{p.video}/{p.observation:.2f}/samples"] = p.samples.numpy()
            arrays[f"{p.video}/{p.observation:.2f}/labels"] = p.labels.numpy()
        temporary = path.with_name(f".{path.name}")
        with temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)
        temporary.replace(path)

    def forward_once(self, batch: AnticipationBatch) -> Tensor:
        """One pass of the network (one denoising step where the model is a diffusion)."""
        return cast(Tensor, self.model(batch))

    def size_of(self, batch: AnticipationBatch) -> str:
        """Length of the batch in network steps."""
        return f"one pass over {batch.valid.shape[1]} steps"
