"""From moments to a mixture, each problem through the one before it.

``iid`` (k-MixIID), ``product`` (k-MixProd), ``network`` and ``boundary`` (k-MixBND by views and by
Markov boundaries), ``align`` for the labels of both, ``certify`` for what a graph allows at all.
"""
