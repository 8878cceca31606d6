"""k-MixBND by Markov boundaries, as in [gordon23clear], corrected (THEORY section 4)."""
