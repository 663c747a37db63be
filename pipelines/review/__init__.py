"""Quality checks, drift, review pages, reviewers' answers, dataset card."""
