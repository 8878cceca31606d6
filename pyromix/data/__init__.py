"""WHAT was observed: tables in, distinct patterns with weights, and the same questions to both.

``frames`` is the border (files and frames in, frames out), ``columns`` and ``text`` turn cells into
state numbers, ``codes`` finds the distinct rows, ``counts`` and ``population`` answer moments.
"""
