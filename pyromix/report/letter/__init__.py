"""The first page of a report: the answer in a sentence, as a number, and what it leans on."""
