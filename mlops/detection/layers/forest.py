"""Forest: scikit-learn's Isolation Forest on all channels and the time of day, flattened to arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from mlops.detection.compiled import Array, compiled
from mlops.detection.history import Arrays, History
from mlops.detection.rows import Field, Rows, Said
from sensors.readings import Floats, Ints, Profile

if TYPE_CHECKING:
    from sklearn.ensemble import IsolationForest

NAME = "forest"
MEMORY: Mapping[str, Field] = {}
TAIL = 1e-3
OWN_LIMITS = False
BY_HEART = False
IS_SETTLED = False
ANY_DAY = False
N_TREES = 100
MAX_SAMPLES = 256
MAX_ROWS = 100_000
CONTAMINATION = 0.05  # only for comparison with forests that are used alone
FORTNIGHT_S = 14 * 86_400
BLOCK = 64  # rows that walk a tree together: their features and the tree stay in the first-level cache


def prior(profile: Profile) -> Arrays:
    """No forest: it has no opinion before it has seen data."""
    low, high = profile.bounds("normal")
    minutes = 2.0 * np.pi * np.arange(10_080)
    return {
        "median": (low + high) / 2.0,
        "hour_wave": np.stack([np.sin(minutes[:1440] / 1440), np.cos(minutes[:1440] / 1440)], axis=1),
        "week_wave": np.stack([np.sin(minutes / 10_080), np.cos(minutes / 10_080)], axis=1),
        "split_at": np.zeros((0, 1), dtype=np.float32),
    }


def fit(history: History) -> Arrays:
    """Grows the trees on at most MAX_ROWS rows, evenly taken."""
    # Here, since only training needs it: what serves would pay a second and 60 MB for nothing.
    from sklearn.ensemble import IsolationForest
    from sklearn.preprocessing import StandardScaler

    start = prior(history.profile)
    rows = history.take(np.linspace(0, len(history) - 1, min(len(history), MAX_ROWS)).astype(np.int64))
    measured = np.isfinite(rows.measured).any(axis=0)
    median = start["median"].copy()
    median[measured] = np.nanmedian(rows.measured[:, measured], axis=0)
    arrays = {**start, "median": median}
    # A day of the week that was seen once is no norm: its place is a feature from a fortnight on.
    n_waves = 4 if len(history) and history.local_s.max() - history.local_s.min() >= FORTNIGHT_S else 2
    table = feature_table(arrays, rows.measured, rows.local_s, n_waves)
    table = table[np.isfinite(table[:, 0])]
    if len(table) < 2:
        return start
    scaler = StandardScaler().fit(table)
    trees = IsolationForest(n_estimators=N_TREES, max_samples=min(MAX_SAMPLES, len(table)), random_state=history.seed)
    arrays |= {"mean": scaler.mean_, "spread": scaler.scale_}
    arrays |= flatten(trees.fit(scaler.transform(table)))
    arrays["offset"] = np.quantile(raw_scores(arrays, table), [1.0 - CONTAMINATION])
    return arrays


def feature_table(arrays: Mapping[str, Array], values: Floats, local_s: Ints, n_waves: int) -> Floats:
    """(rows, channels and waves), as the trees see them before scaling; NaN first where a row may not vote."""
    table = np.empty((len(values), values.shape[1] + n_waves))
    features(values, local_s, arrays["median"], arrays["hour_wave"], arrays["week_wave"], table)
    return table


def raw_scores(arrays: Mapping[str, Array], table: Floats) -> Floats:
    """Minus the normalised depth: the exponent of scikit-learn's score, growing with strangeness."""
    reached = np.empty(len(table))
    depths(
        table, arrays["mean"], arrays["spread"], arrays["split_feature"], arrays["split_at"], arrays["leaf_depth"],
        reached,
    )  # fmt: skip
    return reached / -arrays["depth"][0]


def step(model: Mapping[str, Array], memory: Mapping[str, Array], rows: Rows) -> Said:
    """A mote that was not in the history is not judged: its place in the fleet alone may look odd to the trees."""
    raw = voices(model, rows.measured, rows.local_s)
    return Said(np.where(rows.is_known, raw, np.nan)[:, None])


def voices(model: Mapping[str, Array], values: Floats, local_s: Ints) -> Floats:
    """The raw score of each row; NaN where there is no forest, or a row may not vote."""
    if not len(model["split_at"]):
        return np.full(len(values), np.nan)
    return raw_scores(model, feature_table(model, values, local_s, len(model["mean"]) - values.shape[1]))


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
        "depth": np.array([whole]),
    }


def average_path_length(n: int) -> float:
    """Of an unsuccessful search in a binary tree of n points.

    >>> average_path_length(2), round(average_path_length(256), 4)
    (1.0, 10.2448)
    """
    if n <= 2:
        return float(max(n - 1, 0))
    return float(2.0 * (np.log(n - 1.0) + np.euler_gamma) - 2.0 * (n - 1.0) / n)


@compiled
def features(values: Array, local_s: Array, median: Array, hour_wave: Array, week_wave: Array, table: Array) -> None:
    """Fills (rows, features): channels, then hour and week as points on a circle; row NaN at 0 when half is missing.

    The waves are tables by minute: sines computed here could differ between a vector's body and its rest.
    """
    n, n_channels = values.shape
    for i in range(n):
        n_missing = 0
        for c in range(n_channels):
            x = values[i, c]
            if np.isnan(x):
                n_missing += 1
                x = median[c]
            table[i, c] = x
        minute = local_s[i] // 60
        table[i, n_channels] = hour_wave[minute % 1440, 0]
        table[i, n_channels + 1] = hour_wave[minute % 1440, 1]
        if table.shape[1] > n_channels + 2:
            table[i, n_channels + 2] = week_wave[minute % 10080, 0]
            table[i, n_channels + 3] = week_wave[minute % 10080, 1]
        if 2 * n_missing > n_channels:
            table[i, 0] = np.nan


@compiled
def depths(
    table: Array, mean: Array, spread: Array, split_feature: Array, split_at: Array, leaf_depth: Array, reached: Array
) -> None:
    """Sum over the trees of the depth at which each row is alone; NaN where it may not vote.

    Trees are complete heaps of equal depth, so that a walk has no branch; sums run in tree order, as scikit-learn's.
    """
    n, n_features = table.shape
    n_trees, n_splits = split_at.shape
    n_levels = 0
    while (1 << n_levels) - 1 < n_splits:
        n_levels += 1
    block, node = np.empty((BLOCK, n_features), dtype=np.float32), np.empty(BLOCK, dtype=np.uint32)
    for begin in range(0, n, BLOCK):
        size = min(BLOCK, n - begin)
        for r in range(size):
            reached[begin + r] = 0.0
            for f in range(n_features):
                block[r, f] = np.float32((table[begin + r, f] - mean[f]) / spread[f])
        for tree in range(n_trees):
            # Level by level: the rows' steps do not wait for each other.
            for r in range(size):
                node[r] = 0
            for _ in range(n_levels):
                for r in range(size):
                    here = node[r]
                    node[r] = 2 * here + 1 + (block[r, split_feature[tree, here]] > split_at[tree, here])
            for r in range(size):
                reached[begin + r] += leaf_depth[tree, node[r] - n_splits]
        for r in range(size):
            if np.isnan(table[begin + r, 0]):
                reached[begin + r] = np.nan
