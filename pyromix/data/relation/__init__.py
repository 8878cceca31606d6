"""Tables that stay where they are: an engine counts, we estimate.

``engines`` runs queries, ``paths`` makes a relation of files, ``table`` reads columns as a frame's
are read, ``digits`` writes state numbers as SQL, ``counting`` gets patterns by one GROUP BY,
``door`` tells relations from frames.
"""
