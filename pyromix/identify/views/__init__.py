"""Three views of U: tables without a graph, solved as a batch."""
