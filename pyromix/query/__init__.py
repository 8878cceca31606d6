"""Questions to an estimate: P(outcomes | do, evidence) and effects."""
