"""A recurrent network over the last steps of one series (LSTM, as in telemanom); all series share the weights. Pure."""

from __future__ import annotations

from torch import Tensor, nn

from mlops.forecasting.members.deep import Deep

WIDTH, LAYERS = 40, 2


class Telemanom(Deep):
    lags = 120  # each step waits for the one before: a longer past costs in proportion
    most_windows = 10_000

    def network(self) -> nn.Module:
        return Recurrent(self.horizon)


class Recurrent(nn.Module):
    """Windows (n, lags) to what follows (n, horizon)."""

    def __init__(self, horizon: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, WIDTH, LAYERS, batch_first=True)
        self.head = nn.Linear(WIDTH, horizon)

    def forward(self, past: Tensor) -> Tensor:
        states, _ = self.lstm(past.unsqueeze(2))
        said: Tensor = self.head(states[:, -1])
        return said
