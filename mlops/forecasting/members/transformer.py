"""Attention over patches of one series (after PatchTST): all series share the weights, none sees another. Pure."""

from __future__ import annotations

from torch import Tensor, nn, zeros

from mlops.forecasting.members.deep import Deep

PATCH, STRIDE = 16, 8
WIDTH, HEADS, LAYERS, INNER, DROPOUT = 16, 4, 3, 64, 0.2


class Transformer(Deep):
    def network(self) -> nn.Module:
        return Patches(self.needs, self.horizon)


class Patches(nn.Module):
    """Windows (n, lags) to what follows (n, horizon)."""

    def __init__(self, lags: int, horizon: int) -> None:
        super().__init__()
        self.patch = min(PATCH, lags)
        self.n = (lags - self.patch) // STRIDE + 1
        self.used = self.patch + STRIDE * (self.n - 1)
        self.embed = nn.Linear(self.patch, WIDTH)
        self.place = nn.Parameter(zeros(self.n, WIDTH))
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, INNER, DROPOUT, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(DROPOUT), nn.Linear(self.n * WIDTH, horizon))

    def forward(self, past: Tensor) -> Tensor:
        patches = past[:, -self.used :].unfold(1, self.patch, STRIDE)
        said: Tensor = self.head(self.encoder(self.embed(patches) + self.place))
        return said
