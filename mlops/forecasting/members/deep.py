"""What the networks share: windows of all series, one set of weights, the epoch that validated best. Pure; PyTorch."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from mlops.forecasting.members.windows import CHUNK, around_their_means, some, windows
from mlops.forecasting.panel import CannotForecast, Panel
from sensors.readings import Floats, Ints

LEAST_LAGS = 8
MOST_VALIDATED = 4_000
BATCH = 128
LEAST_STEPS = 240  # of learning: a short history is gone through more often
STILL = 1e-9  # a spread that is none


class Deep:
    """`network` makes one for windows of `needs` steps, each around its own mean and in units of its own spread."""

    lags = 336
    epochs = 6
    rate = 1e-3
    most_windows = 25_000

    def __init__(self, horizon: int, *, seed: int = 1) -> None:
        self.horizon = horizon
        self.seed = seed
        self.needs = self.lags

    def network(self) -> nn.Module:
        raise NotImplementedError

    def fit(self, history: Panel, n_train: int) -> Deep:
        self.needs = min(self.lags, (n_train - self.horizon) // 3)
        if self.needs < LEAST_LAGS:
            raise CannotForecast(
                f"{n_train:,} steps to learn from are too few for {self.horizon:,} steps ahead; at least "
                f"{self.horizon + 3 * LEAST_LAGS:,} are needed"
            )
        n_series = history.values.shape[1]
        train = self._tensors(
            history.head(n_train), some(self.needs, n_train - self.horizon + 1, self.most_windows // n_series)
        )
        validation = self._tensors(history, some(n_train, len(history) - self.horizon + 1, MOST_VALIDATED // n_series))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.network_ = self.network()
            if len(train[0]):
                self._learn(train, validation)
        # Two ways to the same forecast then differ by less than anybody can see, however it was batched.
        self.network_ = self.network_.double().eval()
        return self

    def _tensors(self, panel: Panel, origins: Ints) -> tuple[Tensor, Tensor]:
        parts = [(torch.from_numpy(window), torch.from_numpy(there.copy()))
                 for window, there in windows(panel, origins, self.needs, self.horizon)]  # fmt: skip
        if not parts:
            return torch.zeros(0, self.needs + self.horizon), torch.zeros(0, self.horizon, dtype=torch.bool)
        return torch.cat([window for window, _ in parts]), torch.cat([there for _, there in parts])

    def _learn(self, train: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor]) -> None:
        n = len(train[0])
        batches = -(-n // BATCH)
        epochs = max(self.epochs, -(-LEAST_STEPS // batches))
        steps = epochs * batches
        optimizer = torch.optim.AdamW(self.network_.parameters(), lr=self.rate, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.rate, total_steps=steps, pct_start=0.2)
        best, kept = np.inf, copy.deepcopy(self.network_.state_dict())
        for _ in range(epochs):
            self.network_.train()
            for rows in torch.randperm(n).split(BATCH):
                optimizer.zero_grad()
                self._loss(train, rows).backward()
                nn.utils.clip_grad_norm_(self.network_.parameters(), 1.0)
                optimizer.step()
                schedule.step()
            error = self._validated(validation)
            if error < best:
                best, kept = error, copy.deepcopy(self.network_.state_dict())
        self.network_.load_state_dict(kept)

    def _loss(self, data: tuple[Tensor, Tensor], rows: Tensor) -> Tensor:
        window, there = data[0][rows], data[1][rows]
        miss = self._said(window[:, : self.needs]) - window[:, self.needs :]
        loss = nn.functional.huber_loss(miss, torch.zeros_like(miss), reduction="none")
        return (loss * there).sum() / there.sum().clamp(min=1)

    @torch.no_grad()
    def _validated(self, data: tuple[Tensor, Tensor]) -> float:
        self.network_.eval()
        rows = torch.arange(len(data[0])).split(CHUNK)
        return float(np.mean([float(self._loss(data, part)) for part in rows])) if rows else 0.0

    def _said(self, past: Tensor) -> Tensor:
        """Of windows around 0: each in units of its own spread, so that wild stretches look like calm ones."""
        spread = past.std(dim=1, keepdim=True, unbiased=False).clamp(min=STILL)
        return torch.as_tensor(self.network_(past / spread) * spread)

    @torch.no_grad()
    def foretell(self, panel: Panel, series: int, origins: Ints) -> Floats:
        return around_their_means(panel, series, origins, self, lambda past: self._said(torch.from_numpy(past)).numpy())
