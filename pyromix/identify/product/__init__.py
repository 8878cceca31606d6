"""k-MixProd: variables that are independent within each source (THEORY section 3)."""
