"""DuckDB over the tables: build, versions, diff, query, data dictionary."""
