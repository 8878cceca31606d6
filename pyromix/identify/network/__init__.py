"""k-MixBND by views: variables on one DAG within each source (THEORY section 5)."""
