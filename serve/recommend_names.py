"""Names of a recommender's tensors, for those who export it and those who serve it."""

HISTORY, LENGTH = "history", "length"
ITEMS, SCORES, BECAUSE = "items", "scores", "because"
