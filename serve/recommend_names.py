"""Names of a recommender's tensors, for those who export it and those who serve it."""

HISTORY, LENGTH = "history", "length"
ALLOWED, EXCLUDE_OWNED, K = "allowed", "exclude_owned", "k"  # options: a graph need not be given them
ITEMS, SCORES, BECAUSE = "items", "scores", "because"
CODES = "codes"  # of a history, in the core graph
