"""k-MixBND by views: variables on one DAG within each source [amr09] (THEORY section 5)."""
