"""What the members of statsmodels share: harmonics of the seasons, then a model of the rest, a series each. Pure.

A model is learnt once; its state then follows the readings in one pass, and each forecast is the transition applied to
the state that the readings before the origin left. What was not measured is left to the state.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from mlops.forecasting.panel import Panel, is_known
from mlops.forecasting.seasons import seasons
from sensors.readings import Floats, Ints

MOST_LEARNT = 1_500  # steps: maximum likelihood passes over them many times for each parameter
ITERATIONS = 50
HARMONICS = 6
STILL = 1e-6  # of its largest value: less is no movement
LEAST = 20  # measured steps, for a model of a series
MOST_VALIDATED = 60  # origins of a series
RIDGE = 1e-3  # steps' worth of no season


class States:
    """`kinds` are the models to choose from, for all series alike; `model` makes one for values around 0."""

    kinds: Sequence[Any] = ()

    def __init__(self, horizon: int) -> None:
        self.horizon = horizon
        self.needs = 2

    def model(self, values: Floats, kind: Any) -> Any:
        raise NotImplementedError

    def fit(self, history: Panel, n_train: int) -> States:
        self.seasons_ = seasons(history, n_train)
        self.needs = max([*self.seasons_[:1], LEAST // 2])
        origins = np.arange(n_train, len(history) - self.horizon + 1)
        origins = origins[:: -(-len(origins) // MOST_VALIDATED) or 1]
        self.weights_ = [self._harmonics(history.head(n_train), values[:n_train]) for values in history.values.T]
        errors: list[tuple[float, int, list[Floats | None]]] = []
        for kind in self.kinds:
            parameters = [self._parameters(history, series, n_train, kind) for series in range(history.values.shape[1])]
            self.kind_, self.parameters_ = kind, parameters
            errors.append((self._error(history, origins) if len(self.kinds) > 1 else 0.0, len(errors), parameters))
        _, place, self.parameters_ = min(errors)
        self.kind_ = self.kinds[place]
        return self

    def _basis(self, panel: Panel, n: int) -> Floats:
        at = panel.start / panel.step + np.arange(n)
        waves = [np.ones(n)]
        for season in self.seasons_:
            for k in range(1, min(HARMONICS, season // 2) + 1):
                waves += [np.sin(2 * np.pi * k * at / season), np.cos(2 * np.pi * k * at / season)]
        return np.column_stack(waves)

    def _harmonics(self, panel: Panel, values: Floats) -> Floats:
        basis, there = self._basis(panel, len(values)), np.isfinite(values)
        if not there.any():
            return np.zeros(basis.shape[1])
        mean = float(values[there].mean())
        ridge = basis[there].T @ basis[there] + RIDGE * np.eye(basis.shape[1])
        weights = np.asarray(np.linalg.solve(ridge, basis[there].T @ (values[there] - mean)))
        weights[0] += mean
        return weights

    def _parameters(self, panel: Panel, series: int, n_train: int, kind: Any) -> Floats | None:
        """None where there is too little to learn, or nothing moves."""
        values = panel.values[:n_train, series]
        rest = (values - self._basis(panel, n_train) @ self.weights_[series])[-MOST_LEARNT:]
        there = np.isfinite(rest)
        if there.sum() < LEAST or rest[there].std() <= STILL * np.nanmax(np.abs(values)):
            return None
        with warnings.catch_warnings(), threadpool_limits(1):
            # It warns of starting values and of steps taken; how good the result is, the validation part says.
            warnings.simplefilter("ignore")
            model = self.model(rest[int(there.argmax()) :], kind)
            try:
                return np.asarray(model.fit(disp=False, maxiter=ITERATIONS, cov_type="none").params)
            except np.linalg.LinAlgError:  # of a series that hardly moves: its season is all that can be said
                return None

    def _error(self, history: Panel, origins: Ints) -> float:
        total, place = 0.0, origins[:, None] + np.arange(self.horizon)
        for series, values in enumerate(history.values.T):
            if len(origins) and np.isfinite(values).any():
                miss = np.abs(values[place] - self.foretell(history, series, origins))
                total += float(np.nansum(miss)) / (float(np.nanstd(values)) or 1.0)
        return total

    def foretell(self, panel: Panel, series: int, origins: Ints) -> Floats:
        values = panel.values[:, series]
        out = np.full((len(origins), self.horizon), np.nan)
        known = is_known(values, origins, self.needs)
        if not known.any():
            return out
        asked = origins[known]
        n = int(asked.max())
        basis = self._basis(panel, n + self.horizon) @ self.weights_[series]
        regular = basis[asked[:, None] + np.arange(self.horizon)]
        out[known] = regular + self._followed(values[:n] - basis[:n], asked, self.parameters_[series])
        return out

    def _followed(self, rest: Floats, origins: Ints, parameters: Floats | None) -> Floats:
        if parameters is None:
            return np.zeros((len(origins), self.horizon))
        begin = int(np.isfinite(rest).argmax())
        with warnings.catch_warnings(), threadpool_limits(1):  # matrices of three: threads would only wait
            warnings.simplefilter("ignore")
            model = self.model(rest[begin:], self.kind_)
            state = model.filter(parameters).predicted_state[:, origins - begin]
        said = []
        for _ in range(self.horizon):
            said.append((model.ssm["design"] @ state)[0])
            state = model.ssm["transition"] @ state
        return np.column_stack(said)
