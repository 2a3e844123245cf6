"""Suggestions of a recommender's bundle, by their options: what the graph masks, how many it ranks, in which order."""

# N histories, B of a batch, I items, K answers

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ludocast.serve.bundle import Bundle
from ludocast.serve.catalogue import CATALOGUE_FILE, Catalogue
from ludocast.serve.diversity import diverse_order
from ludocast.serve.notes import Note
from ludocast.serve.recommend_names import ALLOWED, BECAUSE, EXCLUDE_OWNED, K
from ludocast.serve.run import Run
from ludocast.serve.sequence_feeds import SequenceFeeds, Tensors, unknown_items
from ludocast.serve.suggest_options import SuggestOptions

Array = np.ndarray[Any, Any]
DIVERSE_OF = 100  # best items among which diverse ones are sought
HISTORIES = ("history", "histories")
NOTHING_LEFT = Note("", "history has no item left to suggest", "histories have no item left to suggest")


@dataclass(frozen=True)
class Suggestions:
    """Of N histories.

    Attributes:
        items: Objects [N], each a list of str, the best first.
        scores: Objects [N], each float32 of the same length.
        because: N lists, each of a list an item: what of the history speaks most for it. None where not asked.
        notes: What was ignored, how often.
    """

    items: Array
    scores: Array
    because: list[list[list[str]]] | None
    notes: dict[Note, int]


