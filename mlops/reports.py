"""What a training says when it is done, in plain text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from mlops.models import Kind, ModelVersion

FOREST_SHARE = (0.03, 0.08)


def training_report(version: ModelVersion) -> str:
    """The figures that a person wants after a training, in the order in which they came to be."""
    data, metrics = version.data, version.metrics
    found = data.get("readings_found", 0)
    lines = {
        "Model": f"{version.name} ({version.stage})",
        "Records loaded": f"{found:,} from version {data.get('lake_version')} of the lake, {_range(data)}",
        "Left out": _left_out(data.get("left_out", {}), found),
        "Clean records": f"{data.get('readings_used', 0):,} of {data.get('n_motes', 0)} motes",
        "Features": ", ".join(version.features) or "none",
        **(
            {"Forecasts, held out": forecasts(metrics)}
            if version.kind == Kind.FORECAST
            else {
                "Forest, held out": _forest(metrics),
                "Engine, held out": _engine(metrics),
            }
        ),
        "Gate": metrics.get("gate", {}).get("words", "not asked"),
        "Time": f"{data.get('seconds', 0.0):.1f} s",
        "Size": f"{version.size / 1e6:.2f} MB, sha256 {version.sha256[:16]}…",
    }
    width = max(len(name) for name in lines)
    return "\n".join(f"{name:<{width}}  {words}" for name, words in lines.items())


def summary(n: int, failures: Mapping[str, str]) -> str:
    """Of many trainings at once: how many went well, and which did not and why."""
    lines = [f"{n - len(failures)} of {n} motes have a new version."]
    return "\n".join([*lines, *(f"  {scope}: {why}" for scope, why in failures.items())])


def _range(data: Mapping[str, Any]) -> str:
    parts = data.get("parts", {})
    if not parts:
        return "range unknown"
    return f"{parts['train']['first_at'][:16]} to {parts['held_out']['last_at'][:16]} UTC"


def _left_out(counts: Mapping[str, int], found: int) -> str:
    if not counts:
        return "nothing"
    reasons = ", ".join(f"{reason.replace('_', ' ')} {n:,}" for reason, n in counts.items())
    return f"{sum(counts.values()):,} of {found:,}: {reasons}"


def _forest(metrics: Mapping[str, Any]) -> str:
    ratio = metrics.get("forest_anomaly_ratio")
    if ratio is None:
        return "no forest"
    low, high = FOREST_SHARE
    verdict = "as expected" if low <= ratio <= high else "NOT as expected"
    return f"{ratio:.1%} anomalous, {verdict} ({low:.0%} to {high:.0%})"


def _engine(metrics: Mapping[str, Any]) -> str:
    words = []
    if metrics.get("flagged_share") is not None:
        words.append(f"{metrics['flagged_share']:.2%} of clean readings flagged")
    if metrics.get("false_events_per_mote_week") is not None:
        words.append(f"{metrics['false_events_per_mote_week']:.2f} false events a mote and week")
    if metrics.get("found_share") is not None:
        words.append(f"{metrics['n_found']} of {metrics['n_planted']} planted faults found")
    return ", ".join(words) or "not measured"


def forecasts(metrics: Mapping[str, Any]) -> str:
    """What was chosen how often, and the figures that say how good that was."""
    chosen: Counter[str] = Counter()
    for one in metrics["channels"].values():
        chosen.update(one["models"])
    return f"{metrics['n_series']} series by {_models(chosen)}; {_figures(metrics)}"


def forecasts_of_channel(found: Mapping[str, Any]) -> str:
    untried = "".join(f"; {name} was not tried: {why}" for name, why in found["not_tried"].items())
    left_out = "".join(f"; {n} not forecast: {why}" for why, n in found.get("left_out", {}).items())
    return f"{_models(found['models'])}; {_figures(found)}{untried}{left_out}"


def forecasts_before(metrics: Mapping[str, Any]) -> str:
    """How the version did that served when it was made."""
    if "serving" not in metrics:
        return "no version served that could be asked"
    return f"{metrics['comparison_with']}: {_figures(metrics['serving'])}"


def _models(chosen: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in Counter(chosen).most_common()) or "none"


def _figures(found: Mapping[str, Any]) -> str:
    names = ("mase", "crps", "naive_crps", "coverage80", "score")
    said = {name: "not measured" if found[name] is None else f"{found[name]:.3f}" for name in names}
    return (
        f"MASE {said['mase']}, CRPS {said['crps']} (best naive {said['naive_crps']}), 80 % intervals held "
        f"{said['coverage80']}, score {said['score']}"
    )
