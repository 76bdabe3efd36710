"""Model versions and training jobs as the Models page shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ingestion import words
from mlops import reports
from mlops.forecasts.serving import foreteller
from mlops.models import ModelVersion, TrainingJob
from mlops.predicting import predictor

SHOWN_VERSIONS, SHOWN_JOBS = 50, 20


@dataclass(frozen=True, slots=True)
class VersionRow:
    version: ModelVersion
    metrics: Mapping[str, Any]
    data: Mapping[str, Any]
    trouble: str = ""  # why it judges nothing although it is in production

    @property
    def is_serving(self) -> bool:
        return self.version.stage == ModelVersion.Stage.PRODUCTION

    @property
    def about(self) -> str:
        """What forecasts or a classifier do on what they had not met; the engine's figures have columns."""
        if self.version.is_forecast:
            return reports.forecasts(self.metrics)
        if not self.version.is_classifier:
            return ""
        return (
            f"{words.number(self.metrics.get('false_alarms_per_hour'), 2)} false alarms an hour, "
            f"{self.metrics.get('n_found')} of {self.metrics.get('n_alarms')} fires found"
        )

    @property
    def flagged(self) -> str:
        return _share(self.metrics.get("flagged_share"))

    @property
    def false_events(self) -> str:
        return words.number(self.metrics.get("false_events_per_mote_week"), 2)

    @property
    def found(self) -> str:
        n, of = self.metrics.get("n_found"), self.metrics.get("n_planted")
        return f"{n} of {of}" if of else words.NOTHING

    @property
    def gate(self) -> str:
        return str(self.metrics.get("gate", {}).get("words", ""))

    @property
    def learnt_from(self) -> str:
        used, motes = self.data.get("readings_used"), self.data.get("n_motes")
        return f"{words.count(used)} readings of {motes} motes" if used else words.NOTHING


def _share(share: float | None) -> str:
    """A small share: two digits say more than "0.0 %"."""
    return words.NOTHING if share is None else f"{share * 100:.2f} %"


def versions() -> list[VersionRow]:
    """What serves first, then the newest."""
    found = ModelVersion.every.select_related("profile", "mote__site").defer("calibration", "parameters")
    rows = [row_of(version) for version in found[:SHOWN_VERSIONS]]
    return sorted(rows, key=lambda row: not row.is_serving)


def row_of(version: ModelVersion) -> VersionRow:
    """With what keeps it from judging, if it should."""
    is_wanted = version.stage == ModelVersion.Stage.PRODUCTION
    serving = foreteller().serving if version.is_forecast else predictor()
    trouble = serving.trouble_with(version) if is_wanted else ""
    return VersionRow(version, version.metrics, version.data, trouble)


def jobs() -> list[TrainingJob]:
    return list(TrainingJob.objects.select_related("profile", "requested_by", "result")[:SHOWN_JOBS])
