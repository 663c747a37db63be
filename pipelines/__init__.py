"""What happens between an exam with its report and a measured lesion: plain functions, no Dagster, no torch."""
