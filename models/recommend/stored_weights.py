"""A model at the precision of its bundle: it takes the values that are stored, so that the graph equals it."""

from __future__ import annotations

from ludocast.models.recommend.item_item import ItemItem
from ludocast.models.recommend.precision import BYTES, Precision, rounded
from ludocast.models.recommend.ranking import Recommender
from ludocast.models.recommend.rerank import Reranker
from ludocast.models.recommend.sparse_weights import SparseWeights


def item_models(model: Recommender) -> list[ItemItem]:
    """The models of items by items that a model is, or holds."""
    if isinstance(model, Reranker):
        return list(model.signals.models.values())
    return [model] if isinstance(model, ItemItem) else []


def store_at(model: Recommender, precision: Precision) -> None:
    """Round all dense weights of a fitted model in place.

    Raises:
        ValueError: If it has sparse weights, which are few enough as they are.
    """
    for one in item_models(model):
        weights, _ = one.fitted()
        if isinstance(weights, SparseWeights):
            if precision != "float32":
                raise ValueError(f"sparse weights are stored as float32, not as {precision}; leave the option out")
            continue
        one.weights, one.precision = rounded(weights, precision), precision


def stored_bytes(model: Recommender) -> int:
    """Of all weights in a graph."""
    total = 0
    for one in item_models(model):
        weights, _ = one.fitted()
        total += weights.nbytes if isinstance(weights, SparseWeights) else weights.size * BYTES[one.precision]
    return total
