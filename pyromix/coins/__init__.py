"""k-MixIID whole: one variable sampled several times per draw of U."""
