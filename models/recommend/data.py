"""A table of who had what as a Lightning data module of candidate lists, for LightningCLI and a plain Trainer."""

from __future__ import annotations

from pathlib import Path

from ludocast.datamodules.user_item_splits import split_by_share
from ludocast.datamodules.user_items import k_core, read_user_items
from ludocast.models.recommend.rerank import RerankSettings, training_lists
from ludocast.models.recommend.signals import Signals
from ludocast.models.recommend.training_lists import ListsDataModule, lists_with_hidden


class RecommendDataModule(ListsDataModule):
    """Reads a table of who had what, hides a share of each user's items for validation, and of the rest for training.

    Args:
        data: CSV or Parquet file.
        user: Column of users.
        item: Column of items.
        users_of_item: Items of fewer users are left out.
        items_of_user: Users of fewer items are left out.
        draws: How often pairs are hidden.
        share: Of the pairs that is hidden each time.
        batch: Lists of a batch.
        seed: Of everything random.
    """

    def __init__(
        self,
        data: Path,
        user: str,
        item: str,
        users_of_item: int = 1,
        items_of_user: int = 1,
        draws: int = 4,
        share: float = 0.2,
        batch: int = 64,
        seed: int = 0,
    ) -> None:
        super().__init__(None, batch=batch, seed=seed)
        self.data, self.user, self.item = Path(data), user, item
        self.users_of_item, self.items_of_user = users_of_item, items_of_user
        self.draws, self.share = draws, share

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002 - all parts come from one reading
        """Read the table once, and make all lists."""
        if self.lists is not None:
            return
        pairs = k_core(read_user_items(self.data, self.user, self.item), self.users_of_item, self.items_of_user)
        parts = split_by_share(pairs, self.share, self.seed)
        known = parts.known.history
        settings = RerankSettings(draws=self.draws, share=self.share, seed=self.seed)
        self.lists = training_lists(Signals(), known, settings)
        self.validation = lists_with_hidden(Signals().fit(known), known, parts.hidden)
