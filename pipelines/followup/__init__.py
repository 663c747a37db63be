"""A patient's exams over time: pairs of exams, their registration, and the lesions that are the same in both."""
