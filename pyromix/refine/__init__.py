"""From a start to an estimate: EM on distinct rows. A start is an argument, whoever made it."""
