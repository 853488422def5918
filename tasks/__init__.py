"""The work: submitting, carrying and executing jobs; where numbers (ml) and memory (db) meet."""
