"""Forest: scikit-learn's Isolation Forest on all channels and the time of day, flattened to arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlops.detection import kernels
from mlops.detection.history import Arrays, History
from mlops.detection.tails import line
from sensors.readings import Floats, Ints, Profile

if TYPE_CHECKING:
    from sklearn.ensemble import IsolationForest

NAME = "forest"
N_TREES = 100
MAX_SAMPLES = 256
MAX_ROWS = 100_000
CONTAMINATION = 0.05  # only for comparison with forests that are used alone
FORTNIGHT_S = 14 * 86_400


def prior(profile: Profile) -> Arrays:
    """No forest: it has no opinion before it has seen data."""
    low, high = profile.bounds("normal")
    raw, surprise = line([(0.0, 0.0)], 1)
    minutes = 2.0 * np.pi * np.arange(10_080)
    return {
        "forest_raw": raw,
        "forest_surprise": surprise,
        "forest_median": (low + high) / 2.0,
        "hour_wave": np.stack([np.sin(minutes[:1440] / 1440), np.cos(minutes[:1440] / 1440)], axis=1),
        "week_wave": np.stack([np.sin(minutes / 10_080), np.cos(minutes / 10_080)], axis=1),
        "split_at": np.zeros((0, 1), dtype=np.float32),
    }


def fit(history: History, *, seed: int = 42) -> Arrays:
    """Grows the trees on at most MAX_ROWS rows, evenly taken."""
    # Here, since only training needs it: what serves would pay a second and 60 MB for nothing.
    from sklearn.ensemble import IsolationForest
    from sklearn.preprocessing import StandardScaler

    start = prior(history.profile)
    low, high = history.profile.bounds("physical")
    rows = history.take(np.linspace(0, len(history) - 1, min(len(history), MAX_ROWS)).astype(np.int64))
    measured = np.isfinite(rows.values).any(axis=0)
    median = start["forest_median"].copy()
    median[measured] = np.nanmedian(rows.values[:, measured], axis=0)
    arrays = {**start, "forest_median": median}
    # A day of the week that was seen once is no norm: its place is a feature from a fortnight on.
    n_waves = 4 if len(history) and history.local_s.max() - history.local_s.min() >= FORTNIGHT_S else 2
    features = feature_table(arrays, rows.values, rows.local_s, low, high, n_waves)
    features = features[np.isfinite(features[:, 0])]
    if len(features) < 2:
        return start
    scaler = StandardScaler().fit(features)
    trees = IsolationForest(n_estimators=N_TREES, max_samples=min(MAX_SAMPLES, len(features)), random_state=seed)
    arrays |= {"forest_mean": scaler.mean_, "forest_spread": scaler.scale_}
    arrays |= flatten(trees.fit(scaler.transform(features)))
    arrays["forest_offset"] = np.quantile(raw_scores(arrays, features), [1.0 - CONTAMINATION])
    return arrays


def feature_table(arrays: Arrays, values: Floats, local_s: Ints, low: Floats, high: Floats, n_waves: int) -> Floats:
    """(rows, channels and waves), as the trees see them before scaling; NaN first where a row may not vote."""
    features = np.empty((len(values), values.shape[1] + n_waves))
    kernels.forest_features(
        values, local_s, low, high, arrays["forest_median"], arrays["hour_wave"], arrays["week_wave"], features
    )
    return features


def raw_scores(arrays: Arrays, features: Floats) -> Floats:
    """Minus the normalised depth: the exponent of scikit-learn's score, growing with strangeness."""
    depths = np.empty(len(features))
    kernels.forest_depths(
        features, arrays["forest_mean"], arrays["forest_spread"], arrays["split_feature"], arrays["split_at"],
        arrays["leaf_depth"], depths,
    )  # fmt: skip
    return depths / -arrays["forest_depth"][0]


def flatten(trees: IsolationForest) -> Arrays:
    """Each tree as a complete heap: splits by level, then leaves; what ends early goes on to its left for ever."""
    n_levels = max(1, max(tree.tree_.max_depth for tree in trees.estimators_))
    n_splits, n_trees = 2**n_levels - 1, len(trees.estimators_)
    split_feature = np.zeros((n_trees, n_splits), dtype=np.int32)
    split_at = np.full((n_trees, n_splits), np.inf)
    leaf_depth = np.zeros((n_trees, n_splits + 1))
    for t, estimator in enumerate(trees.estimators_):
        tree = estimator.tree_
        waiting = [(0, 0, 0)]
        while waiting:
            node, place, depth = waiting.pop()
            if tree.children_left[node] == -1:
                reach = n_levels - depth
                leaf = (place + 1 << reach) - 1 - n_splits
                leaf_depth[t, leaf] = depth + average_path_length(int(tree.n_node_samples[node]))
                continue
            split_feature[t, place], split_at[t, place] = tree.feature[node], tree.threshold[node]
            waiting.append((tree.children_left[node], 2 * place + 1, depth + 1))
            waiting.append((tree.children_right[node], 2 * place + 2, depth + 1))
    # Readings are compared as 32-bit floats: the largest one not above a threshold splits them alike.
    short = split_at.astype(np.float32)
    short = np.where(short.astype(np.float64) > split_at, np.nextafter(short, np.float32(-np.inf)), short)
    whole = n_trees * average_path_length(trees.max_samples_)
    return {
        "split_feature": split_feature,
        "split_at": short.astype(np.float32),
        "leaf_depth": leaf_depth,
        "forest_depth": np.array([whole]),
    }


def average_path_length(n: int) -> float:
    """Of an unsuccessful search in a binary tree of n points.

    >>> average_path_length(2), round(average_path_length(256), 4)
    (1.0, 10.2448)
    """
    if n <= 2:
        return float(max(n - 1, 0))
    return float(2.0 * (np.log(n - 1.0) + np.euler_gamma) - 2.0 * (n - 1.0) / n)