class Suggester:
    """Suggests by one bundle.

    Args:
        bundle: Of a recommender.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._run: Run = bundle.session.run
        self._outputs = list(bundle.manifest.outputs)
        self._number = {item: number for number, item in enumerate(bundle.manifest.classes)}
        has_file = CATALOGUE_FILE in bundle.manifest.files
        items = bundle.manifest.classes
        self.catalogue = Catalogue.load(bundle.folder, items) if has_file else Catalogue(items)
        self._has_options = ALLOWED in {item.name for item in bundle.session.get_overridable_initializers()}

    def suggest(
        self, feeds: SequenceFeeds, options: SuggestOptions | Sequence[SuggestOptions], reasons: bool
    ) -> Suggestions:
        """Rank.

        Args:
            feeds: Of N histories.
            options: Of all, or of each.
            reasons: Whether `because` is wanted.

        Raises:
            ValueError: With the row, if an option asks for what the bundle has not.
        """
        items, scores = np.empty(feeds.rows, object), np.empty(feeds.rows, object)
        because: list[list[list[str]]] = [[] for _ in range(feeds.rows)]
        known, notes = self._known(options)
        outputs = [*self._outputs, BECAUSE] if reasons else self._outputs
        for index, tensors in feeds.batches():
            is_of_all = isinstance(options, SuggestOptions)
            each = [options] * len(index) if isinstance(options, SuggestOptions) else [options[row] for row in index]
            asked = [known[one] for one in each]
            found, score, *told = self._run(outputs, tensors | self._tensors(asked[:1] if is_of_all else asked))
            places = self._places(found, score, asked)
            notes.update(_told_of(found, asked, len(self._number)))
            for place, row in enumerate(index.tolist()):
                taken = places[place]
                items[row], scores[row] = found[place, taken].tolist(), score[place, taken]
                if reasons:
                    because[row] = [[name for name in names if name] for names in told[0][place, taken].tolist()]
        return Suggestions(items, scores, because if reasons else None, dict(notes))

    def known(self, option: SuggestOptions) -> tuple[SuggestOptions, dict[Note, int]]:
        """An option without items that the catalogue has not, and a note that names them."""
        notes: dict[Note, int] = {}
        for name, ids in (("only", option.only), ("exclude", option.exclude)):
            absent = [one for one in ids if one not in self._number] if ids is not None else []
            notes |= unknown_items(absent, has_names=True, where=f'"{name}": ')
        if not notes:
            return option, notes
        only = None if option.only is None else tuple(one for one in option.only if one in self._number)
        return replace(option, only=only, exclude=tuple(one for one in option.exclude if one in self._number)), notes

    def _known(
        self, options: SuggestOptions | Sequence[SuggestOptions]
    ) -> tuple[dict[SuggestOptions, SuggestOptions], Counter[Note]]:
        """Each distinct option without unknown items, found to be such as the bundle can answer."""
        known: dict[SuggestOptions, SuggestOptions] = {}
        notes: Counter[Note] = Counter()
        is_of_all = isinstance(options, SuggestOptions)
        for row, one in enumerate([options] if isinstance(options, SuggestOptions) else options):
            if one in known:
                continue
            try:
                self._check(one)
            except ValueError as error:
                raise ValueError(f"{'' if is_of_all else f'row {row + 1}, '}{error}") from None
            known[one], told = self.known(one)
            notes.update(told)
        return known, notes

    def _check(self, option: SuggestOptions) -> None:
        if not self._has_options and (any(option.filters) or option.only is not None or not option.exclude_owned):
            raise ValueError("options need a bundle that was written since there are any; train it again")
        if option.diversity and self.catalogue.vectors is None:
            raise ValueError('"diversity": this bundle knows no likeness of items; train it again')
        if option.category is not None:
            self.catalogue.of_category(option.category)

    def _mask(self, option: SuggestOptions) -> Array:
        """Which items an option without unknown ones allows, bool [I]."""
        allowed = np.full(len(self._number), option.only is None)
        if option.only is not None:
            allowed[[self._number[one] for one in option.only]] = True
        allowed[[self._number[one] for one in option.exclude]] = False
        if option.category is not None:
            allowed &= self.catalogue.of_category(option.category)
        return allowed

    def _tensors(self, asked: Sequence[SuggestOptions]) -> Tensors:
        """Option inputs [1 or B, …] of a batch; none where nothing is asked that is not the default."""
        if not self._has_options:
            return {}
        most = max(DIVERSE_OF if one.diversity else one.k for one in asked)
        tensors: Tensors = {K: np.array([min(most, len(self._number))], np.int64)}
        filters = {one.filters: one for one in asked}
        if any(of != SuggestOptions().filters for of in filters):
            masks = {of: self._mask(one) for of, one in filters.items()}
            tensors[ALLOWED] = np.stack([masks[one.filters] for one in (asked if len(masks) > 1 else asked[:1])])
        if not all(one.exclude_owned for one in asked):
            tensors[EXCLUDE_OWNED] = np.array([[one.exclude_owned] for one in asked])
        return tensors

    def _places(self, found: Array, score: Array, asked: Sequence[SuggestOptions]) -> list[Array]:
        """Which of the ranked items each history is answered, in order."""
        sizes = (found != "").sum(axis=1)
        places = [np.arange(min(one.k, size)) for one, size in zip(asked, sizes.tolist(), strict=True)]
        for diversity in {one.diversity for one in asked if one.diversity}:
            of = [place for place, one in enumerate(asked) if one.diversity == diversity]
            assert self.catalogue.vectors is not None
            number = np.array([[self._number.get(item, 0) for item in row] for row in found[of].tolist()], np.int64)
            most = max(asked[place].k for place in of)
            order = diverse_order(
                score[of].astype(np.float64), self.catalogue.vectors[number], found[of] != "", diversity, most
            )
            for place, taken in zip(of, order, strict=True):
                places[place] = taken[: min(asked[place].k, int(sizes[place]))]
        return places


def _told_of(found: Array, asked: Sequence[SuggestOptions], items: int) -> Counter[Note]:
    """Histories that get fewer items than were asked for because no more are ranked, or none at all."""
    notes: Counter[Note] = Counter()
    most = found.shape[1]
    sizes = (found != "").sum(axis=1).tolist()
    for one, size in zip(asked, sizes, strict=True):
        if size == 0:
            notes[NOTHING_LEFT] += 1
        elif one.k > size == most < items:
            notes[Note("", *(f"{of} asked for more items than the {most:,} that are ranked" for of in HISTORIES))] += 1
    return notes
