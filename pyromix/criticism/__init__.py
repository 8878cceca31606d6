"""Before and around a fit: identifiability, k, sensitivity, rehearsal, margins."""
