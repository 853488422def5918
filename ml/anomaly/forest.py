"""The mind's wood: an Isolation Forest as plain arrays. scikit-learn grows it; walking it and keeping it need numpy alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from ml.errors import ArtefactCorrupt
from ml.series import Floats

Nodes = npt.NDArray[np.int32]
#: Rows walked at a time, so that one pass over all trees stays in the cache.
ROWS_AT_ONCE = 2_048
#: Stands for a feature where a node is a leaf.
LEAF = -1


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """T trees of M nodes together. A node's children stand after it, so every walk ends."""

    #: (T,) where each tree begins
    roots: Nodes
    #: (M,) feature compared, LEAF at a leaf
    feature: Nodes
    #: (M,) go left where the feature, as float32, is at most this; 0 at a leaf
    threshold: Floats
    #: (M,) node numbers; a leaf's children are itself
    left: Nodes
    right: Nodes
    #: (M,) at a leaf: splits passed, and those the rows left in it would still have needed; 0 elsewhere
    length: Floats
    #: (1,) splits needed to part one row from a whole sample: the unit lengths are counted in
    usual: Floats

    def scores(self, rows: Floats) -> Floats:
        """(N,) in (0, 1], higher is stranger, of (N, F) finite rows: 2^-(mean length / usual length), as in Liu et al. 2008."""
        parts = [self._lengths(rows[first : first + ROWS_AT_ONCE]) for first in range(0, len(rows), ROWS_AT_ONCE)]
        lengths = np.concatenate(parts) if parts else np.empty(0)
        return np.asarray(2.0 ** -(lengths / (len(self.roots) * self.usual[0])))

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def _lengths(self, rows: Floats) -> Floats:
        """(N,) summed over the trees."""
        seen = rows.astype(np.float32)  # what scikit-learn compares
        lines = np.arange(len(seen))[:, None]
        at = np.broadcast_to(self.roots, (len(seen), len(self.roots)))  # (N, T)
        while (asked := self.feature[at]).max(initial=LEAF) > LEAF:
            # A leaf asks for feature -1, which is the last one: harmless, as both its children are itself.
            at = np.where(seen[lines, asked] <= self.threshold[at], self.left[at], self.right[at])
        return np.asarray(self.length[at].sum(axis=1))


def grow(rows: Floats, trees: int, sample: int, seed: int) -> Forest:
    """Grow a forest on (N, F) finite rows. The same rows and seed grow the same forest."""
    # Here, because it takes a third of a worker's start, and only who trains a detector needs it.
    from sklearn.ensemble import IsolationForest

    sample = min(sample, len(rows))
    grown = IsolationForest(n_estimators=trees, max_samples=sample, random_state=seed).fit(rows)
    return from_sklearn(grown, sample)


def from_sklearn(grown: Any, sample: int) -> Forest:
    """The arrays of a fitted IsolationForest that saw every feature in every tree."""
    trees = [tree.tree_ for tree in grown.estimators_]
    starts = np.cumsum([0, *(tree.node_count for tree in trees)])
    joined = [_of_tree(tree, int(start)) for tree, start in zip(trees, starts, strict=False)]
    feature, threshold, left, right, length = (np.concatenate(pieces) for pieces in zip(*joined, strict=True))
    usual = usual_length(np.array([sample]))
    return Forest(starts[:-1].astype(np.int32), feature, threshold, left, right, length, usual)


def usual_length(rows: npt.NDArray[Any]) -> Floats:
    """Splits it takes on average to part one of so many rows from the rest: an unsuccessful search in a binary tree (Liu et al. 2008)."""
    many = np.maximum(np.asarray(rows, dtype=np.float64), 3.0)
    return np.select([rows <= 1, rows == 2], [0.0, 1.0], 2.0 * (np.log(many - 1.0) + np.euler_gamma) - 2.0 * (many - 1.0) / many)


def restored(tensors: Mapping[str, npt.NDArray[Any]], features: int) -> Forest:
    """A forest from arrays read back. Raises ArtefactCorrupt where walking it could leave the arrays, never end, or give no number."""
    try:
        forest = Forest(**{f.name: tensors[f.name] for f in fields(Forest)})
    except KeyError as error:
        raise ArtefactCorrupt(f"The forest has no {error}.") from error
    _require_shapes(forest)
    _require_walkable(forest, features)
    return forest


def _of_tree(tree: Any, start: int) -> tuple[Nodes, Floats, Nodes, Nodes, Floats]:
    """Feature, threshold, left, right and length of one tree's nodes, numbered from `start`."""
    own = np.arange(tree.node_count)
    leaf = tree.children_left < 0
    left, right = (np.where(leaf, own, child) + start for child in (tree.children_left, tree.children_right))
    length = np.where(leaf, tree.compute_node_depths() - 1 + usual_length(tree.n_node_samples), 0.0)
    feature = np.where(leaf, LEAF, tree.feature)
    return feature.astype(np.int32), np.where(leaf, 0.0, tree.threshold), left.astype(np.int32), right.astype(np.int32), length


def _require_shapes(forest: Forest) -> None:
    nodes = len(forest.feature)
    for name, array in forest.tensors().items():
        whole = name in ("roots", "feature", "left", "right")
        length = {"roots": len(forest.roots), "usual": 1}.get(name, nodes)
        if array.shape != (length,) or not length or array.dtype != (np.int32 if whole else np.float64):
            raise ArtefactCorrupt(f"The forest's {name} is {array.shape} {array.dtype}, which does not fit its {nodes} nodes.", tensor=name)
        if not np.isfinite(array).all():
            raise ArtefactCorrupt(f"The forest's {name} holds numbers that are not finite.", tensor=name)


def _require_walkable(forest: Forest, features: int) -> None:
    own = np.arange(len(forest.feature))
    leaf = forest.feature == LEAF
    sound = {
        "roots": (forest.roots >= 0) & (forest.roots < len(own)),
        "feature": (forest.feature >= LEAF) & (forest.feature < features),
        "left": np.where(leaf, forest.left == own, (forest.left > own) & (forest.left < len(own))),
        "right": np.where(leaf, forest.right == own, (forest.right > own) & (forest.right < len(own))),
        "length": forest.length >= 0,
        "usual": forest.usual > 0,
    }
    for name, good in sound.items():
        if not good.all():
            raise ArtefactCorrupt(f"The forest's {name} points outside its {len(own)} nodes and {features} features.", tensor=name)
